// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <string>

namespace reid::ops {

/// Which library computes a product. `automatic` measures both once per shape class and remembers.
enum class Product { automatic, aten, onednn };

/// a [M, K] times b [K, N] (`transpose_b`: b is [N, K]). Differentiable.
torch::Tensor matmul(const torch::Tensor& a, const torch::Tensor& b, bool transpose_b = false,
                     Product product = Product::automatic);

/// x [..., K], weight [N, K], optional bias [N] to [..., N]. Differentiable.
torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias = {},
                     Product product = Product::automatic);

}  // namespace reid::ops
