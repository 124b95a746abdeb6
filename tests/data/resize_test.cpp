// SPDX-License-Identifier: Apache-2.0
#include "reid/data/resize.hpp"

#include <filesystem>
#include <fstream>
#include <string>

#include "data/support.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "support/catch.hpp"

using namespace reid;
using namespace reid::data;
using Catch::Matchers::Contains;

namespace {

torch::Tensor window(const torch::Tensor& pixels, const ResizeWindow& wanted, ResizeFilter filter, ResizePath path,
                     PassOrder order = PassOrder::rows_first) {
  torch::Tensor out = torch::empty({wanted.height, wanted.width, 3}, torch::kUInt8);
  resize_window(pixels.data_ptr<uint8_t>(), pixels.size(0), pixels.size(1), out.data_ptr<uint8_t>(), wanted, filter,
                order, path);
  return out;
}

uint64_t hash(const torch::Tensor& tensor) {
  return fingerprint({static_cast<const char*>(tensor.data_ptr()), tensor.nbytes()});
}

}  // namespace

TEST_CASE("resizing equals Pillow's, byte for byte", "[data][parity]") {
  std::ifstream in(std::filesystem::path(REID_FIXTURES) / "data" / "resize_v1.txt");
  REQUIRE(in.good());
  int64_t h = 0, w = 0, height = 0, width = 0;
  std::string filter, expected;
  int cases = 0;
  while (in >> h >> w >> height >> width >> filter >> expected) {
    CAPTURE(h, w, height, width, filter);
    const auto kind = filter == "bilinear" ? ResizeFilter::bilinear : ResizeFilter::bicubic;
    const auto source = test::picture(h, w);
    const ResizeWindow whole{height, width, 0, 0, height, width};
    const auto plain = window(source, whole, kind, ResizePath::plain, PassOrder::pillow_13);
    REQUIRE(hash(plain) == std::stoull(expected, nullptr, 16));
    REQUIRE(torch::equal(resize(source, height, width, kind, PassOrder::pillow_13), plain));
    REQUIRE(torch::equal(window(source, whole, kind, ResizePath::automatic, PassOrder::pillow_13), plain));
    ++cases;
  }
  REQUIRE(cases == 48);
}

TEST_CASE("a window is a part of the whole", "[data]") {
  for (const auto& [h, w] : {std::pair<int64_t, int64_t>{128, 64}, {300, 40}, {60, 300}, {90, 90}}) {
    const auto source = test::picture(h, w);
    for (const auto filter : {ResizeFilter::bilinear, ResizeFilter::bicubic}) {
      for (const auto& [full_h, full_w] : {std::pair<int64_t, int64_t>{90, 61}, {90, 90}, {h, 61}, {61, w}}) {
        const auto whole = resize(source, full_h, full_w, filter);
        const auto part = window(source, {full_h, full_w, 7, 11, 40, 23}, filter, ResizePath::automatic);
        CAPTURE(h, w, full_h, full_w);
        REQUIRE(torch::equal(part, whole.slice(0, 7, 47).slice(1, 11, 34)));
      }
    }
  }
}

TEST_CASE("a hand-worked resize", "[data]") {
  // Two pixels to four, triangle: centres 0.25, 0.75, 1.25, 1.75 in units of inputs, whose own centres are 0.5 and 1.5:
  // weights (1, 0), (3/4, 1/4), (1/4, 3/4), (0, 1): 0, 25, 75, 100.
  auto source = torch::tensor({0, 0, 0, 100, 100, 100}, torch::kUInt8).view({1, 2, 3});
  const auto result = resize(source, 1, 4);
  const auto expected = torch::tensor({0, 25, 75, 100}, torch::kUInt8);
  for (int64_t c = 0; c < 3; ++c) REQUIRE(torch::equal(result.select(0, 0).select(1, c), expected));
  // Three pixels to one, antialiased: f = 3, weights 1 - |x| / 3 at x = -1, 0, 1, normalised: 2/7, 3/7, 2/7.
  source = torch::tensor({0, 0, 0, 70, 70, 70, 140, 140, 140}, torch::kUInt8).view({3, 1, 3});
  REQUIRE(resize(source, 1, 1)[0][0][0].item<int>() == 70);
}

TEST_CASE("the order of passes is Pillow 13's or the older one", "[data]") {
  const auto source = test::picture(200, 64);
  const ResizeWindow whole{100, 128, 0, 0, 100, 128};
  const auto older = window(source, whole, ResizeFilter::bilinear, ResizePath::automatic, PassOrder::rows_first);
  // Rows first by hand: two resizes of one direction each.
  REQUIRE(torch::equal(older, resize(resize(source, 200, 128), 100, 128)));
  const auto newer = window(source, whole, ResizeFilter::bilinear, ResizePath::automatic, PassOrder::pillow_13);
  REQUIRE(torch::equal(newer, resize(resize(source, 100, 64), 100, 128)));
  REQUIRE_FALSE(torch::equal(older, newer));
  REQUIRE((older.to(torch::kInt) - newer.to(torch::kInt)).abs().max().item<int>() == 1);
}

TEST_CASE("resizing refuses what is no picture", "[data]") {
  REQUIRE_THROWS_AS(resize(torch::zeros({4, 4, 3}), 2, 2), ShapeError);
  REQUIRE_THROWS_AS(resize(torch::zeros({4, 4}, torch::kUInt8), 2, 2), ShapeError);
  REQUIRE_THROWS_WITH(resize(torch::zeros({4, 4, 3}, torch::kUInt8), 0, 2), Contains("must be positive, got 0 x 2"));
  REQUIRE_THROWS_AS(resize(torch::zeros({0, 4, 3}, torch::kUInt8), 2, 2), ShapeError);
  uint8_t bytes[3] = {};
  REQUIRE_THROWS_AS(resize_window(bytes, 1, 1, bytes, {4, 4, 2, 0, 3, 4}, ResizeFilter::bilinear), ShapeError);
}
