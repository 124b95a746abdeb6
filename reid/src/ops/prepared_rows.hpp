// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "reid/ops/distance.hpp"

namespace reid::ops {

/// Rows made ready for products, without a copy of them unless their lengths are beyond what products of float32 hold.
struct PreparedRows {
  torch::Tensor rows;     // [N, D], contiguous
  torch::Tensor factors;  // [N]: 1 / |x| and 0 for a zero row (cosine), |x|^2 (euclidean)
  int64_t size() const { return rows.size(0); }
};

/// T: float or double, the type of x [N, D] on the CPU.
template <class T>
PreparedRows prepare(const torch::Tensor& x, Metric metric);

/// x / |x| by rows on any device, zero rows as they are. Rows are divided by their largest value first: LibTorch's norms on a device
/// have no wider type, and squares of what is above 1e19 or below 1e-19 aren't held in float32.
torch::Tensor unit_rows(const torch::Tensor& x);

/// The same as `prepare` by LibTorch's operators, for x [N, D] on any device: rows of length 1 under cosine.
PreparedRows prepare_anywhere(const torch::Tensor& x, Metric metric);

/// Distances of rows [row, row + n) of x to rows [column, column + m) of y, row i to out + i * stride. One thread's work
/// below autograd and autocast. `scratch` is an empty tensor that a caller keeps from block to block.
template <class T>
void block_distances(const PreparedRows& x, int64_t row, int64_t n, const PreparedRows& y, int64_t column, int64_t m,
                     Metric metric, Product product, T* out, int64_t stride, torch::Tensor& scratch);

/// `automatic` is LibTorch's product for distances: it is the same in every process.
inline Product settled(Product product) { return product == Product::automatic ? Product::aten : product; }

}  // namespace reid::ops
