// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// Kernels by raw pointers on the device, sizes and a stream: no LibTorch, so that nvcc and the host compiler read the same
/// header. Nothing here waits for the device or asks it for memory. Each function returns a cudaError_t, 0 for success.
namespace reid::ops::cuda {

using Stream = void*;  // a cudaStream_t

/// Threads of a block, of every kernel.
inline constexpr int kThreads = 256;

inline constexpr int kMostNeighbours = 1024;

/// The k best of each row so far, as numbers in the order of (distance, index); all ones where there is none yet.
/// `state` [rows, k] and `farthest` [rows].
int start_topk(uint64_t* state, float* farthest, int64_t rows, int64_t k, Stream stream);

/// Takes columns [first_column, first_column + columns) into account, whose products lie in `dots` [rows, columns].
/// Row i and column j are at 1 - dot * x[i] * y[j] (cosine) or max(x[i] + y[j] - 2 dot, 0). Where `self` is not negative, row i is item
/// self + i of the columns' set: it is at 0 from itself, and nothing is below 0. A NaN is passed over. The order of calls doesn't matter.
int add_topk(const float* dots, const float* x_factors, const float* y_factors, bool cosine, int64_t rows, int64_t columns,
             int64_t first_column, int64_t self, uint64_t* state, float* farthest, int64_t k, Stream stream);

/// The state as indices and distances [rows, k]; -1 and NaN behind the others where fewer than k distances were numbers.
int finish_topk(const uint64_t* state, int64_t rows, int64_t k, int32_t* index, float* distance, Stream stream);

/// Places of hits in three steps, so that a gallery may lie in parts. `offsets` [queries + 1] and `items` as for ops::rank_hits;
/// a part holds the columns [first, first + columns) of the gallery, its `distances` are [queries, columns]. `ties` 0 stable, 1 worst,
/// 2 best.
/// The distances of those items that lie in this part; the others' stay.
int gather_hits(const float* distances, int64_t queries, int64_t columns, int64_t first, const int64_t* offsets,
                const int32_t* items, float* hit_distances, Stream stream);
/// Adds to each item's count the columns of this part that stand before it, other items among them.
int count_before(const float* distances, int64_t queries, int64_t columns, int64_t first, const int64_t* offsets,
                 const int32_t* items, const float* hit_distances, int ties, int64_t* counts, Stream stream);
/// Turns the counts of all parts, in `places`, into places: items don't count as others, removed ones not at all.
int place_hits(int64_t queries, const int64_t* offsets, const int32_t* items, const bool* removed, const float* hit_distances,
               int ties, int64_t* places, Stream stream);

/// mutual[i, t]: i is among the first `count` of the list of index[i, t]. `index` [rows, width], `mutual` [rows, count].
int reciprocal(const int32_t* index, int64_t rows, int64_t width, int64_t count, bool* mutual, Stream stream);

/// sums [rows, columns], as ops::sparse_overlap; `pairing` 0 minimum, 1 product.
int overlap(const int64_t* starts, const int32_t* items, const float* values, int64_t rows, const int64_t* inverted_starts,
            const int32_t* inverted_rows, const float* inverted_values, int64_t columns, int pairing, bool half, float* sums,
            Stream stream);

/// As ops::batch_hard; `distances` [rows, rows].
int batch_hard(const float* distances, const int64_t* labels, int64_t rows, bool with_self, int64_t* positive,
               int64_t* negative, Stream stream);
int batch_hard(const double* distances, const int64_t* labels, int64_t rows, bool with_self, int64_t* positive,
               int64_t* negative, Stream stream);

/// The name of an error.
const char* error_name(int error);

}  // namespace reid::ops::cuda
