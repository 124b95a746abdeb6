// SPDX-License-Identifier: Apache-2.0
#include "reid/core/blank.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

namespace reid {
namespace {

struct Range {
  uint32_t first, last;
};

/// Ascending. The test compares them with ICU, which this room doesn't have.
constexpr Range kUnseen[] = {
    {0x9, 0xD},         {0x20, 0x20},       {0x85, 0x85},       {0xA0, 0xA0},       {0xAD, 0xAD},       {0x34F, 0x34F},
    {0x61C, 0x61C},     {0x115F, 0x1160},   {0x1680, 0x1680},   {0x17B4, 0x17B5},   {0x180B, 0x180F},   {0x2000, 0x200F},
    {0x2028, 0x202F},   {0x205F, 0x206F},   {0x3000, 0x3000},   {0x3164, 0x3164},   {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},
    {0xFFA0, 0xFFA0},   {0xFFF0, 0xFFF8},   {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF},
};

bool is_unseen(uint32_t c) {
  const auto* range = std::lower_bound(std::begin(kUnseen), std::end(kUnseen), c, [](const Range& r, uint32_t x) { return r.last < x; });
  return range != std::end(kUnseen) && range->first <= c;
}

}  // namespace

bool is_blank(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i++]);
    if ((lead >= 0x80 && lead < 0xC2) || lead > 0xF4) return false;
    const int more = lead < 0x80 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    uint32_t c = more == 0 ? lead : lead & (0x3FU >> more);
    for (int k = 0; k < more; ++k) {
      const auto next = i < text.size() ? static_cast<uint8_t>(text[i++]) : uint8_t{0};
      if ((next & 0xC0) != 0x80) return false;
      c = c << 6 | (next & 0x3FU);
    }
    constexpr uint32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
    if (c < kLeast[more] || !is_unseen(c)) return false;
  }
  return true;
}

}  // namespace reid
