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
  int64_t count = 0;       // a row
  torch::Tensor index;     // [N, count] int32, by (distance, index)
  torch::Tensor distance;  // [N, count] float32
  torch::Tensor farthest;  // [N] float32: the largest distance of the row
  std::span<const int32_t> of(int64_t row, int64_t first) const {
    return {index.const_data_ptr<int32_t>() + row * count, static_cast<std::size_t>(first)};
  }
};

/// One pass over half of the pairs, never N x N, on `device`, which holds all features; the result is on the CPU. A row is at distance 0 from itself, no distance is negative.
Neighbours nearest(const torch::Tensor& features, ops::Metric metric, ops::Product product, int64_t count,
                   torch::Device device, const ProgressSink& progress);

/// The same after `finish(distances)` has changed the N distances of a row and returned its `farthest`: for arithmetic that
/// doesn't keep the order, as that of half precision, which makes ties. All pairs are computed.
Neighbours nearest_after(const torch::Tensor& features, ops::Metric metric, ops::Product product, int64_t count,
                         const std::function<float(std::span<float>)>& finish, const ProgressSink& progress);

}  // namespace reid::metrics
