// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "reid/core/preprocess.hpp"

namespace reid::data {

/// A rectangle of a resized picture: the picture is resized to full_height x full_width, and the rows
/// top..top+height-1, columns left..left+width-1 of that are wanted. Nothing outside is computed.
struct ResizeWindow {
  int64_t full_height = 0;
  int64_t full_width = 0;
  int64_t top = 0;
  int64_t left = 0;
  int64_t height = 0;
  int64_t width = 0;
};

/// Which code does the work; both give the same bytes.
enum class ResizePath { automatic, plain };

/// Resizes a picture of interleaved 8-bit RGB as Pillow's `Image.resize` does, bit for bit.
///
/// Two passes, along rows and along columns (see PassOrder), each rounded to 8 bits; a pass whose size doesn't change is left out. With
/// s = in / out, f = max(s, 1) and the filter's support r (bilinear 1, bicubic 2), output i of a pass is
///   out[i] = clip8((2^21 + sum_j K[i,j] in[j]) >> 22),     j = trunc(c - r f + 1/2) .. trunc(c + r f + 1/2) - 1
///   c = (i + 1/2) s,     k[i,j] = w((j - c + 1/2) / f) / sum_j w(...),     K = k 2^22 rounded half away from 0
/// in double precision, j cut to the picture; w is the triangle or Keys' cubic with a = -1/2. Shrinking is
/// antialiased (the filter widens with f).
///
/// Reference: python-pillow/Pillow src/libImaging/Resample.c (12.0 and 13.0).
/// Differs from it: nothing known; `ResizePath::automatic` uses AVX2 where the processor has it.
/// Parity: tests/data/resize_test.cpp, fixture resize_v1, equal.
/// @param in   in_height x in_width x 3 bytes.
/// @param out  window.height x window.width x 3 bytes; must not overlap `in`.
/// @throws ShapeError if a size isn't positive or the window leaves the resized picture.
/// Cost: O(height * in_width * taps) bytes read; the memory of one pass.
void resize_window(const uint8_t* in, int64_t in_height, int64_t in_width, uint8_t* out,
                   const ResizeWindow& window, ResizeFilter filter,
                   PassOrder order = PassOrder::rows_first, ResizePath path = ResizePath::automatic);

/// The whole picture. @param pixels [H, W, 3] uint8 on the CPU. @return [height, width, 3] uint8.
/// @throws ShapeError if `pixels` isn't that or a size isn't positive.
torch::Tensor resize(const torch::Tensor& pixels, int64_t height, int64_t width,
                     ResizeFilter filter = ResizeFilter::bilinear,
                     PassOrder order = PassOrder::rows_first);

}  // namespace reid::data
