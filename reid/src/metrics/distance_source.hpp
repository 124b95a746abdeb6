// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>

#include "reid/core/progress.hpp"
#include "reid/metrics/rerank.hpp"
#include "reid/ops/distance.hpp"

namespace reid::metrics {

/// Distances from queries to the gallery, asked for by rows: plain or re-ranked.
class DistanceSource {
 public:
  virtual ~DistanceSource() = default;
  /// Rows [begin, end) of the Q x G distances to `out`, row by row. `begin` is a multiple of the
  /// rows asked for, which are a power of two up to ops::DistanceRows::kRows or a multiple of that.
  virtual void compute(int64_t begin, int64_t end, float* out) const = 0;
  /// The library that made the products.
  virtual ops::Product product() const = 0;
};

std::unique_ptr<DistanceSource> plain_distances(const torch::Tensor& query, const torch::Tensor& gallery,
                                                ops::Metric metric, ops::Product product);

/// Distances after re-ranking with resolved options. @throws InputError if k1 or k2 is beyond what there is.
std::unique_ptr<DistanceSource> reranked_distances(const torch::Tensor& query, const torch::Tensor& gallery,
                                                   ops::Metric metric, ops::Product product,
                                                   const RerankOptions& resolved, const ProgressSink& progress);

}  // namespace reid::metrics
