// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "reid/core/progress.hpp"
#include "reid/ops/mining.hpp"
#include "reid/ops/rank.hpp"
#include "reid/ops/sparse.hpp"
#include "reid/ops/topk.hpp"

/// Twins of ops for tensors on a CUDA device, on its current stream; arguments are checked already. In builds with
/// REID_WITH_CUDA only.
namespace reid::ops::cuda {

/// `within`: y is x, each row is at 0 from itself and nothing is below 0. @throws ShapeError for k above kMostNeighbours.
TopK distance_topk(const torch::Tensor& x, const torch::Tensor& y, int64_t k, Metric metric, bool within,
                   const ProgressSink& progress);

torch::Tensor rank_hits(const torch::Tensor& distances, const torch::Tensor& offsets, const torch::Tensor& items,
                        const torch::Tensor& removed, Ties ties);
/// Steps of ranking in parts, see kernels.hpp.
void gather_hits(const GalleryPart& part, const torch::Tensor& offsets, const torch::Tensor& items,
                 const torch::Tensor& hit_distances);
void count_before(const GalleryPart& part, const torch::Tensor& offsets, const torch::Tensor& items,
                  const torch::Tensor& hit_distances, Ties ties, const torch::Tensor& counts);

BatchHard batch_hard(const torch::Tensor& distances, const torch::Tensor& labels, bool with_self);

torch::Tensor sparse_overlap(const SparseRows& x, int64_t begin, int64_t end, const SparseRows& inverted, int64_t columns,
                             Pairing pairing, bool half);
torch::Tensor reciprocal_neighbours(const torch::Tensor& index, int64_t count);

/// Bytes of the device's memory that nobody needs; waits for the device.
int64_t free_memory(torch::Device device);

}  // namespace reid::ops::cuda
