// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "reid/core/progress.hpp"
#include "reid/ops/distance.hpp"

namespace reid::metrics {

/// For every row of a feature matrix the nearest rows of the same matrix, itself included.
struct Neighbours {
  int64_t count = 0;               // a row
  std::vector<int32_t> index;      // [N, count], by (distance, index)
  std::vector<float> distance;     // [N, count]
  std::vector<float> scale;        // [N] what `finish` returned
  std::span<const int32_t> of(int64_t row, int64_t first) const {
    return {index.data() + row * count, static_cast<std::size_t>(first)};
  }
};

/// One streamed pass, never N x N. `finish(distances)` may change the N distances of a row before they are compared
/// and returns the row's scale; the distance of the row to itself is 0 by then.
Neighbours nearest(const torch::Tensor& features, ops::Metric metric, ops::Product product, int64_t count,
                   const std::function<float(std::span<float>)>& finish, const ProgressSink& progress);

}  // namespace reid::metrics
