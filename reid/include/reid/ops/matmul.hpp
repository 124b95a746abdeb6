// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <string>

#include "reid/core/json.hpp"
#include "reid/core/options.hpp"

/// The one dense product that distances, heads, RGA's relation and transformers call.
///
/// LibTorch holds two libraries of float32 products on the CPU: the BLAS behind `at::mm` and oneDNN. Which is
/// quicker depends on the processor and on the shape, by up to a factor of two either way, so the choice is measured.
namespace reid::ops {

/// Which library computes a product.
///   automatic  both are timed once per shape class (each of M, K and N to the next power of two, operand layout,
///              number of threads), on the caller's own operands cut to about 0.2 GFLOP; the quicker is remembered in
///              the process. oneDNN must win by a tenth, so that a tie doesn't flip from run to run. Products
///              below 2 MFLOP aren't timed: aten.
///   aten       the BLAS behind `at::mm`.
///   onednn     oneDNN inside the same LibTorch, on the operands as they lie (no copy to a blocked layout).
/// The two round differently: a fixed choice gives bit-equal repeats, and results should carry `product_choices()`.
/// Where oneDNN can't be used (not float32, not on the CPU, an empty operand, autocast in force, a LibTorch without
/// it), aten computes whatever was asked for.
enum class Product { automatic, aten, onednn };

/// a [M, K] times b [K, N] (`transpose_b`: b is [N, K]) to [M, N]. Any strides; sizes may be 0. Same floating type.
/// @throws ShapeError if a rank, a type, the devices or the inner sizes don't fit.
/// Cost: 2 M K N flop. Differentiable: once. Deterministic: with a fixed choice and number of threads. Devices: cpu, cuda.
torch::Tensor matmul(const torch::Tensor& a, const torch::Tensor& b, bool transpose_b = false,
                     Product product = Product::automatic);

/// x [..., K], weight [N, K], optional bias [N] to x weight^T + bias, [..., N]. The weight may be a view (a `narrow`
/// of a wider one) without being copied.
/// @throws ShapeError if a rank, a type, the devices or the inner sizes don't fit.
/// Cost: 2 |x| N flop. Differentiable: once. Deterministic: as `matmul`. Devices: cpu, cuda.
torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias = {},
                     Product product = Product::automatic);

/// x [B, K, M], weight [N, K] to x[b]^T weight^T for each b, [B, M, N]: `linear` of columns. Neither x nor its gradient, which lies as
/// x does, is turned over in memory: for maps whose columns are the inner dimension. The library is chosen as by `automatic`.
/// @throws ShapeError if a rank, a type, the devices or the inner sizes don't fit.
/// Cost: 2 |x| N flop. Differentiable: once. Deterministic: with a fixed number of threads. Devices: cpu, cuda.
torch::Tensor linear_of_columns(const torch::Tensor& x, const torch::Tensor& weight);

/// Every choice that `automatic` made in this process, for results: a list, sorted by shape class, of
/// {"rows", "inner", "columns": upper ends of the class, "layout", "threads", "product": "aten"|"onednn",
///  "gflops": {"aten", "onednn"}}.
Json product_choices();

/// Takes over the choices of an earlier process, as `product_choices()` wrote them, so that a resumed run rounds as the
/// one that it continues. Choices of the same classes are replaced, others stay.
/// @throws ConfigError if it isn't such a list; nothing is taken over then.
void restore_product_choices(const Json& list);

}  // namespace reid::ops

template <>
struct reid::EnumNames<reid::ops::Product> {
  static constexpr std::array<std::pair<reid::ops::Product, const char*>, 3> values{
      {{reid::ops::Product::automatic, "auto"},
       {reid::ops::Product::aten, "aten"},
       {reid::ops::Product::onednn, "onednn"}}};
};
