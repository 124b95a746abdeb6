// SPDX-License-Identifier: Apache-2.0
// libFuzzer's entry; REID_FUZZ_TARGET is the function of targets.hpp.
#include <cstddef>
#include <cstdint>

#include "fuzz/targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  reid::fuzz::REID_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
