// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

/// Batch-hard mining: the pairs of a batch that a metric loss learns most from.
namespace reid::ops {

/// For each row i of N.
struct BatchHard {
  torch::Tensor positive;  ///< [N] int64: the farthest j with y_j = y_i, -1 where there is none
  torch::Tensor negative;  ///< [N] int64: the nearest j with y_j != y_i, -1 where there is none
};

/// The farthest of each row's label and the nearest of the others. Of equal distances the lowest index; NaN counts as the
/// farthest and as the nearest, so that a loss over it isn't a number either.
/// Paper: Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, arXiv:1703.07737, Eq. 5.
/// @param distances  [N, N] float32 or float64, any strides
/// @param labels     [N] int64 on the same device
/// @param with_self  a row may be its own positive (at distance 0, where it is the only one of its label)
/// @throws ShapeError if a shape, a type or the devices don't fit.
/// Cost: one pass over N^2 distances, no temporary. Not differentiable: gather from the distances. Deterministic: yes.
/// Devices: cpu; cuda (one kernel, on the current stream).
BatchHard batch_hard(const torch::Tensor& distances, const torch::Tensor& labels, bool with_self);

}  // namespace reid::ops
