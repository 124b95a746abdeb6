// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace reid::test {

/// [height, width, 3] uint8 by the formula of tests/reference/preprocess.py.
inline torch::Tensor picture(int64_t height, int64_t width) {
  torch::Tensor result = torch::empty({height, width, 3}, torch::kUInt8);
  auto* out = result.data_ptr<uint8_t>();
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < 3; ++c) {
        const int64_t noise = ((x * 2654435761) ^ (y * 40503) ^ (c * 97)) & 0xffffffff;
        *out++ = static_cast<uint8_t>((x * x * 7 + y * 13 + x * y * 3 + c * 91 + (noise >> 7)) & 255);
      }
    }
  }
  return result;
}

}  // namespace reid::test
