// SPDX-License-Identifier: Apache-2.0
// The built-in augmentations of transforms.hpp.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "jitter.hpp"
#include "reid/core/error.hpp"
#include "reid/data/transforms.hpp"

namespace reid::data {
namespace {

/// Rounds half to even, as Python's round does.
int64_t round_even(double x) { return static_cast<int64_t>(std::nearbyint(x)); }

class Resize : public Augmentation {
 public:
  using Options = ResizeOptions;
  explicit Resize(Options options) : options_(options) {}
  Stage stage() const override { return Stage::resize; }
  void apply(Picture& picture, Random&) const override {
    picture.resize_and_crop(picture.height(), picture.width(), 0, 0,
                            options_.filter.value_or(picture.default_filter()));
  }

 private:
  Options options_;
};

class RgaCrop : public Augmentation {
 public:
  using Options = RgaCropOptions;
  explicit RgaCrop(Options options) : options_(options) {}
  Stage stage() const override { return Stage::resize; }
  void apply(Picture& picture, Random& random) const override {
    int64_t height = picture.height();
    int64_t width = picture.width();
    int64_t top = 0;
    int64_t left = 0;
    if (random.chance(options_.probability)) {
      height = round_even(static_cast<double>(height) * options_.scale);
      width = round_even(static_cast<double>(width) * options_.scale);
      left = round_even(random.uniform(0, static_cast<double>(width - picture.width())));
      top = round_even(random.uniform(0, static_cast<double>(height - picture.height())));
    }
    picture.resize_and_crop(height, width, top, left, options_.filter.value_or(picture.default_filter()));
  }

 private:
  Options options_;
};

class Flip : public Augmentation {
 public:
  using Options = FlipOptions;
  explicit Flip(Options options) : options_(options) {}
  Stage stage() const override { return Stage::pixels; }
  void apply(Picture& picture, Random& random) const override {
    if (random.chance(options_.probability)) picture.flip();
  }

 private:
  Options options_;
};

class PadCrop : public Augmentation {
 public:
  using Options = PadCropOptions;
  explicit PadCrop(Options options) : options_(options) {}
  Stage stage() const override { return Stage::pixels; }
  void apply(Picture& picture, Random& random) const override {
    if (!random.chance(options_.probability)) return;
    const int64_t down = random.below(2 * options_.padding + 1) - options_.padding;
    const int64_t right = random.below(2 * options_.padding + 1) - options_.padding;
    picture.shift(down, right);
  }

 private:
  Options options_;
};

class ColourJitter : public Augmentation {
 public:
  using Options = ColourJitterOptions;
  explicit ColourJitter(Options options) : options_(options) {}
  Stage stage() const override { return Stage::pixels; }
  void apply(Picture& picture, Random& random) const override {
    if (!random.chance(options_.probability)) return;
    std::vector<int> order{0, 1, 2, 3};
    random.shuffle(order);
    const auto factor = [&](double v) { return random.uniform(std::max(0.0, 1.0 - v), 1.0 + v); };
    const double brightness = factor(options_.brightness);
    const double contrast = factor(options_.contrast);
    const double saturation = factor(options_.saturation);
    const double hue = random.uniform(-options_.hue, options_.hue);
    uint8_t* pixels = picture.pixels();
    const int64_t count = picture.height() * picture.width();
    for (const int change : order) {
      if (change == 0 && options_.brightness > 0) jitter::brightness(pixels, count, brightness);
      if (change == 1 && options_.contrast > 0) jitter::contrast(pixels, count, contrast);
      if (change == 2 && options_.saturation > 0) jitter::saturation(pixels, count, saturation);
      if (change == 3 && options_.hue > 0) jitter::hue(pixels, count, hue);
    }
  }

 private:
  Options options_;
};

class RandomErasing : public Augmentation {
 public:
  using Options = RandomErasingOptions;
  explicit RandomErasing(Options options) : options_(options) {}
  Stage stage() const override { return Stage::tensor; }
  void apply(Picture& picture, Random& random) const override {
    if (!random.chance(options_.probability)) return;
    const int64_t height = picture.height();
    const int64_t width = picture.width();
    const auto area = static_cast<double>(height * width);
    for (int64_t i = 0; i < options_.tries; ++i) {
      const double share = random.uniform(options_.area_min, options_.area_max);
      const double aspect = draw_aspect(random);
      const int64_t h = round_even(std::sqrt(share * area * aspect));
      const int64_t w = round_even(std::sqrt(share * area / aspect));
      if (h >= height || w >= width) continue;
      const int64_t top = random.below(height - h + 1);
      const int64_t left = random.below(width - w + 1);
      fill(picture, random, top, left, h, w);
      return;
    }
  }

 private:
  double draw_aspect(Random& random) const {
    const double low = options_.aspect_min;
    if (options_.aspect == AspectDraw::uniform) return random.uniform(low, 1 / low);
    return std::exp(random.uniform(std::log(low), -std::log(low)));
  }

  void fill(Picture& picture, Random& random, int64_t top, int64_t left, int64_t h, int64_t w) const {
    float* out = picture.tensor();
    for (int64_t c = 0; c < 3; ++c) {
      const auto value = static_cast<float>(options_.value[static_cast<std::size_t>(c)]);
      for (int64_t y = top; y < top + h; ++y) {
        float* row = out + (c * picture.height() + y) * picture.width() + left;
        if (options_.fill == EraseFill::constant) {
          std::fill(row, row + w, value);
        } else {
          std::generate(row, row + w, [&] { return static_cast<float>(random.normal()); });
        }
      }
    }
  }

  Options options_;
};

}  // namespace

void RandomErasingOptions::validate(const std::string& where) const {
  if (area_min > area_max) {
    throw ConfigError(fmt::format("{}: area_min must be at most area_max ({}), got {}", where, area_max, area_min));
  }
}

AugmentationRegistry& augmentations() {
  static AugmentationRegistry instance = [] {
    const std::string same = "the reference code's rule; other random numbers";
    const std::string rga =
        "Zhang et al., Relation-Aware Global Attention for Person Re-Identification, CVPR 2020, arXiv 1904.02998";
    const std::string rga_code = "microsoft/Relation-Aware-Global-Attention-Networks@cdc9965";
    AugmentationRegistry made("augmentation");
    made.add<Resize>("resize", {"plain resize, with a filter of its own for training", "", "", ""});
    made.add<RgaCrop>("rga_crop", {"enlarges by 1.125 and cuts at random, or resizes plainly", rga, rga_code, same});
    made.add<Flip>("flip", {"mirrors left and right", "", "", ""});
    made.add<PadCrop>("pad_crop", {"pads with black and cuts at random",
                                   "Luo et al., Bag of Tricks and a Strong Baseline for Deep Person "
                                   "Re-Identification, CVPRW 2019, arXiv 1903.07071",
                                   "damo-cv/TransReID datasets/make_dataloader.py", same});
    made.add<ColourJitter>("colour_jitter", {"changes brightness, contrast, saturation and hue", "",
                                             "pytorch/vision torchvision/transforms/transforms.py", same});
    made.add<RandomErasing>("random_erasing", {"fills one rectangle with a constant or with noise",
                                               "Zhong et al., Random Erasing Data Augmentation, arXiv 1708.04896",
                                               rga_code, same});
    return made;
  }();
  return instance;
}

}  // namespace reid::data
