// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "reid/core/options.hpp"

namespace reid {

/// Resampling filter of the resize, as Pillow defines it (antialiased when shrinking).
enum class ResizeFilter { bilinear, bicubic };
template <>
struct EnumNames<ResizeFilter> {
  static constexpr std::array<std::pair<ResizeFilter, const char*>, 2> values{
      {{ResizeFilter::bilinear, "bilinear"}, {ResizeFilter::bicubic, "bicubic"}}};
};

/// Which of the two passes of a resize comes first where both are needed; results differ by a level of 255 here and
/// there, for bilinear, where a picture is much too tall.
enum class PassOrder {
  rows_first,  ///< along rows, then along columns, always: Pillow up to 12, which trained the published weights
  pillow_13,   ///< columns first if h > H and h - H > 2 (w - W) (from w x h to W x H), else rows first: Pillow 13
};
template <>
struct EnumNames<PassOrder> {
  static constexpr std::array<std::pair<PassOrder, const char*>, 2> values{
      {{PassOrder::rows_first, "rows_first"}, {PassOrder::pillow_13, "pillow_13"}}};
};

/// What is done to a picture before a network sees it at test time. It belongs to the model and travels with it.
///   x = (rgb / 255 - mean) / std          on the picture resized to height x width, 8-bit rounded
struct PreprocessOptions {
  int64_t height = 256;
  int64_t width = 128;
  std::array<double, 3> mean{0.485, 0.456, 0.406};
  std::array<double, 3> std{0.229, 0.224, 0.225};
  ResizeFilter filter = ResizeFilter::bilinear;
  PassOrder passes = PassOrder::rows_first;
  template <class V>
  void fields(V&& v) {
    v("height", height, "input height in pixels", Range{8, 4096});
    v("width", width, "input width in pixels", Range{8, 4096});
    v("mean", mean, "mean of R, G, B on the scale 0..1, subtracted");
    v("std", std, "standard deviation of R, G, B on the scale 0..1, divided by", Range{1e-6, 1e6});
    v("filter", filter, "resampling filter of the test-time resize");
    v("passes", passes, "order of the resize's passes: rows_first (Pillow up to 12) or pillow_13");
  }
};

}  // namespace reid
