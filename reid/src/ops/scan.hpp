// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// Passes over lines of distances, with AVX2 where the processor has it; the results are the same without.
namespace reid::ops {

inline constexpr int64_t kLimits = 4;

/// counts[h] += how many of the n values are below limits[h], h < kLimits. n below 2^31.
void count_below(const float* values, int64_t n, const float* limits, int64_t* counts);

/// Whether any of n values is at most `limit`.
bool any_up_to(const float* values, int64_t n, float limit);

/// Whether any values[j] is at most limits[j].
bool any_up_to_each(const float* values, const float* limits, int64_t n);

/// largest[j] = max(largest[j], values[j]).
void raise_each(const float* values, int64_t n, float* largest);

/// to[j] = 1 - dots[j] * (own * other[j]).
void cosine_of(const float* dots, const float* other, float own, int64_t n, float* to);

/// to[j] = max(own + other[j] - 2 dots[j], 0).
void euclidean_of(const float* dots, const float* other, float own, int64_t n, float* to);

/// The largest of `start` and n values.
float largest_of(const float* values, int64_t n, float start);

}  // namespace reid::ops
