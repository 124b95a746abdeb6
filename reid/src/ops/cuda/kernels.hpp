// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// Kernels by raw pointers on the device, sizes and a stream: no LibTorch, so that nvcc and the host compiler read the same
/// header. Nothing here waits for the device or asks it for memory. Each function returns a cudaError_t, 0 for success.
namespace reid::ops::cuda {

using Stream = void*;  // a cudaStream_t

inline constexpr int kMostNeighbours = 1024;

/// The k best of each row so far, as numbers in the order of (distance, index); all ones where there is none yet.
/// `state` [rows, k] and `farthest` [rows].
int start_topk(uint64_t* state, float* farthest, int64_t rows, int64_t k, Stream stream);

/// Takes columns [first_column, first_column + columns) into account, whose products lie in `dots` [rows, columns].
/// Row i and column j are at 1 - dot * x[i] * y[j] (cosine) or max(x[i] + y[j] - 2 dot, 0). Where `self` is not negative, row i is item
/// self + i of the columns' set: it is at 0 from itself, and nothing is below 0. The order of calls doesn't matter.
int add_topk(const float* dots, const float* x_factors, const float* y_factors, bool cosine, int64_t rows, int64_t columns,
             int64_t first_column, int64_t self, uint64_t* state, float* farthest, int64_t k, Stream stream);

/// The state as indices and distances [rows, k].
int finish_topk(const uint64_t* state, int64_t rows, int64_t k, int32_t* index, float* distance, Stream stream);

/// As ops::rank_hits; `ties` 0 stable, 1 worst, 2 best.
int rank_hits(const float* distances, int64_t queries, int64_t gallery, const int64_t* offsets, const int32_t* items,
              const bool* removed, int ties, int64_t* places, Stream stream);

/// The name of an error.
const char* error_name(int error);

}  // namespace reid::ops::cuda
