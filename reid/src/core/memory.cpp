// SPDX-License-Identifier: Apache-2.0
#include "reid/core/memory.hpp"

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace reid {

bool keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int kGrowBy = 256 << 20;  // bytes of address space asked for at a time; pages are taken when touched
  return mallopt(M_MMAP_MAX, 0) == 1 && mallopt(M_TRIM_THRESHOLD, -1) == 1 && mallopt(M_TOP_PAD, kGrowBy) == 1;
#else
  return false;
#endif
}

}  // namespace reid
