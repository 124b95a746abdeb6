// SPDX-License-Identifier: Apache-2.0
#include "reid/datasets/sheet.hpp"

#include <torch/torch.h>

#include "reid/core/error.hpp"
#include "reid/datasets/image_io.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using torch::Tensor;

namespace {

Tensor filled(int64_t height, int64_t width, std::array<int, 3> colour) {
  return torch::tensor({colour[0], colour[1], colour[2]}).to(torch::kUInt8).expand({height, width, 3}).contiguous();
}

Tensor pixel(const Tensor& sheet, int64_t row, int64_t column) { return sheet[row][column].to(torch::kInt64); }

}  // namespace

TEST_CASE("a sheet shows the query, then its matches in order, each in the middle of its cell", "[datasets][sheet]") {
  const test::TempDir folder;
  const auto red = (folder / "red.png").string(), green = (folder / "green.png").string(), blue = (folder / "blue.bmp").string();
  datasets::write_picture(red, filled(64, 32, {250, 0, 0}));    // of the cell's ratio
  datasets::write_picture(green, filled(20, 200, {0, 250, 0}));  // flat: as wide as the cell
  datasets::write_picture(blue, filled(8, 4, {0, 0, 250}));
  const auto sheet = datasets::draw_sheet({{"a man with a red bag", "", {{red, "1  0.9"}, {green, "2  0.8"}, {blue, "3  0.7"}}},
                                           {"", blue, {{red, "1  1.0"}}}});
  // Two lines of 192 + 16 + 4 and a query of 160, three cells of 96, each with 4 between.
  REQUIRE(sheet.sizes() == torch::IntArrayRef({4 + 2 * 212, 4 + 160 + 4 + 3 * 100, 3}));
  CHECK(pixel(sheet, 100, 168 + 48).equal(torch::tensor({250, 0, 0})));
  CHECK(pixel(sheet, 5, 168 + 2).equal(torch::tensor({250, 0, 0})));  // fills its cell
  CHECK(pixel(sheet, 100, 268 + 48).equal(torch::tensor({0, 250, 0})));
  CHECK(pixel(sheet, 20, 268 + 48).equal(torch::tensor({230, 230, 230})));
  CHECK(pixel(sheet, 100, 368 + 48).equal(torch::tensor({0, 0, 250})));
  CHECK(pixel(sheet, 212 + 100, 4 + 80).equal(torch::tensor({0, 0, 250})));  // the second query is a picture
  CHECK(pixel(sheet, 212 + 100, 168 + 48).equal(torch::tensor({250, 0, 0})));
  CHECK(pixel(sheet, 212 + 100, 268 + 48).equal(torch::tensor({255, 255, 255})));  // no second match
  // Something is written in the first cell and below the first match.
  CHECK(sheet.slice(0, 8, 60).slice(1, 8, 150).min().item<int>() < 100);
  CHECK(sheet.slice(0, 197, 211).slice(1, 168, 264).min().item<int>() < 100);
  // Another sentence is another drawing; one that differs in its letters beyond ASCII isn't.
  const auto drawn = [](const std::string& text) { return datasets::draw_sheet({{text, "", {}}}); };
  CHECK_FALSE(drawn("a man").equal(drawn("a woman")));
  CHECK(drawn("gr\xc3\xbcn").equal(drawn("gr\xc3\xb6n")));
  CHECK(drawn("gr\xc3\xbcn").equal(drawn("gr?n")));
  CHECK(drawn(std::string(5000, 'w')).sizes() == drawn("w").sizes());
}

TEST_CASE("many matches go on in further lines", "[datasets][sheet]") {
  const test::TempDir folder;
  const auto red = (folder / "red.png").string();
  datasets::write_picture(red, filled(4, 2, {250, 0, 0}));
  datasets::SheetRow row{"all", "", {}};
  for (int i = 0; i < 11; ++i) row.matches.push_back({red, std::to_string(i + 1)});
  const auto sheet = datasets::draw_sheet({row});
  REQUIRE(sheet.sizes() == torch::IntArrayRef({4 + 2 * 212, 168 + 10 * 100, 3}));
  CHECK(pixel(sheet, 212 + 100, 168 + 48).equal(torch::tensor({250, 0, 0})));
  CHECK(pixel(sheet, 212 + 100, 268 + 48).equal(torch::tensor({255, 255, 255})));
}

TEST_CASE("pictures are written by the extension and read back", "[datasets][sheet]") {
  const test::TempDir folder;
  const auto picture = torch::randint(0, 256, {9, 7, 3}, torch::kInt64).to(torch::kUInt8);
  for (const auto* name : {"a.png", "a.bmp", "A.PNG"}) {
    datasets::write_picture((folder / name).string(), picture);
    CHECK(datasets::decode_image((folder / name).string()).equal(picture));
  }
  const auto smooth = filled(16, 16, {200, 100, 50});
  datasets::write_picture((folder / "a.jpg").string(), smooth);
  const auto back = datasets::decode_image((folder / "a.jpg").string());
  CHECK((back.to(torch::kInt64) - smooth.to(torch::kInt64)).abs().max().item<int64_t>() < 4);
  CHECK_THROWS_WITH(datasets::write_picture((folder / "a.gif").string(), picture), Contains("must end with .jpg, .png or .bmp, got '.gif'"));
  CHECK_THROWS_AS(datasets::write_picture((folder / "b.png").string(), picture.to(torch::kFloat32)), ShapeError);
  CHECK_FALSE(std::filesystem::exists(folder / "b.png"));
}

TEST_CASE("sheets that can't be drawn", "[datasets][sheet]") {
  CHECK_THROWS_AS(datasets::draw_sheet({}), InputError);
  CHECK_THROWS_AS(datasets::draw_sheet({{"a", "", {{"nothing.jpg", "1"}}}}), DatasetError);
  CHECK_NOTHROW(datasets::check_sheet("a.jpg", 300, 10));
  CHECK_THROWS_WITH(datasets::check_sheet("a.jpg", 307, 10), Contains("at most 65000 pixels high, got 65088"));
  CHECK_THROWS_AS(datasets::check_sheet("a.jpg", 160, 11), InputError);
  CHECK_THROWS_AS(datasets::check_sheet("a.txt", 1, 1), InputError);
}
