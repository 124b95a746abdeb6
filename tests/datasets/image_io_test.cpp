// SPDX-License-Identifier: Apache-2.0
#include "reid/datasets/image_io.hpp"

#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <string>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
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
  REQUIRE(names.size() == 43);
}

TEST_CASE("a picture that is cut off anywhere is an error that names it", "[datasets]") {
  std::ostringstream printed;
  auto* const cerr = std::cerr.rdbuf(printed.rdbuf());
  for (const std::string name : {"rgb.jpg", "progressive.jpg", "cmyk.jpg", "rgb.png", "palette.png", "rgb.bmp", "rgb.tif", "rgb.webp"}) {
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
  REQUIRE_THROWS_WITH(decode_image_bytes("", "zero.jpg"), Contains("zero.jpg") && Contains("an empty file"));
  REQUIRE_THROWS_WITH(decode_image_bytes("hello", "text.jpg"), Contains("of another kind"));
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
