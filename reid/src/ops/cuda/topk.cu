// SPDX-License-Identifier: Apache-2.0
// Distances from a tile of products and the k nearest of each row in one pass: the distances are never written.
#include "launch.hpp"

namespace reid::ops::cuda {
namespace {

constexpr uint64_t kNone = ~uint64_t{0};

/// Bits of a float in the order of its value.
__device__ uint32_t ordered(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0F);  // -0 becomes 0
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

__device__ float unordered(uint32_t bits) {
  return __uint_as_float((bits & 0x80000000U) != 0 ? bits & 0x7fffffffU : ~bits);
}

/// Ascending bitonic sort of `size` numbers, a power of two, by the whole block.
__device__ void sort(uint64_t* values, int size) {
  for (int length = 2; length <= size; length *= 2) {
    for (int step = length / 2; step > 0; step /= 2) {
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads) {
        const int partner = i ^ step;
        if (partner <= i) continue;
        const bool ascending = (i & length) == 0;
        const uint64_t a = values[i], b = values[partner];
        if ((a > b) == ascending) {
          values[i] = b;
          values[partner] = a;
        }
      }
    }
  }
  __syncthreads();
}

__global__ void fill_kernel(uint64_t* state, float* farthest, int64_t rows, int64_t k) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  for (int64_t i = first; i < rows * k; i += step) state[i] = kNone;
  for (int64_t i = first; i < rows; i += step) farthest[i] = -__uint_as_float(0x7f800000U);
}

/// One block a row. Candidates below the k-th best are put behind the k best; when there may be no room for another round of
/// the block, all are sorted and the k best stay. `size` is a power of two, at least k + kThreads.
__global__ void add_kernel(const float* dots, const float* x_factors, const float* y_factors, bool cosine, int64_t columns,
                           int64_t first_column, int64_t self, uint64_t* state, float* farthest, int k, int size) {
  uint64_t* best = block_memory();
  __shared__ int count;
  __shared__ float largest[kThreads];
  const auto thread = static_cast<int>(threadIdx.x);
  const int64_t row = blockIdx.x;
  for (int i = thread; i < size; i += kThreads) best[i] = i < k ? state[row * k + i] : kNone;
  if (thread == 0) count = k;
  float most = -__uint_as_float(0x7f800000U);
  const float own = x_factors[row];
  const float* line = dots + row * columns;
  for (int64_t begin = 0; begin < columns; begin += kThreads) {
    __syncthreads();
    if (count > size - kThreads) {
      sort(best, size);
      for (int i = k + thread; i < size; i += kThreads) best[i] = kNone;
      if (thread == 0) count = k;
      __syncthreads();
    }
    const uint64_t limit = k > 0 ? best[k - 1] : 0;
    __syncthreads();
    const int64_t j = begin + thread;
    if (j >= columns) continue;
    float distance = cosine ? 1.0F - line[j] * (own * y_factors[j]) : own + y_factors[j] - 2.0F * line[j];
    if (distance < 0.0F && (self >= 0 || !cosine)) distance = 0.0F;
    if (self >= 0 && first_column + j == self + row) distance = 0.0F;
    if (distance != distance) continue;  // a NaN is nobody's neighbour
    most = fmaxf(most, distance);
    const uint64_t candidate =
        static_cast<uint64_t>(ordered(distance)) << 32 | static_cast<uint32_t>(first_column + j);
    if (candidate < limit) best[atomicAdd(&count, 1)] = candidate;
  }
  __syncthreads();
  sort(best, size);
  for (int i = thread; i < k; i += kThreads) state[row * k + i] = best[i];
  largest[thread] = most;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) largest[thread] = fmaxf(largest[thread], largest[thread + half]);
  }
  if (thread == 0) farthest[row] = fmaxf(farthest[row], largest[0]);
}

__global__ void finish_kernel(const uint64_t* state, int64_t count, int32_t* index, float* distance) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) {
    index[i] = static_cast<int32_t>(state[i] & 0xffffffffU);
    distance[i] = unordered(static_cast<uint32_t>(state[i] >> 32));
  }
}

}  // namespace

int start_topk(uint64_t* state, float* farthest, int64_t rows, int64_t k, Stream stream) {
  if (rows == 0) return 0;
  return launch(fill_kernel, blocks_for(rows * (k + 1)), 0, stream, state, farthest, rows, k);
}

int add_topk(const float* dots, const float* x_factors, const float* y_factors, bool cosine, int64_t rows, int64_t columns,
             int64_t first_column, int64_t self, uint64_t* state, float* farthest, int64_t k, Stream stream) {
  if (rows == 0 || columns == 0) return 0;
  if (k > kMostNeighbours) return static_cast<int>(cudaErrorInvalidValue);
  int size = 2 * kThreads;
  while (size < k + kThreads) size *= 2;
  return launch(add_kernel, rows, static_cast<std::size_t>(size) * sizeof(uint64_t), stream, dots, x_factors,
                y_factors, cosine, columns, first_column, self, state, farthest, k, size);
}

int finish_topk(const uint64_t* state, int64_t rows, int64_t k, int32_t* index, float* distance, Stream stream) {
  if (rows * k == 0) return 0;
  return launch(finish_kernel, blocks_for(rows * k), 0, stream, state, rows * k, index, distance);
}

const char* error_name(int error) { return cudaGetErrorName(static_cast<cudaError_t>(error)); }

}  // namespace reid::ops::cuda
