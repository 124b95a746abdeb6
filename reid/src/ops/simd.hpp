// SPDX-License-Identifier: Apache-2.0
#pragma once

/// How a pass over memory is compiled for AVX2 beside the plain processor: written once as a REID_INLINE function, inlined into a
/// REID_AVX2 one and into a plain one, chosen by `has_avx2`. Fused multiply-adds aren't among AVX2, so both give the same values.
#define REID_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__)
#define REID_AVX2 __attribute__((target("avx2")))
#else
#define REID_AVX2
#endif

namespace reid::ops {

/// Whether REID_AVX2 functions run here.
inline bool has_avx2() {
#if defined(__x86_64__) && defined(__GNUC__)
  static const bool yes = __builtin_cpu_supports("avx2") != 0;
  return yes;
#else
  return false;
#endif
}

}  // namespace reid::ops
