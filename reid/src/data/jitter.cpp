// SPDX-License-Identifier: Apache-2.0
#include "jitter.hpp"

#include <algorithm>
#include <cmath>

namespace reid::data::jitter {
namespace {

/// ITU-R 601-2 luma in 16-bit fixed point.
uint8_t luma(const uint8_t* pixel) {
  return static_cast<uint8_t>((pixel[0] * 19595U + pixel[1] * 38470U + pixel[2] * 7471U + 0x8000U) >> 16);
}

/// from + factor (to - from), in float32, truncated; clipped where factor leaves [0, 1].
uint8_t blend(int from, int to, float factor) {
  const float value = static_cast<float>(from) + factor * static_cast<float>(to - from);
  if (value <= 0.0F) return 0;
  if (value >= 255.0F) return 255;
  return static_cast<uint8_t>(value);
}

int clip(int value) { return std::clamp(value, 0, 255); }

struct Hsv {
  int hue = 0;
  int saturation = 0;
  int value = 0;
};

Hsv to_hsv(const uint8_t* pixel) {
  const int r = pixel[0], g = pixel[1], b = pixel[2];
  const int high = std::max({r, g, b});
  const int low = std::min({r, g, b});
  if (high == low) return {0, 0, high};
  const auto range = static_cast<float>(high - low);
  const float s = range / static_cast<float>(high);
  const float rc = static_cast<float>(high - r) / range;
  const float gc = static_cast<float>(high - g) / range;
  const float bc = static_cast<float>(high - b) / range;
  float h;
  if (r == high) {
    h = bc - gc;
  } else if (g == high) {
    h = static_cast<float>(2.0 + rc - bc);
  } else {
    h = static_cast<float>(4.0 + gc - rc);
  }
  h = static_cast<float>(std::fmod(h / 6.0 + 1.0, 1.0));
  return {clip(static_cast<int>(h * 255.0)), clip(static_cast<int>(s * 255.0)), high};
}

void from_hsv(const Hsv& hsv, uint8_t* pixel) {
  const int v = hsv.value;
  if (hsv.saturation == 0) {
    pixel[0] = pixel[1] = pixel[2] = static_cast<uint8_t>(v);
    return;
  }
  const int sextant = static_cast<int>(std::floor(static_cast<float>(hsv.hue) * 6.0 / 255.0));
  const auto f = static_cast<float>(static_cast<float>(hsv.hue) * 6.0 / 255.0 - static_cast<float>(sextant));
  const auto fs = static_cast<float>(static_cast<float>(hsv.saturation) / 255.0);
  const auto value = static_cast<float>(v);
  const int p = clip(static_cast<int>(std::round(value * (1.0 - fs))));
  const int q = clip(static_cast<int>(std::round(value * (1.0 - fs * f))));
  const int t = clip(static_cast<int>(std::round(value * (1.0 - fs * (1.0 - f)))));
  int r = 0, g = 0, b = 0;
  switch (sextant % 6) {
    case 0: r = v, g = t, b = p; break;
    case 1: r = q, g = v, b = p; break;
    case 2: r = p, g = v, b = t; break;
    case 3: r = p, g = q, b = v; break;
    case 4: r = t, g = p, b = v; break;
    default: r = v, g = p, b = q; break;
  }
  pixel[0] = static_cast<uint8_t>(r);
  pixel[1] = static_cast<uint8_t>(g);
  pixel[2] = static_cast<uint8_t>(b);
}

}  // namespace

void brightness(uint8_t* pixels, int64_t count, double factor) {
  const auto f = static_cast<float>(factor);
  for (int64_t i = 0; i < count * 3; ++i) pixels[i] = blend(0, pixels[i], f);
}

void contrast(uint8_t* pixels, int64_t count, double factor) {
  int64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += luma(pixels + 3 * i);
  const int mean = static_cast<int>(static_cast<double>(sum) / static_cast<double>(count) + 0.5);
  const auto f = static_cast<float>(factor);
  for (int64_t i = 0; i < count * 3; ++i) pixels[i] = blend(mean, pixels[i], f);
}

void saturation(uint8_t* pixels, int64_t count, double factor) {
  const auto f = static_cast<float>(factor);
  for (int64_t i = 0; i < count; ++i) {
    uint8_t* pixel = pixels + 3 * i;
    const int gray = luma(pixel);
    for (int c = 0; c < 3; ++c) pixel[c] = blend(gray, pixel[c], f);
  }
}

void hue(uint8_t* pixels, int64_t count, double turn) {
  // torchvision adds the byte np.int32(turn * 255).astype(uint8), wrapping round.
  const int shift = static_cast<int>(turn * 255);
  for (int64_t i = 0; i < count; ++i) {
    Hsv hsv = to_hsv(pixels + 3 * i);
    hsv.hue = (hsv.hue + shift) & 255;
    from_hsv(hsv, pixels + 3 * i);
  }
}

}  // namespace reid::data::jitter
