// SPDX-License-Identifier: Apache-2.0
#include "reid/data/resize.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "reid/core/error.hpp"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define REID_RESIZE_AVX2 1
#endif

namespace reid::data {
namespace {

constexpr int kPrecision = 32 - 8 - 2;
constexpr int32_t kHalf = 1 << (kPrecision - 1);

double triangle(double x) {
  x = std::fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double cubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

/// The weights of one pass, for the outputs [first, first + count).
struct Taps {
  struct Span {
    int64_t begin;   ///< first input
    int64_t count;   ///< inputs
    int64_t weight;  ///< position of the first weight in `weights`
  };
  std::vector<Span> spans;
  std::vector<int32_t> weights;

  void make(int64_t in, int64_t full, int64_t first, int64_t count, ResizeFilter filter) {
    const double radius = filter == ResizeFilter::bilinear ? 1.0 : 2.0;
    const double scale = static_cast<double>(in) / static_cast<double>(full);
    const double filter_scale = std::max(scale, 1.0);
    const double support = radius * filter_scale;
    const double inverse = 1.0 / filter_scale;
    spans.clear();
    weights.clear();
    for (int64_t i = first; i < first + count; ++i) {
      const double center = (static_cast<double>(i) + 0.5) * scale;
      const int64_t begin = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
      const int64_t end = std::min<int64_t>(static_cast<int64_t>(center + support + 0.5), in);
      values_.clear();
      double sum = 0.0;
      for (int64_t j = begin; j < end; ++j) {
        const double x = (static_cast<double>(j - begin) + static_cast<double>(begin) - center + 0.5) * inverse;
        values_.push_back(filter == ResizeFilter::bilinear ? triangle(x) : cubic(x));
        sum += values_.back();
      }
      Span span{begin, 0, static_cast<int64_t>(weights.size())};
      int64_t leading = 0;
      for (const double value : values_) {
        const double k = (sum != 0.0 ? value / sum : value) * (1 << kPrecision);
        const auto rounded = static_cast<int32_t>(k < 0 ? -0.5 + k : 0.5 + k);
        if (rounded == 0 && span.count == 0) {
          ++leading;  // a weight of 0 changes nothing
          continue;
        }
        weights.push_back(rounded);
        ++span.count;
      }
      span.begin += leading;
      while (span.count > 0 && weights.back() == 0) {
        weights.pop_back();
        --span.count;
      }
      if (span.count == 0) span.begin = begin;
      spans.push_back(span);
    }
  }
  /// Inputs that any of the spans reads: [first, last).
  std::pair<int64_t, int64_t> reach() const {
    int64_t first = spans.front().begin;
    int64_t last = first;
    for (const auto& span : spans) {
      first = std::min(first, span.begin);
      last = std::max(last, span.begin + span.count);
    }
    return {first, last};
  }

 private:
  std::vector<double> values_;
};

uint8_t clip8(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecision, 0, 255)); }

void row_pass_plain(const uint8_t* in, uint8_t* out, const Taps& taps, std::size_t begin = 0) {
  for (std::size_t x = begin; x < taps.spans.size(); ++x) {
    const auto& span = taps.spans[x];
    const int32_t* weight = taps.weights.data() + span.weight;
    const uint8_t* pixel = in + span.begin * 3;
    int32_t red = kHalf, green = kHalf, blue = kHalf;
    for (int64_t t = 0; t < span.count; ++t, pixel += 3) {
      red += pixel[0] * weight[t];
      green += pixel[1] * weight[t];
      blue += pixel[2] * weight[t];
    }
    out[x * 3] = clip8(red);
    out[x * 3 + 1] = clip8(green);
    out[x * 3 + 2] = clip8(blue);
  }
}

void column_pass_plain(const uint8_t* in, int64_t stride, uint8_t* out, int64_t bytes, const int32_t* weight,
                       int64_t taps, int64_t begin = 0) {
  for (int64_t x = begin; x < bytes; ++x) {
    int32_t sum = kHalf;
    for (int64_t t = 0; t < taps; ++t) sum += in[t * stride + x] * weight[t];
    out[x] = clip8(sum);
  }
}

#ifdef REID_RESIZE_AVX2

// Two rows at once; a pixel is read as four bytes, so `in` and `in + stride` must have a byte behind their last
// pixel. The last output of a row is left to the caller, since four bytes are written as well.
__attribute__((target("avx2"))) void row_pass_avx2(const uint8_t* in, int64_t in_stride, uint8_t* out,
                                                   int64_t out_stride, const Taps& taps) {
  const std::size_t count = taps.spans.size() - 1;
  for (std::size_t x = 0; x < count; ++x) {
    const auto& span = taps.spans[x];
    const int32_t* weight = taps.weights.data() + span.weight;
    const uint8_t* pixel = in + span.begin * 3;
    __m256i sum = _mm256_set1_epi32(kHalf);
    for (int64_t t = 0; t < span.count; ++t, pixel += 3) {
      int32_t upper, lower;
      std::memcpy(&upper, pixel, 4);
      std::memcpy(&lower, pixel + in_stride, 4);
      const __m128i bytes = _mm_insert_epi32(_mm_cvtsi32_si128(upper), lower, 1);
      sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(bytes), _mm256_set1_epi32(weight[t])));
    }
    const __m256i shifted = _mm256_srai_epi32(sum, kPrecision);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(shifted), _mm256_extracti128_si256(shifted, 1));
    const __m128i packed = _mm_packus_epi16(words, words);
    const int32_t upper = _mm_cvtsi128_si32(packed);
    const int32_t lower = _mm_extract_epi32(packed, 1);
    std::memcpy(out + x * 3, &upper, 4);
    std::memcpy(out + out_stride + static_cast<int64_t>(x) * 3, &lower, 4);
  }
}

__attribute__((target("avx2"))) void column_pass_avx2(const uint8_t* in, int64_t stride, uint8_t* out, int64_t bytes,
                                                      const int32_t* weight, int64_t taps) {
  int64_t x = 0;
  for (; x + 16 <= bytes; x += 16) {
    __m256i low = _mm256_set1_epi32(kHalf);
    __m256i high = low;
    for (int64_t t = 0; t < taps; ++t) {
      const __m128i pixels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + t * stride + x));
      const __m256i k = _mm256_set1_epi32(weight[t]);
      low = _mm256_add_epi32(low, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(pixels), k));
      high = _mm256_add_epi32(high, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(pixels, 8)), k));
    }
    low = _mm256_srai_epi32(low, kPrecision);
    high = _mm256_srai_epi32(high, kPrecision);
    // packs works in 128-bit halves: low 0-3 high 0-3 | low 4-7 high 4-7, put in order by the permutation.
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
    const __m128i packed = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + x), packed);
  }
  column_pass_plain(in, stride, out, bytes, weight, taps, x);
}

bool has_avx2() {
  static const bool yes = __builtin_cpu_supports("avx2") != 0;
  return yes;
}

#else

bool has_avx2() { return false; }

#endif

/// Bytes behind a buffer that vector code may read.
constexpr int64_t kSlack = 4;

/// Memory that a thread keeps from picture to picture.
struct Scratch {
  Taps across;
  Taps down;
  std::vector<uint8_t> between;
};

/// The input of one pass.
struct Source {
  const uint8_t* data;
  int64_t stride;        ///< bytes from row to row
  int64_t rows;
  int64_t offset;        ///< number of the first column (row pass) or row (column pass) that `data` holds
  bool readable_behind;  ///< whether a byte may be read behind the last row
};

void row_pass(const Source& source, uint8_t* out, int64_t bytes, const Taps& taps, [[maybe_unused]] bool avx2) {
  const uint8_t* in = source.data - source.offset * 3;
  int64_t y = 0;
#ifdef REID_RESIZE_AVX2
  const auto last = taps.spans.size() - 1;
  const int64_t safe = source.rows - (source.readable_behind ? 0 : 1);
  for (; avx2 && y + 1 < safe; y += 2) {
    row_pass_avx2(in + y * source.stride, source.stride, out + y * bytes, bytes, taps);
    row_pass_plain(in + y * source.stride, out + y * bytes, taps, last);
    row_pass_plain(in + (y + 1) * source.stride, out + (y + 1) * bytes, taps, last);
  }
#endif
  for (; y < source.rows; ++y) row_pass_plain(in + y * source.stride, out + y * bytes, taps);
}

void column_pass(const Source& source, uint8_t* out, int64_t bytes, const Taps& taps, [[maybe_unused]] bool avx2) {
  for (const auto& span : taps.spans) {
    const int32_t* weight = taps.weights.data() + span.weight;
    const uint8_t* from = source.data + (span.begin - source.offset) * source.stride;
#ifdef REID_RESIZE_AVX2
    if (avx2) {
      column_pass_avx2(from, source.stride, out, bytes, weight, span.count);
      out += bytes;
      continue;
    }
#endif
    column_pass_plain(from, source.stride, out, bytes, weight, span.count);
    out += bytes;
  }
}

/// Pillow 13's rule: the picture loses more than twice as many rows as columns.
bool vertical_first(int64_t in_height, int64_t in_width, const ResizeWindow& window, PassOrder order) {
  const int64_t rows_lost = in_height - window.full_height;
  const int64_t columns_lost = in_width - window.full_width;
  return order == PassOrder::pillow_13 && rows_lost > 0 && rows_lost > 2 * columns_lost;
}

void check(int64_t in_height, int64_t in_width, const ResizeWindow& window) {
  if (in_height < 1 || in_width < 1 || window.full_height < 1 || window.full_width < 1) {
    throw ShapeError(fmt::format("resize: sizes must be positive, got {} x {} to {} x {}", in_height, in_width,
                                 window.full_height, window.full_width));
  }
  if (window.top < 0 || window.left < 0 || window.height < 1 || window.width < 1 ||
      window.top > window.full_height - window.height || window.left > window.full_width - window.width) {
    throw ShapeError(fmt::format("resize: window must lie within {} x {}, got {} x {} at {}, {}", window.full_height,
                                 window.full_width, window.height, window.width, window.top, window.left));
  }
}

}  // namespace

void resize_window(const uint8_t* in, int64_t in_height, int64_t in_width, uint8_t* out, const ResizeWindow& window,
                   ResizeFilter filter, PassOrder order, ResizePath path) {
  check(in_height, in_width, window);
  static thread_local Scratch scratch;
  const bool avx2 = path == ResizePath::automatic && has_avx2();
  const bool horizontal = window.full_width != in_width;
  const bool vertical = window.full_height != in_height;
  const int64_t in_stride = in_width * 3;
  const int64_t bytes = window.width * 3;
  auto& [across, down, between] = scratch;
  if (horizontal) across.make(in_width, window.full_width, window.left, window.width, filter);
  if (vertical) down.make(in_height, window.full_height, window.top, window.height, filter);

  if (!horizontal && !vertical) {
    for (int64_t y = 0; y < window.height; ++y) {
      const uint8_t* from = in + (window.top + y) * in_stride + window.left * 3;
      std::memcpy(out + y * bytes, from, static_cast<std::size_t>(bytes));
    }
  } else if (!vertical) {
    const bool touches_end = window.top + window.height == in_height;
    row_pass({in + window.top * in_stride, in_stride, window.height, 0, !touches_end}, out, bytes, across, avx2);
  } else if (!horizontal) {
    column_pass({in + window.left * 3, in_stride, in_height, 0, false}, out, bytes, down, avx2);
  } else if (vertical_first(in_height, in_width, window, order)) {
    const auto [first, last] = across.reach();
    const int64_t stride = (last - first) * 3;
    between.resize(static_cast<std::size_t>(window.height * stride + kSlack));
    column_pass({in + first * 3, in_stride, in_height, 0, false}, between.data(), stride, down, avx2);
    row_pass({between.data(), stride, window.height, first, true}, out, bytes, across, avx2);
  } else {
    const auto [first, last] = down.reach();
    between.resize(static_cast<std::size_t>((last - first) * bytes));
    row_pass({in + first * in_stride, in_stride, last - first, 0, last < in_height}, between.data(), bytes, across,
             avx2);
    column_pass({between.data(), bytes, last - first, first, false}, out, bytes, down, avx2);
  }
}

torch::Tensor resize(const torch::Tensor& pixels, int64_t height, int64_t width, ResizeFilter filter,
                     PassOrder order) {
  if (!pixels.defined() || pixels.dim() != 3 || pixels.size(2) != 3 || pixels.scalar_type() != torch::kUInt8 ||
      !pixels.device().is_cpu()) {
    throw ShapeError(fmt::format("resize: pixels must be [H, W, 3] uint8 on the CPU, got {}",
                                 pixels.defined() ? pixels.toString() : "an undefined tensor"));
  }
  const torch::Tensor source = pixels.contiguous();
  if (height < 1 || width < 1) {
    throw ShapeError(fmt::format("resize: height and width must be positive, got {} x {}", height, width));
  }
  torch::Tensor result = torch::empty({height, width, 3}, torch::kUInt8);
  resize_window(source.data_ptr<uint8_t>(), source.size(0), source.size(1), result.data_ptr<uint8_t>(),
                {height, width, 0, 0, height, width}, filter, order);
  return result;
}

}  // namespace reid::data
