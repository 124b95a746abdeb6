// SPDX-License-Identifier: Apache-2.0
// Places of hits by counting what stands before each, one block a query, some hits a pass over its distances.
#include <cuda_runtime.h>

#include "kernels.hpp"

namespace reid::ops::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kHits = 8;  // a pass

enum Ties : int { kStable = 0, kWorst = 1 };

__device__ bool before(float distance, int32_t index, float hit_distance, int32_t hit_index, int ties) {
  if (distance != hit_distance) return distance < hit_distance;
  return ties == kWorst || (ties == kStable && index < hit_index);
}

__global__ void rank_kernel(const float* distances, int64_t gallery, const int64_t* offsets, const int32_t* items,
                            const bool* removed, int ties, int64_t* places) {
  __shared__ int counts[kHits];
  const int64_t query = blockIdx.x, begin = offsets[query], end = offsets[query + 1];
  const float* line = distances + query * gallery;
  const auto thread = static_cast<int>(threadIdx.x);
  for (int64_t first = begin; first < end; first += kHits) {
    const auto slots = static_cast<int>(end - first < kHits ? end - first : kHits);
    float hit_distance[kHits];
    int32_t hit_index[kHits];
    int count[kHits];
#pragma unroll
    for (int s = 0; s < kHits; ++s) {
      count[s] = 0;
      hit_index[s] = s < slots ? items[first + s] : 0;
      hit_distance[s] = line[hit_index[s]];
    }
    if (thread < kHits) counts[thread] = 0;
    __syncthreads();
    for (int64_t j = thread; j < gallery; j += kThreads) {
      const float distance = line[j];
#pragma unroll
      for (int s = 0; s < kHits; ++s) {
        count[s] += before(distance, static_cast<int32_t>(j), hit_distance[s], hit_index[s], ties) ? 1 : 0;
      }
    }
    // Items were counted too, as if they were others: out with them, and in with the hits in their own order.
    for (int64_t m = begin + thread; m < end; m += kThreads) {
      const int32_t index = items[m];
      const float distance = line[index];
      const bool kept = !removed[m];
#pragma unroll
      for (int s = 0; s < kHits; ++s) {
        count[s] -= before(distance, index, hit_distance[s], hit_index[s], ties) ? 1 : 0;
        count[s] += kept && before(distance, index, hit_distance[s], hit_index[s], kStable) ? 1 : 0;
      }
    }
#pragma unroll
    for (int s = 0; s < kHits; ++s) {
      if (count[s] != 0) atomicAdd(&counts[s], count[s]);
    }
    __syncthreads();
    if (thread < slots) places[first + thread] = removed[first + thread] ? 0 : int64_t{counts[thread]} + 1;
    __syncthreads();
  }
}

}  // namespace

int rank_hits(const float* distances, int64_t queries, int64_t gallery, const int64_t* offsets, const int32_t* items,
              const bool* removed, int ties, int64_t* places, Stream stream) {
  if (queries == 0 || gallery == 0) return 0;
  if (queries > 0x7fffffff) return static_cast<int>(cudaErrorInvalidValue);
  rank_kernel<<<static_cast<unsigned>(queries), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      distances, gallery, offsets, items, removed, ties, places);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace reid::ops::cuda
