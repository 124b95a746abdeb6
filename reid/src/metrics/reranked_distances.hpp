// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "distance_source.hpp"
#include "reid/ops/sparse.hpp"

/// The families of re-ranking and what they share. Two of them work on sparse rows over N = Q + G items, queries first, which
/// are made once; then distances are made by rows of queries.
namespace reid::metrics {

// The families -------------------------------------------------------------------------------------------------

/// Arguments as for `reranked_distances`, whose variant is of this family.
std::unique_ptr<DistanceSource> k_reciprocal_distances(const torch::Tensor& query, const torch::Tensor& gallery,
                                                       ops::Metric metric, const Placement& placement,
                                                       const RerankOptions& resolved, const ProgressSink& progress);
std::unique_ptr<DistanceSource> propagated_distances(const torch::Tensor& query, const torch::Tensor& gallery,
                                                     const Placement& placement, const RerankOptions& resolved,
                                                     const ProgressSink& progress);
std::unique_ptr<DistanceSource> expanded_distances(const torch::Tensor& query, const torch::Tensor& gallery,
                                                   ops::Metric metric, const Placement& placement,
                                                   const RerankOptions& resolved, const ProgressSink& progress);

// Inputs -------------------------------------------------------------------------------------------------------

/// Neighbours are looked for on one device, which holds all features.
torch::Device first_device(const Placement& placement);

/// @throws InputError unless value + extra, which messages call `what`, is at most the number of items.
void check_count(const std::string& variant, const char* what, int64_t value, int64_t extra, int64_t items);

/// Scales the rows of a matrix of ours to length 1, in place; zero rows stay.
void make_unit_rows(torch::Tensor& x);

// Sparse rows --------------------------------------------------------------------------------------------------

struct Entry {
  int32_t item;
  float value;
};
/// Ascending by item.
using SparseRow = std::vector<Entry>;
using RowList = std::vector<SparseRow>;

/// Adds rows into a dense scratch line and takes them out again as a sparse row.
class Accumulator {
 public:
  explicit Accumulator(int64_t items) : values_(static_cast<std::size_t>(items), 0.0), seen_(values_.size(), 0) {}
  void add(const SparseRow& row, double weight);
  /// The sum times `factor`; begins anew.
  SparseRow take(double factor);

 private:
  std::vector<double> values_;
  std::vector<uint8_t> seen_;
  std::vector<int32_t> touched_;
};

ops::SparseRows packed(const RowList& rows);

/// The queries' sparse rows, and for each part of the gallery its rows by item, on the part's device.
class OverlapParts {
 public:
  /// @param rows of queries and gallery, on the CPU
  OverlapParts(const ops::SparseRows& rows, int64_t queries, const std::vector<PartedGallery::Part>& parts);
  /// What the queries [begin, end) share with each item of the part, on its device.
  torch::Tensor overlap(std::size_t part, int64_t begin, int64_t end, ops::Pairing pairing, bool half) const;

 private:
  std::vector<ops::SparseRows> queries_, inverted_;
  std::vector<int64_t> columns_;
};

}  // namespace reid::metrics
