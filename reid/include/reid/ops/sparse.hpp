// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <span>
#include <vector>

/// Lists of neighbours as sparse rows, and what two of them share: the arithmetic of re-ranking below its variants.
namespace reid::ops {

/// Rows with few values that aren't 0: row i has the entries starts[i] to starts[i + 1].
struct SparseRows {
  torch::Tensor starts;  ///< [N + 1] int64, ascending from 0
  torch::Tensor items;   ///< [M] int32, the column of each entry, ascending and without repeats within a row
  torch::Tensor values;  ///< [M] float32, not negative

  int64_t rows() const { return starts.size(0) - 1; }
  SparseRows to(torch::Device device) const { return {starts.to(device), items.to(device), values.to(device)}; }
};

/// Row j of the result lists the rows [first, last) of x that have column j, numbered from 0: an inverted index. On the CPU.
/// @param columns  number of rows of the result, above every item of x
SparseRows transposed(const SparseRows& x, int64_t first, int64_t last, int64_t columns);

/// What two rows share in a column: min(x, y), or x y.
enum class Pairing { minimum, product };

/// sums[q, g] = sum over columns j of pair(x[begin + q, j], y[g, j]), where y is given by its inverted index, row j for column j.
/// Sums are in float32 in ascending order of j, on every device.
/// @param columns  number of rows of y
/// @param half     round every partial sum to half precision
/// @return         [end - begin, columns] float32 on x's device
/// @throws ShapeError if the devices differ or [begin, end) isn't within x.
/// Cost: an addition for each pair of entries in one column. Not differentiable. Deterministic: yes. Devices: cpu; cuda (the current stream).
torch::Tensor sparse_overlap(const SparseRows& x, int64_t begin, int64_t end, const SparseRows& inverted, int64_t columns,
                             Pairing pairing, bool half = false);

/// One row on the CPU: adds to `sums`, which begins as zeros, and appends to `touched` the places that are no longer 0.
void sparse_overlap(const SparseRows& x, int64_t row, const SparseRows& inverted, Pairing pairing, bool half,
                    std::span<float> sums, std::vector<int32_t>& touched);

/// mutual[i, t]: row i is among the first `count` neighbours of its own neighbour index[i, t] (k-reciprocal neighbours).
/// Paper: Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017, Eq. 1.
/// @param index  [N, K] int32, the lists; values in [0, N)
/// @param count  0 to K
/// @return       [N, count] bool
/// @throws ShapeError if a shape, a type or `count` doesn't fit.
/// Cost: N count^2 comparisons at most. Deterministic: yes. Devices: cpu; cuda (the current stream).
torch::Tensor reciprocal_neighbours(const torch::Tensor& index, int64_t count);

}  // namespace reid::ops
