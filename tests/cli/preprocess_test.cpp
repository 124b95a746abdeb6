// SPDX-License-Identifier: Apache-2.0
// `reid preprocess` as a user runs it: a picture to the array that a network sees.
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <vector>

#include "cli/run_reid.hpp"
#include "reid/core/io.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using Catch::Matchers::Contains;
using reid::test::run_reid;
using reid::test::TempDir;

namespace {

constexpr int kSide = 8;

/// Colour of a pixel of the test picture: a different slope in each channel.
int colour(int channel, int row, int column) { return 20 * (channel + 1) + 9 * row + 2 * column * (channel + 1); }

/// The picture as an uncompressed BMP of 24 bits: rows from the bottom up, blue first, no padding at this width.
std::string bitmap() {
  std::string pixels;
  for (int row = kSide - 1; row >= 0; --row) {
    for (int column = 0; column < kSide; ++column) {
      for (int channel = 2; channel >= 0; --channel) pixels += static_cast<char>(colour(channel, row, column));
    }
  }
  const auto number = [](uint32_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xff);
    return text;
  };
  constexpr uint32_t kHeaders = 54;
  return "BM" + number(kHeaders + static_cast<uint32_t>(pixels.size()), 4) + number(0, 4) + number(kHeaders, 4) +
         number(40, 4) + number(kSide, 4) + number(kSide, 4) + number(1, 2) + number(24, 2) + number(0, 24) + pixels;
}

std::vector<std::string> command(const std::string& image, const std::string& output) {
  return {"preprocess", "--model", "resnet18", "--set", "/model/preprocess/height=8", "--set",
          "/model/preprocess/width=8", image, "--output", output};
}

}  // namespace

TEST_CASE("a picture of the network's size is only normalised", "[cli][preprocess]") {
  const TempDir dir;
  const auto picture = (dir / "p.bmp").string(), output = (dir / "p.npy").string();
  reid::write_file_atomic(picture, bitmap());
  const auto run = run_reid(command(picture, output));
  INFO(run.err);
  REQUIRE(run.status == 0);
  const auto bytes = reid::read_file(output);
  const auto header = bytes.substr(0, bytes.find('\n'));
  REQUIRE_THAT(header, Contains("'<f4'") && Contains("(3, 8, 8)") && Contains("'fortran_order': False"));
  std::vector<float> values(3 * kSide * kSide);
  REQUIRE(bytes.size() == header.size() + 1 + values.size() * sizeof(float));
  std::memcpy(values.data(), bytes.data() + header.size() + 1, values.size() * sizeof(float));
  const double mean[] = {0.485, 0.456, 0.406}, deviation[] = {0.229, 0.224, 0.225};
  for (int channel = 0; channel < 3; ++channel) {
    for (int row = 0; row < kSide; ++row) {
      for (int column = 0; column < kSide; ++column) {
        const double expected = (colour(channel, row, column) / 255.0 - mean[channel]) / deviation[channel];
        REQUIRE(values[static_cast<std::size_t>((channel * kSide + row) * kSide + column)] ==
                Approx(expected).margin(1e-5));
      }
    }
  }
}

TEST_CASE("what isn't a picture, or isn't there, is named and nothing is written", "[cli][preprocess]") {
  const TempDir dir;
  const auto picture = (dir / "p.bmp").string(), output = (dir / "p.npy").string();
  for (const auto& bytes : {std::string(), std::string("BM no picture"), bitmap().substr(0, 100)}) {
    reid::write_file_atomic(picture, bytes);
    const auto run = run_reid(command(picture, output));
    REQUIRE(run.status == 2);
    REQUIRE_THAT(run.err, Contains("p.bmp"));
    REQUIRE_FALSE(std::filesystem::exists(output));
  }
  const auto run = run_reid(command((dir / "none.jpg").string(), output));
  REQUIRE(run.status == 2);
  REQUIRE_THAT(run.err, Contains("none.jpg"));
}
