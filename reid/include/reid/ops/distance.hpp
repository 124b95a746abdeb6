// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include "reid/core/options.hpp"

namespace reid::ops {

enum class Metric { cosine, euclidean };

/// Distances [N, M] of the rows of x [N, D] and y [M, D]:
///   cosine     1 - <x,y> / (|x| |y|)
///   euclidean  |x - y|^2, computed as |x|^2 + |y|^2 - 2<x,y>, not below 0
/// Differentiable.
torch::Tensor pairwise_distance(const torch::Tensor& x, const torch::Tensor& y, Metric metric);

}  // namespace reid::ops

template <>
struct reid::EnumNames<reid::ops::Metric> {
  static constexpr std::array<std::pair<reid::ops::Metric, const char*>, 2> values{
      {{reid::ops::Metric::cosine, "cosine"}, {reid::ops::Metric::euclidean, "euclidean"}}};
};
