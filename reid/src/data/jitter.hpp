// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// The four changes of torchvision's ColorJitter on 8-bit RGB pictures, as Pillow computes them (ImageEnhance and the
/// HSV conversion), byte for byte. `pixels` is `count` x 3 bytes, changed in place.
namespace reid::data::jitter {

/// factor * x, truncated and clipped.
void brightness(uint8_t* pixels, int64_t count, double factor);
/// Away from or towards the rounded mean of the luma.
void contrast(uint8_t* pixels, int64_t count, double factor);
/// Away from or towards each pixel's own luma.
void saturation(uint8_t* pixels, int64_t count, double factor);
/// Turns the hue of Pillow's 8-bit HSV by `turn` of the circle, -0.5 .. 0.5.
void hue(uint8_t* pixels, int64_t count, double turn);

}  // namespace reid::data::jitter
