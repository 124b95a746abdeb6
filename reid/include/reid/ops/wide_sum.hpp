// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace reid::ops {

/// sum_k term(k) over [0, n) in float64, in eight sums side by side that are added in pairs at the end: a fixed order, so the same
/// bits everywhere, that a compiler can make wide.
/// @param term  gives the k-th number, a double.
template <class Term>
double wide_sum(int64_t n, const Term& term) {
  double sums[8] = {};
  int64_t k = 0;
  for (; k + 8 <= n; k += 8) {
    for (int64_t s = 0; s < 8; ++s) sums[s] += term(k + s);
  }
  for (; k < n; ++k) sums[0] += term(k);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/// <x, y> of n values in float64, each product exact for float32.
template <class T>
double wide_dot(const T* x, const T* y, int64_t n) {
  return wide_sum(n, [&](int64_t k) { return static_cast<double>(x[k]) * static_cast<double>(y[k]); });
}

}  // namespace reid::ops
