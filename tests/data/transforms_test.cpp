// SPDX-License-Identifier: Apache-2.0
#include "reid/data/transforms.hpp"

#include <fstream>
#include <map>
#include <string>

#include "../../reid/src/data/jitter.hpp"
#include "data/support.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/data/resize.hpp"
#include "support/catch.hpp"

using namespace reid;
using namespace reid::data;
using Catch::Matchers::Contains;

namespace {

PreprocessOptions sized(int64_t height, int64_t width) {
  PreprocessOptions options;
  options.height = height;
  options.width = width;
  return options;
}

torch::Tensor apply(const Transform& transform, const PreprocessOptions& options, const torch::Tensor& pixels,
                    uint64_t seed = 0) {
  Random random({seed});
  torch::Tensor out = torch::full({3, options.height, options.width}, -99.0F);
  transform(pixels, random, out.data_ptr<float>());
  return out;
}

/// The oracle: plain tensor operations in torchvision's order.
torch::Tensor normalised(const torch::Tensor& pixels, const PreprocessOptions& options) {
  const auto row = [](const std::array<double, 3>& v) { return torch::tensor({v[0], v[1], v[2]}, torch::kFloat32).view({3, 1, 1}); };
  return pixels.permute({2, 0, 1}).to(torch::kFloat32).div(255).sub(row(options.mean)).div(row(options.std)).contiguous();
}

uint64_t hash(const torch::Tensor& tensor) {
  return fingerprint({static_cast<const char*>(tensor.data_ptr()), tensor.nbytes()});
}

Transform chain(const PreprocessOptions& options, const std::string& json) {
  return training_transform(options, Json::parse(json));
}

}  // namespace

TEST_CASE("the test-time transform equals Pillow and torchvision, bit for bit", "[data][parity]") {
  std::ifstream in(std::string(REID_FIXTURES) + "/data/normalise_v1.txt");
  REQUIRE(in.good());
  auto options = sized(40, 16);
  std::string expected;
  int cases = 0;
  while (in >> options.mean[0] >> options.mean[1] >> options.mean[2] >> options.std[0] >> options.std[1] >>
         options.std[2] >> expected) {
    const auto result = apply(evaluation_transform(options), options, test::picture(50, 30));
    REQUIRE(hash(result) == std::stoull(expected, nullptr, 16));
    REQUIRE(torch::equal(result, normalised(resize(test::picture(50, 30), 40, 16), options)));
    ++cases;
  }
  REQUIRE(cases == 2);
  REQUIRE(torch::equal(apply(chain(options, "[]"), options, test::picture(50, 30)),
                       apply(evaluation_transform(options), options, test::picture(50, 30))));
}

TEST_CASE("geometric steps in any order equal the same steps on tensors", "[data]") {
  const auto options = sized(30, 20);
  const auto source = test::picture(41, 17);
  const auto base = resize(source, 30, 20);
  const auto flipped = base.flip({1});
  REQUIRE(torch::equal(apply(chain(options, R"([{"name": "flip", "probability": 1}])"), options, source), normalised(flipped, options)));
  REQUIRE(torch::equal(apply(chain(options, R"([{"name": "flip", "probability": 1}, {"name": "flip", "probability": 1}])"), options, source), normalised(base, options)));
  // pad, crop, flip, pad, crop by the same random numbers.
  const auto shift = [](const torch::Tensor& pixels, int64_t padding, Random& random) {
    random.uniform();  // the draw for the probability
    const int64_t top = random.below(2 * padding + 1);
    const int64_t left = random.below(2 * padding + 1);
    const auto padded = torch::zeros({30 + 2 * padding, 20 + 2 * padding, 3}, torch::kUInt8);
    padded.slice(0, padding, padding + 30).slice(1, padding, padding + 20).copy_(pixels);
    return padded.slice(0, top, top + 30).slice(1, left, left + 20).contiguous();
  };
  const auto transform = chain(options, R"([{"name": "pad_crop", "padding": 9}, {"name": "flip", "probability": 1},
      {"name": "pad_crop", "padding": 14}, {"name": "flip", "probability": 1}, {"name": "pad_crop", "padding": 40}])");
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Random random({seed});
    auto expected = shift(base, 9, random);
    random.uniform();
    expected = shift(expected.flip({1}), 14, random);
    random.uniform();
    expected = shift(expected.flip({1}), 40, random);
    REQUIRE(torch::equal(apply(transform, options, source, seed), normalised(expected, options)));
  }
}

TEST_CASE("rga_crop cuts a window of the enlarged picture", "[data]") {
  const auto options = sized(64, 32);
  const auto source = test::picture(50, 30);
  const auto plain = normalised(resize(source, 64, 32), options);
  const auto large = resize(source, 72, 36);
  const auto transform = chain(options, R"(["rga_crop"])");
  std::map<std::pair<int64_t, int64_t>, int> seen;
  int unchanged = 0;
  constexpr int kRounds = 4000;
  for (uint64_t seed = 0; seed < kRounds; ++seed) {
    Random random({seed});
    const bool enlarged = random.chance(0.5);
    const auto result = apply(transform, options, source, seed);
    if (!enlarged) {
      ++unchanged;
      if (seed < 50) REQUIRE(torch::equal(result, plain));
      continue;
    }
    const auto left = static_cast<int64_t>(std::nearbyint(random.uniform(0, 4)));
    const auto top = static_cast<int64_t>(std::nearbyint(random.uniform(0, 8)));
    if (seed < 200) REQUIRE(torch::equal(result, normalised(large.slice(0, top, top + 64).slice(1, left, left + 32), options)));
    ++seen[{top, left}];
  }
  REQUIRE(std::abs(unchanged - kRounds / 2) < 160);  // 5 standard deviations of 32
  // Offsets 0..8 and 0..4; the end ones half as likely: 1/8 of the left offsets are 0, 1/4 are 1.
  int at_0 = 0, at_1 = 0;
  for (const auto& [place, count] : seen) {
    REQUIRE(place.first <= 8);
    REQUIRE(place.second <= 4);
    at_0 += place.second == 0 ? count : 0;
    at_1 += place.second == 1 ? count : 0;
  }
  const double n = kRounds - unchanged;
  REQUIRE(at_0 / n == Approx(0.125).margin(0.035));
  REQUIRE(at_1 / n == Approx(0.25).margin(0.045));
  REQUIRE(torch::equal(apply(chain(options, R"([{"name": "rga_crop", "probability": 0, "filter": "bicubic"}])"), options, source),
                       normalised(resize(source, 64, 32, ResizeFilter::bicubic), options)));
  REQUIRE(torch::equal(apply(chain(options, R"([{"name": "resize", "filter": "bicubic"}])"), options, source),
                       normalised(resize(source, 64, 32, ResizeFilter::bicubic), options)));
}

TEST_CASE("random erasing fills one rectangle of the right sizes", "[data]") {
  const auto options = sized(64, 32);
  const auto source = test::picture(64, 32);
  const auto base = normalised(source, options);
  const auto transform = chain(options, R"([{"name": "random_erasing", "value": [7, 8, 9]}])");
  const auto noise = chain(options, R"([{"name": "random_erasing", "fill": "pixel", "probability": 1, "aspect": "log_uniform"}])");
  int erased = 0;
  double sum = 0, squares = 0, count = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    const auto result = apply(transform, options, source, seed);
    const auto changed = result != base;
    if (changed.any().item<bool>()) {
      ++erased;
      const auto places = changed[0].nonzero();
      const auto low = std::get<0>(places.min(0)), high = std::get<0>(places.max(0));
      const int64_t h = (high[0] - low[0]).item<int64_t>() + 1, w = (high[1] - low[1]).item<int64_t>() + 1;
      REQUIRE(places.size(0) == h * w);  // a full rectangle
      const double share = static_cast<double>(h * w) / (64 * 32);
      REQUIRE(share > 0.012);
      REQUIRE(share < 0.45);
      for (int64_t c = 0; c < 3; ++c) REQUIRE(result[c].masked_select(changed[c]).eq(7.0F + static_cast<float>(c)).all().item<bool>());
    }
    if (seed < 100) {
      const auto noisy = apply(noise, options, source, seed);
      const auto values = noisy.masked_select(noisy != base);
      sum += values.sum().item<double>();
      squares += values.pow(2).sum().item<double>();
      count += static_cast<double>(values.numel());
    }
  }
  REQUIRE(std::abs(erased - 300) < 62);  // 5 standard deviations
  REQUIRE(sum / count == Approx(0).margin(0.03));
  REQUIRE(squares / count == Approx(1).margin(0.03));
}

TEST_CASE("colour changes equal torchvision's, byte for byte", "[data][parity]") {
  std::ifstream in(std::string(REID_FIXTURES) + "/data/jitter_v1.txt");
  REQUIRE(in.good());
  std::string name, expected;
  double factor = 0;
  int cases = 0;
  while (in >> name >> factor >> expected) {
    auto pixels = test::picture(64, 48);
    auto* data = pixels.data_ptr<uint8_t>();
    if (name == "brightness") jitter::brightness(data, 64 * 48, factor);
    if (name == "contrast") jitter::contrast(data, 64 * 48, factor);
    if (name == "saturation") jitter::saturation(data, 64 * 48, factor);
    if (name == "hue") jitter::hue(data, 64 * 48, factor);
    CAPTURE(name, factor);
    REQUIRE(hash(pixels) == std::stoull(expected, nullptr, 16));
    ++cases;
  }
  REQUIRE(cases == 17);
}

TEST_CASE("colour jitter works on the picture as it stands in the chain", "[data]") {
  const auto options = sized(20, 12);
  const auto source = test::picture(20, 12);
  // Contrast alone, after a flip: the oracle repeats its draws (probability, order, four factors).
  const auto transform = chain(options, R"([{"name": "flip", "probability": 1},
      {"name": "colour_jitter", "brightness": 0, "contrast": 0.9}, {"name": "flip", "probability": 1}])");
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Random random({seed});
    random.uniform();
    random.uniform();
    std::vector<int> order{0, 1, 2, 3};
    random.shuffle(order);
    random.uniform();
    auto expected = source.flip({1}).contiguous();
    jitter::contrast(expected.data_ptr<uint8_t>(), 240, random.uniform(0.1, 1.9));
    REQUIRE(torch::equal(apply(transform, options, source, seed), normalised(expected.flip({1}), options)));
  }
}

TEST_CASE("a chain is checked when it is read", "[data]") {
  const auto options = sized(64, 32);
  REQUIRE_THROWS_WITH(chain(options, R"(["flip", "rga_crop"])"), Contains("/augment/1") && Contains("order") && Contains("'rga_crop'"));
  REQUIRE_THROWS_WITH(chain(options, R"(["random_erasing", "flip"])"), Contains("/augment/1"));
  REQUIRE_THROWS_WITH(chain(options, R"(["resize", "rga_crop"])"), Contains("at most one"));
  REQUIRE_THROWS_WITH(chain(options, R"(["flp"])"), Contains("did you mean 'flip'"));
  REQUIRE_THROWS_WITH(chain(options, R"([{"name": "flip", "probability": 1.5}])"), Contains("/augment/0/probability"));
  REQUIRE_THROWS_WITH(chain(options, R"([{"name": "random_erasing", "area_min": 0.5}])"), Contains("area_min must be at most"));
  REQUIRE_THROWS_WITH(chain(options, R"({"name": "flip"})"), Contains("must be a list"));
  REQUIRE_THROWS_AS(apply(chain(options, "[]"), options, torch::zeros({4, 4, 3})), ShapeError);
  const auto resolved = resolve_augment(Json::parse(R"(["flip", {"name": "pad_crop", "padding": 4}])"));
  REQUIRE(resolved.dump() == R"([{"name":"flip","probability":0.5},{"name":"pad_crop","padding":4,"probability":1.0}])");
}
