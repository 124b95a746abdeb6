// SPDX-License-Identifier: Apache-2.0
#include "reid/datasets/image_io.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/datasets/files.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using namespace reid::datasets;
using Catch::Matchers::Contains;

namespace {

std::string fixture(const std::string& name) { return std::string(REID_FIXTURES) + "/pictures/" + name; }

/// Big-endian PNG header that claims a size and has nothing behind it.
std::string png_header(uint32_t width, uint32_t height) {
  std::string bytes("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16);
  for (const uint32_t value : {width, height}) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(value >> shift & 0xff));
  }
  return bytes + std::string("\x08\x02\0\0\0\0\0\0\0", 9);
}

/// A little-endian TIFF of 8 bits a sample, uncompressed: fields of one number each, and strips or tiles.
std::string tiff(std::vector<std::pair<uint16_t, uint32_t>> fields, const std::vector<std::string>& blocks, bool tiled) {
  const auto number = [](uint64_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xff);
    return text;
  };
  fields.emplace_back(258, 8);
  const uint16_t offsets = tiled ? 324 : 273, counts = tiled ? 325 : 279;
  fields.emplace_back(offsets, 0);
  fields.emplace_back(counts, 0);
  std::sort(fields.begin(), fields.end());
  uint64_t behind = 8 + 2 + 12 * fields.size() + 4;
  std::string directory = number(fields.size(), 2), lists, data;
  for (const auto& [tag, value] : fields) {
    const bool list = tag == offsets || tag == counts;
    const uint64_t length = list ? blocks.size() : 1;
    std::string numbers;
    uint64_t at = behind + 8 * blocks.size();
    for (const auto& block : blocks) {
      numbers += number(tag == offsets ? at : block.size(), 4);
      at += block.size();
    }
    if (!list) numbers = number(value, 4);
    directory += number(tag, 2) + number(4, 2) + number(length, 4);
    if (numbers.size() == 4) {
      directory += numbers;
    } else {
      directory += number(behind + lists.size(), 4);
      lists += numbers;
    }
  }
  lists.resize(8 * blocks.size(), '\0');
  for (const auto& block : blocks) data += block;
  return std::string("II*\0", 4) + number(8, 4) + directory + number(0, 4) + lists + data;
}

}  // namespace

TEST_CASE("pictures of every kind decode as Pillow decodes them", "[datasets][parity]") {
  std::ifstream in(fixture("pictures_v1.txt"));
  REQUIRE(in.good());
  std::string name, expected;
  int64_t height = 0, width = 0;
  std::set<std::string> names;
  while (in >> name >> height >> width >> expected) {
    CAPTURE(name);
    const auto pixels = decode_image(fixture(name));
    REQUIRE(pixels.sizes() == torch::IntArrayRef({height, width, 3}));
    REQUIRE(pixels.is_contiguous());
    REQUIRE(fingerprint({static_cast<const char*>(pixels.data_ptr()), pixels.nbytes()}) == std::stoull(expected, nullptr, 16));
    names.insert(name);
  }
  REQUIRE(names.size() == 56);
}

TEST_CASE("TIFF in planes, in tiles and with white as 0", "[datasets]") {
  constexpr uint32_t kWidth = 18, kHeight = 17;
  const auto value = [](uint32_t y, uint32_t x, uint32_t c) { return static_cast<uint8_t>(y * 13 + x * 5 + c * 70); };
  const auto check = [&](const std::string& bytes, bool inverted, bool gray) {
    const auto pixels = decode_image_bytes(bytes, "hand.tif");
    REQUIRE(pixels.sizes() == torch::IntArrayRef({kHeight, kWidth, 3}));
    const auto* at = pixels.const_data_ptr<uint8_t>();
    for (uint32_t y = 0; y < kHeight; ++y) {
      for (uint32_t x = 0; x < kWidth; ++x) {
        for (uint32_t c = 0; c < 3; ++c, ++at) {
          const int stored = value(y, x, gray ? 0 : c);
          REQUIRE(int{*at} == (inverted ? 255 - stored : stored));
        }
      }
    }
  };
  const auto plane = [&](uint32_t c) {
    std::string bytes;
    for (uint32_t y = 0; y < kHeight; ++y) {
      for (uint32_t x = 0; x < kWidth; ++x) bytes += static_cast<char>(value(y, x, c));
    }
    return bytes;
  };
  const std::vector<std::pair<uint16_t, uint32_t>> size{{256, kWidth}, {257, kHeight}};
  const auto with = [&](std::vector<std::pair<uint16_t, uint32_t>> more) {
    more.insert(more.begin(), size.begin(), size.end());
    return more;
  };
  SECTION("planes") {
    check(tiff(with({{262, 2}, {277, 3}, {278, kHeight}, {284, 2}}), {plane(0), plane(1), plane(2)}, false), false, false);
  }
  SECTION("white is 0") { check(tiff(with({{262, 0}, {277, 1}, {278, kHeight}}), {plane(0)}, false), true, true); }
  SECTION("tiles of 16 x 16, those at the border in part") {
    std::vector<std::string> tiles;
    for (uint32_t top = 0; top < kHeight; top += 16) {
      for (uint32_t left = 0; left < kWidth; left += 16) {
        auto& tile = tiles.emplace_back();
        for (uint32_t i = 0; i < 16 * 16 * 3; ++i) tile += static_cast<char>(value(top + i / 48, left + i / 3 % 16, i % 3));
      }
    }
    check(tiff(with({{262, 2}, {277, 3}, {322, 16}, {323, 16}}), tiles, true), false, false);
  }
  SECTION("colours that aren't read") {
    const auto lab = tiff(with({{262, 8}, {277, 3}, {278, kHeight}, {284, 2}}), {plane(0), plane(1), plane(2)}, false);
    REQUIRE_THROWS_WITH(decode_image_bytes(lab, "lab.tif"), Contains("lab.tif: picture must be gray, RGB, CMYK, YCbCr"));
    const auto huge = tiff(with({{262, 2}, {277, 3}, {322, 1 << 20}, {323, 1 << 20}}), {plane(0)}, true);
    REQUIRE_THROWS_AS(decode_image_bytes(huge, "huge.tif"), DatasetError);
  }
}

TEST_CASE("a picture that is cut off anywhere is an error that names it", "[datasets]") {
  std::ostringstream printed;
  auto* const cerr = std::cerr.rdbuf(printed.rdbuf());
  for (const std::string name : {"rgb.jpg", "progressive.jpg", "cmyk.jpg", "rgb.png", "palette.png", "rgb.bmp", "rgb.tif", "associated_lzw.tif", "jpeg.tif",
                                  "group4.tif", "rgb.webp"}) {
    const std::string whole = read_file(fixture(name));
    for (std::size_t i = 0; i < 60; ++i) {
      const std::size_t size = whole.size() * i / 60;
      CAPTURE(name, size);
      REQUIRE_THROWS_AS(decode_image_bytes(whole.substr(0, size), name), DatasetError);
      REQUIRE_THROWS_WITH(decode_image_bytes(whole.substr(0, size), name), Contains(name + ": picture must be"));
    }
  }
  std::cerr.rdbuf(cerr);
  REQUIRE(printed.str().empty());
}

TEST_CASE("what is no picture is refused", "[datasets]") {
  const test::TempDir folder;
  REQUIRE_THROWS_WITH(decode_image((folder / "no.jpg").string()), Contains("no.jpg") && Contains("No such file"));
  REQUIRE_THROWS_WITH(decode_image(folder.path().string()), Contains("directory"));
  REQUIRE(::mkfifo((folder / "pipe.jpg").c_str(), 0600) == 0);
  REQUIRE_THROWS_WITH(decode_image((folder / "pipe.jpg").string()), Contains("pipe.jpg: picture must be a regular file"));
  REQUIRE_THROWS_WITH(read_file(folder / "pipe.jpg"), Contains("path must be a regular file"));
  REQUIRE_THROWS_WITH(decode_image_bytes("", "zero.jpg"), Contains("zero.jpg") && Contains("an empty file"));
  REQUIRE_THROWS_WITH(decode_image_bytes("hello", "text.jpg"), Contains("of another kind"));
}

TEST_CASE("folders are listed once, whatever leads back to them", "[datasets]") {
  const test::TempDir root;
  std::filesystem::create_directories(root / "a/b");
  write_file_atomic(root / "a/b/p.jpg", "p");
  write_file_atomic(root / "a/text.txt", "t");
  std::filesystem::create_directory_symlink(".", root / "self");
  std::filesystem::create_directory_symlink("../..", root / "a/b/up");
  std::filesystem::create_directory_symlink("b", root / "a/other");  // a second way to the same folder is one of its own
  const auto list = list_pictures(root.path(), true);
  REQUIRE(list.names == std::vector<std::string>{"a/b/p.jpg", "a/other/p.jpg"});
  REQUIRE(list.skipped == 4);  // the text and the links that lead back: self, up, and up by the second way
  // Where folders aren't gone into, one that is named like a picture is a picture that can't be read.
  std::filesystem::create_directory(root / "a/folder.jpg");
  REQUIRE(list_pictures(root / "a", false).names == std::vector<std::string>{"folder.jpg"});
  REQUIRE_THROWS_AS(list_pictures(root / "none", true), DatasetError);
}

TEST_CASE("a size is checked before memory is asked for", "[datasets]") {
  REQUIRE_THROWS_WITH(decode_image_bytes(png_header(100000, 100000), "bomb.png"),
                      Contains("bomb.png") && Contains("at most 178956970 pixels") && Contains("100000 x 100000"));
  REQUIRE_THROWS_WITH(decode_image_bytes(png_header(0, 5), "flat.png"), Contains("0 x 5"));
  auto jpeg = read_file(fixture("rgb.jpg"));
  const auto frame = jpeg.find("\xff\xc0");
  REQUIRE(frame != std::string::npos);
  jpeg.replace(frame + 5, 4, "\xff\xdc\xff\xdc");
  REQUIRE_THROWS_WITH(decode_image_bytes(jpeg, "bomb.jpg"), Contains("65500 x 65500"));
  auto bmp = read_file(fixture("rgb.bmp"));
  bmp.replace(18, 8, std::string("\xa0\x86\x01\0\xa0\x86\x01\0", 8));
  REQUIRE_THROWS_WITH(decode_image_bytes(bmp, "bomb.bmp"), Contains("100000 x 100000"));
}

TEST_CASE("the header is read without decoding", "[datasets]") {
  const auto header = read_picture_header(read_file(fixture("orientation6.jpg")), "orientation6.jpg");
  REQUIRE(header.format == PictureFormat::jpeg);
  REQUIRE(header.width == 11);
  REQUIRE(header.height == 18);
  REQUIRE(header.orientation == 6);
  REQUIRE(decode_image(fixture("orientation6.jpg")).size(0) == 11);  // upright
}
