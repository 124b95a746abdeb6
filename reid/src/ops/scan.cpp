// SPDX-License-Identifier: Apache-2.0
#include "scan.hpp"

#include <algorithm>

#include "simd.hpp"

namespace reid::ops {
namespace {

REID_INLINE void count_pass(const float* values, int64_t n, const float* limits, int64_t* counts) {
  const float l0 = limits[0], l1 = limits[1], l2 = limits[2], l3 = limits[3];
  int32_t c0 = 0, c1 = 0, c2 = 0, c3 = 0;
  for (int64_t j = 0; j < n; ++j) {
    const float value = values[j];
    c0 += value < l0 ? 1 : 0;
    c1 += value < l1 ? 1 : 0;
    c2 += value < l2 ? 1 : 0;
    c3 += value < l3 ? 1 : 0;
  }
  counts[0] += c0;
  counts[1] += c1;
  counts[2] += c2;
  counts[3] += c3;
}

REID_INLINE bool any_pass(const float* values, int64_t n, float limit) {
  int32_t any = 0;
  for (int64_t j = 0; j < n; ++j) any |= values[j] <= limit ? 1 : 0;
  return any != 0;
}

REID_INLINE bool any_each_pass(const float* values, const float* limits, int64_t n) {
  int32_t any = 0;
  for (int64_t j = 0; j < n; ++j) any |= values[j] <= limits[j] ? 1 : 0;
  return any != 0;
}

REID_INLINE void raise_pass(const float* values, int64_t n, float* largest) {
  for (int64_t j = 0; j < n; ++j) largest[j] = values[j] > largest[j] ? values[j] : largest[j];
}

REID_INLINE void cosine_pass(const float* dots, const float* other, float own, int64_t n, float* __restrict to) {
  for (int64_t j = 0; j < n; ++j) to[j] = 1.0F - dots[j] * (own * other[j]);
}

REID_INLINE void euclidean_pass(const float* dots, const float* other, float own, int64_t n, float* __restrict to) {
  for (int64_t j = 0; j < n; ++j) {
    const float distance = own + other[j] - 2.0F * dots[j];
    to[j] = distance < 0.0F ? 0.0F : distance;  // a NaN stays
  }
}

REID_INLINE float largest_pass(const float* values, int64_t n, float start) {
  float lanes[16];
  for (float& lane : lanes) lane = start;
  int64_t j = 0;
  for (; j + 16 <= n; j += 16) {
    for (int64_t s = 0; s < 16; ++s) lanes[s] = values[j + s] > lanes[s] ? values[j + s] : lanes[s];
  }
  for (; j < n; ++j) lanes[0] = std::max(lanes[0], values[j]);
  return *std::max_element(lanes, lanes + 16);
}

REID_AVX2 void count_avx2(const float* values, int64_t n, const float* limits, int64_t* counts) {
  count_pass(values, n, limits, counts);
}
REID_AVX2 bool any_avx2(const float* values, int64_t n, float limit) { return any_pass(values, n, limit); }
REID_AVX2 bool any_each_avx2(const float* values, const float* limits, int64_t n) {
  return any_each_pass(values, limits, n);
}
REID_AVX2 void raise_avx2(const float* values, int64_t n, float* largest) { raise_pass(values, n, largest); }
REID_AVX2 void cosine_avx2(const float* dots, const float* other, float own, int64_t n, float* to) {
  cosine_pass(dots, other, own, n, to);
}
REID_AVX2 void euclidean_avx2(const float* dots, const float* other, float own, int64_t n, float* to) {
  euclidean_pass(dots, other, own, n, to);
}
REID_AVX2 float largest_avx2(const float* values, int64_t n, float start) { return largest_pass(values, n, start); }

}  // namespace

void count_below(const float* values, int64_t n, const float* limits, int64_t* counts) {
  has_avx2() ? count_avx2(values, n, limits, counts) : count_pass(values, n, limits, counts);
}

bool any_up_to(const float* values, int64_t n, float limit) {
  return has_avx2() ? any_avx2(values, n, limit) : any_pass(values, n, limit);
}

bool any_up_to_each(const float* values, const float* limits, int64_t n) {
  return has_avx2() ? any_each_avx2(values, limits, n) : any_each_pass(values, limits, n);
}

void raise_each(const float* values, int64_t n, float* largest) {
  has_avx2() ? raise_avx2(values, n, largest) : raise_pass(values, n, largest);
}

void cosine_of(const float* dots, const float* other, float own, int64_t n, float* to) {
  has_avx2() ? cosine_avx2(dots, other, own, n, to) : cosine_pass(dots, other, own, n, to);
}

void euclidean_of(const float* dots, const float* other, float own, int64_t n, float* to) {
  has_avx2() ? euclidean_avx2(dots, other, own, n, to) : euclidean_pass(dots, other, own, n, to);
}

float largest_of(const float* values, int64_t n, float start) {
  return has_avx2() ? largest_avx2(values, n, start) : largest_pass(values, n, start);
}

}  // namespace reid::ops
