// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "reid/core/progress.hpp"
#include "reid/metrics/rerank.hpp"
#include "reid/ops/distance.hpp"
#include "reid/ops/rank.hpp"

namespace reid::metrics {

/// Where distances are computed.
struct Placement {
  std::vector<torch::Device> devices;  // the gallery is split between them; none: the CPU, the gallery whole
  int64_t bytes = 0;                   // of each device's memory that may be planned with; 0: what is free
  ops::Product product = ops::Product::automatic;
};

/// Distances from queries to the gallery, asked for by rows: plain or re-ranked.
class DistanceSource {
 public:
  virtual ~DistanceSource() = default;
  /// Rows [begin, end) of the Q x G distances, in parts that together make up the gallery. `begin` is a multiple of the rows
  /// asked for. They belong to the source, and last until the next call; they may be written to.
  virtual std::vector<ops::GalleryPart> compute(int64_t begin, int64_t end) = 0;
  /// The most rows to ask for: a power of two up to ops::DistanceRows::kRows, or a multiple of that.
  virtual int64_t most_rows() const = 0;
  /// The library that made the products.
  virtual ops::Product product() const = 0;
};

std::unique_ptr<DistanceSource> plain_distances(const torch::Tensor& query, const torch::Tensor& gallery,
                                                ops::Metric metric, const Placement& placement);

/// Distances after re-ranking with resolved options. @throws InputError if k1 or k2 is beyond what there is, or for a variant that
/// other devices than the CPU don't have.
std::unique_ptr<DistanceSource> reranked_distances(const torch::Tensor& query, const torch::Tensor& gallery,
                                                   ops::Metric metric, const Placement& placement,
                                                   const RerankOptions& resolved, const ProgressSink& progress);

/// Memory for rows of distances on the CPU, kept from call to call.
class Tile {
 public:
  explicit Tile(int64_t columns) : columns_(columns) {}
  /// The most rows: ops::DistanceRows::kRows, halved until they take at most 256 MiB.
  int64_t most_rows() const;
  /// The first `rows` rows, as one part; what they hold isn't known.
  ops::GalleryPart part(int64_t rows);
  int64_t columns() const { return columns_; }

 private:
  int64_t columns_;
  torch::Tensor held_;
};

/// The gallery's features in parts of nearly the same size on devices; those that don't fit are sent in blocks, again for every
/// call.
class PartedGallery {
 public:
  /// @param query [Q, D], gallery [G, D] float32 on the CPU, which may be mapped
  PartedGallery(const torch::Tensor& query, const torch::Tensor& gallery, ops::Metric metric, const Placement& placement);
  /// Distances of the queries [begin, end), on each part's device.
  std::vector<ops::GalleryPart> distances(int64_t begin, int64_t end) const;
  int64_t most_rows() const { return most_rows_; }
  ops::Product product() const;

  struct Part {
    torch::Device device;
    int64_t first = 0, count = 0;  // items of the gallery
    int64_t block = 0;             // items that are worked on at a time
    torch::Tensor resident;        // features on the device; undefined if they don't fit
  };
  const std::vector<Part>& parts() const { return parts_; }

 private:
  torch::Tensor query_, gallery_;
  ops::Metric metric_;
  ops::Product product_;
  std::vector<Part> parts_;
  int64_t most_rows_ = 1;
};

}  // namespace reid::metrics
