// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "reid/core/options.hpp"
#include "reid/ops/matmul.hpp"

/// The only distance of the library: losses, evaluation, re-ranking and search all call it.
namespace reid::ops {

/// How far two features x and y are from each other (small = near).
///   cosine     1 - <x,y> / (|x| |y|), in [0, 2] up to rounding; a zero vector is at distance 1 from everything
///   euclidean  |x - y|^2: *squared*, of the features as given; computed as |x|^2 + |y|^2 - 2<x,y>, not below 0
enum class Metric { cosine, euclidean };

/// Distances [N, M] of the rows of x [N, D] and y [M, D].
/// Reference: torchreid's `compute_distance_matrix` (its "euclidean" is squared too).
/// Differs from it: cosine of a zero vector is 1, not NaN; not below 0.
/// @param x, y     float32 or float64; float16 and bfloat16 are widened, and products accumulate in float32 whatever
///                 autocast says. Any strides; N, M may be 0.
/// @return         [N, M] float32 (float64 for float64 inputs).
/// @throws ShapeError if a rank, a type, the devices or D don't fit.
/// Cost: 2 N M D flop, no temporary of the size of the result on the CPU. Differentiable: once, with the exact gradient of the formula,
/// 2 (x - y) for euclidean (no square root anywhere, finite at x = y). Deterministic: yes; on the CPU an entry is the
/// same to the bit whatever the number of threads with `Product::aten`, which `automatic` takes here; oneDNN cuts a block
/// by the number of threads that it believes in, and its sums follow. Devices: cpu, cuda.
torch::Tensor pairwise_distance(const torch::Tensor& x, const torch::Tensor& y, Metric metric,
                                Product product = Product::automatic);

/// The same distances in pieces, for matrices too large to hold, CPU and float32 only. Norms are taken once, then any
/// range of x's rows is asked for.
///
/// Rows are used as they lie, without a copy (but for lengths that products of float32 don't hold, below 1e-15 or above 1e15).
/// Products are made on a fixed grid of `kRows` x `kColumns` pairs, each by one thread, so (but for oneDNN and the number
/// of threads, see above) an entry doesn't depend on
/// the ranges asked for (if they begin at multiples of `kRows`), on the number of threads or on the matrix being
/// whole: `pairwise_distance` gives the same bits.
class DistanceRows {
 public:
  static constexpr int64_t kRows = 256;
  static constexpr int64_t kColumns = 512;

  /// @param x [N, D], y [M, D] float32 on the CPU. @throws ShapeError as `pairwise_distance`.
  DistanceRows(const torch::Tensor& x, const torch::Tensor& y, Metric metric, Product product = Product::automatic);

  /// Distances of x's rows [begin, end) to every row of y: `out` takes (end - begin) * M values, row by row, in parallel
  /// over the grid. The grid's rows are counted from `begin`: for the same bits, calls begin at multiples of kRows, or cut x
  /// in the same places.
  void compute(int64_t begin, int64_t end, float* out) const;

  int64_t rows() const { return x_.size(0); }
  int64_t columns() const { return y_.size(0); }
  Product product() const { return product_; }

 private:
  torch::Tensor x_, y_, x_norms_, y_norms_;
  Metric metric_;
  Product product_;
};

}  // namespace reid::ops

template <>
struct reid::EnumNames<reid::ops::Metric> {
  static constexpr std::array<std::pair<reid::ops::Metric, const char*>, 2> values{
      {{reid::ops::Metric::cosine, "cosine"}, {reid::ops::Metric::euclidean, "euclidean"}}};
};
