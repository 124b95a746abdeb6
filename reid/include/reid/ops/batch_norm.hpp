// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

namespace reid::ops {

/// What follows a convolution and its normalisation.
///   none   y = z
///   relu   y = max(z, 0)
///   relu6  y = min(max(z, 0), 6)
enum class Activation { none, relu, relu6 };

/// Applies an activation in place and returns it: `x` must not be needed any more by its producer's gradient.
torch::Tensor activate_(torch::Tensor x, Activation act);

/// Parameters and running statistics of a batch norm, each [C].
struct BatchNormState {
  torch::Tensor weight, bias;                ///< gamma and beta
  torch::Tensor running_mean, running_var;   ///< changed by training; undefined: not kept
  double momentum = 0.1;
  double eps = 1e-5;
};

/// Batch norm in training, an added map and an activation in one:
///   y = act(gamma (x - mean) / sqrt(var + eps) + beta + shortcut),  mean and (biased) variance per channel over N, H, W
///   running <- (1 - momentum) running + momentum * (mean, unbiased variance)
/// Paper: Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
/// ICML 2015, Algorithm 1.
/// Differs from LibTorch's `batch_norm`, `add_` and activation one after the other in the order of additions only (relative 1e-6 of
/// the largest value in float32). On the CPU, for dense float32 maps that lie channels-last, x is read twice and y written
/// once, and the gradient reads x and y's gradient twice and writes x's once, where the others pass over memory about twice as
/// often; everything else goes to LibTorch.
/// @param x         [N, C, H, W] floating; N H W above 1.
/// @param shortcut  as x, or undefined.
/// @return          as x.
/// @throws ShapeError if ranks, sizes or types don't fit.
/// Differentiable: once (the CPU path refuses a second time). Deterministic: the same bits for any number of threads on the CPU
/// path. Devices: all of LibTorch's.
torch::Tensor batch_norm_act(const torch::Tensor& x, const BatchNormState& state, Activation act = Activation::none,
                             const torch::Tensor& shortcut = {});

}  // namespace reid::ops
