// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <span>

#include "reid/core/progress.hpp"
#include "reid/ops/distance.hpp"

/// The nearest of many, exactly, without a matrix of all distances.
namespace reid::ops {

/// For every row of one set its k nearest rows of another, in the order of (distance, index).
struct TopK {
  torch::Tensor index;     ///< [N, k] int32
  torch::Tensor distance;  ///< [N, k] float32, ascending
  torch::Tensor farthest;  ///< [N] float32: the largest distance of the row, of all M
};

/// The k nearest rows of y [M, D] for every row of x [N, D], distances as `pairwise_distance` gives them.
/// @param k           between 0 and M
/// @throws ShapeError if a rank, a type, the devices, D or k don't fit; InputError if fewer than k distances of a row are numbers
///                    (a NaN isn't anybody's neighbour); on CUDA, where a look would stop the device, such a row ends with index -1
///                    and distance NaN instead.
/// Cost: 2 N M D flop, and O(N M) comparisons, of which few do more than pass; memory: 256 M distances. Not differentiable.
/// Deterministic: yes, for any number of threads, with the product as `pairwise_distance`. Devices: cpu; cuda (k at most 1,024, the
/// current stream; tiles take up to an eighth of the free memory, 1 GiB at most).
TopK distance_topk(const torch::Tensor& x, const torch::Tensor& y, int64_t k, Metric metric,
                   Product product = Product::automatic, const ProgressSink& progress = {});

/// The k nearest rows of the same set x [N, D], the row itself included, at distance 0. No distance is below 0, and
/// distances are symmetric: each pair is computed once. @param k between 0 and N.
/// Cost: N^2 D flop, half of the whole matrix's; memory: 256 N distances and about 16 k N bytes.
/// The rest is as for `distance_topk`.
TopK distance_topk_within(const torch::Tensor& x, int64_t k, Metric metric, Product product = Product::automatic,
                          const ProgressSink& progress = {});

/// The `index.size()` smallest of one line by (distance, index); at most as many as there are. Values must not be NaN.
void smallest(std::span<const float> distances, std::span<int32_t> index, std::span<float> distance);

}  // namespace reid::ops
