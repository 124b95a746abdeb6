// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "reid/core/preprocess.hpp"
#include "reid/core/random.hpp"
#include "reid/core/registry.hpp"
#include "reid/data/loader.hpp"

/// Augmentation: what is done to a training picture between decoder and network.
///
/// A chain is a JSON list, `"augment": ["rga_crop", "flip", {"name": "random_erasing", "probability": 0.5}]`. It works
/// in three stages, and the list must keep their order:
///   resize   to the model's height x width, 8-bit RGB    `resize`, `rga_crop` (at most one; none: a plain resize)
///   pixels   8-bit RGB of that size                      `flip`, `pad_crop`, `colour_jitter`
///   tensor   float32, after (x / 255 - mean) / std       `random_erasing`
/// An empty list gives the test-time transform.
namespace reid::data {

enum class Stage { resize, pixels, tensor };

/// A picture on its way through a chain. Geometric steps are only noted down and done together with the
/// normalisation, in one pass over the pixels.
class Picture {
 public:
  Picture(const uint8_t* source, int64_t source_height, int64_t source_width, const PreprocessOptions& target,
          const float* table, float* out);

  /// The size that the network wants, and that the picture has from the pixel stage on.
  int64_t height() const { return height_; }
  int64_t width() const { return width_; }

  /// Stage resize. The picture is resized to full_height x full_width, then cut at (top, left).
  void resize_and_crop(int64_t full_height, int64_t full_width, int64_t top, int64_t left, ResizeFilter filter);
  /// The model's test-time filter.
  ResizeFilter default_filter() const { return filter_; }

  /// Stage pixels. Mirrors left and right.
  void flip();
  /// Stage pixels. new[y, x] = old[y + down, x + right]; what was outside is black.
  void shift(int64_t down, int64_t right);
  /// Stage pixels. [height, width, 3] bytes to be changed in place.
  uint8_t* pixels();

  /// Stage tensor. [3, height, width] floats to be changed in place.
  float* tensor();

 private:
  void ensure_resized();

  const uint8_t* source_;
  int64_t source_height_;
  int64_t source_width_;
  int64_t height_;
  int64_t width_;
  ResizeFilter filter_;
  PassOrder passes_;
  const float* table_;  // [3][256]: the normalised value of each byte
  float* out_;
  bool resized_ = false;
  bool normalised_ = false;
  // new[y, x] = canvas[y + down_, step_ * x + right_] inside the rectangle, black outside.
  int64_t step_ = 1;
  int64_t down_ = 0;
  int64_t right_ = 0;
  int64_t top_ = 0, bottom_ = 0, left_ = 0, end_ = 0;
  uint8_t* canvas_ = nullptr;
};

/// One step of a chain. Must be safe to call from many threads; draws from `random` alone.
class Augmentation {
 public:
  virtual ~Augmentation() = default;
  virtual Stage stage() const = 0;
  virtual void apply(Picture& picture, Random& random) const = 0;
};

using AugmentationRegistry = Registry<Augmentation>;

/// `resize`: the filter of training where it isn't the one of testing (TransReID trains with bicubic, tests with
/// bilinear).
struct ResizeOptions {
  std::optional<ResizeFilter> filter;
  template <class V>
  void fields(V&& v) {
    v("filter", filter, "resampling filter in training; null: the model's test-time filter");
  }
};

/// `rga_crop`: with `probability` the picture is resized to round(scale * height) x round(scale * width) and a window
/// of height x width is cut at the offsets round(U(0, max)), so the two end offsets are half as likely as the others;
/// else it is resized plainly. Known elsewhere as Random2DTranslation.
/// Paper: Zhang et al., CVPR 2020, arXiv 1904.02998.
/// Reference: microsoft/Relation-Aware-Global-Attention-Networks@cdc9965 reid/utils/data/transforms.py.
/// Differs from it: nothing known, besides the stream of random numbers.
struct RgaCropOptions {
  double probability = 0.5;
  double scale = 1.125;
  std::optional<ResizeFilter> filter;
  template <class V>
  void fields(V&& v) {
    v("probability", probability, "share of pictures that are enlarged and cut", Range{0, 1});
    v("scale", scale, "enlargement before the cut", Range{1, 4});
    v("filter", filter, "resampling filter in training; null: the model's test-time filter");
  }
};

/// `flip`: mirrors left and right.
struct FlipOptions {
  double probability = 0.5;
  template <class V>
  void fields(V&& v) {
    v("probability", probability, "share of pictures that are mirrored", Range{0, 1});
  }
};

/// `pad_crop`: pads all four sides with black and cuts a window of the original size at offsets uniform in
/// 0 .. 2 padding (BoT, TransReID: torchvision's Pad(10) and RandomCrop).
struct PadCropOptions {
  int64_t padding = 10;
  double probability = 1.0;
  template <class V>
  void fields(V&& v) {
    v("padding", padding, "black pixels added on each side", Range{0, 4096});
    v("probability", probability, "share of pictures that are moved", Range{0, 1});
  }
};

/// `colour_jitter`: torchvision's ColorJitter on 8-bit pictures, equal to it byte for byte for equal factors: four
/// changes in random order, each by a factor U(max(0, 1 - v), 1 + v) (hue: a shift U(-v, v) of the circle); one whose v is 0 is left out.
/// Reference: pytorch/vision torchvision/transforms/transforms.py and Pillow's ImageEnhance.
/// Differs from it: the stream of random numbers; `probability`.
struct ColourJitterOptions {
  double brightness = 0.2;
  double contrast = 0.15;
  double saturation = 0.0;
  double hue = 0.0;
  double probability = 1.0;
  template <class V>
  void fields(V&& v) {
    v("brightness", brightness, "largest change of the brightness factor", Range{0, 16});
    v("contrast", contrast, "largest change of the contrast factor", Range{0, 16});
    v("saturation", saturation, "largest change of the saturation factor", Range{0, 16});
    v("hue", hue, "largest turn of the hue, as a share of the circle", Range{0, 0.5});
    v("probability", probability, "share of pictures that are changed", Range{0, 1});
  }
};

/// What an erased rectangle holds afterwards.
enum class EraseFill { constant, pixel };
/// How the aspect ratio is drawn.
enum class AspectDraw { uniform, log_uniform };

/// `random_erasing`: with `probability`, up to `tries` draws of an area share A in U(area_min, area_max) and an
/// aspect a in U(aspect_min, 1 / aspect_min), h = round(sqrt(A H W a)), w = round(sqrt(A H W / a)); the first with
/// h < H and w < W is filled, at a place uniform over those where it fits, after normalisation.
/// Paper: Zhong et al., arXiv 1708.04896.
/// Reference: the RGA code reid/utils/data/transforms.py (the defaults here, value 0 as its recipe has it); TransReID's
/// recipe is timm's: fill `pixel`, aspect `log_uniform`, area_max 1/3, tries 10; BoT's fills with the data's mean.
/// Differs from them: the stream of random numbers.
struct RandomErasingOptions {
  double probability = 0.5;
  double area_min = 0.02;
  double area_max = 0.4;
  double aspect_min = 0.3;
  AspectDraw aspect = AspectDraw::uniform;
  int64_t tries = 100;
  EraseFill fill = EraseFill::constant;
  std::array<double, 3> value{0, 0, 0};
  template <class V>
  void fields(V&& v) {
    v("probability", probability, "share of pictures that are erased in part", Range{0, 1});
    v("area_min", area_min, "smallest share of the picture's area", Range{0, 1});
    v("area_max", area_max, "largest share of the picture's area", Range{0, 1});
    v("aspect_min", aspect_min, "smallest height / width; the largest is its inverse", Range{1e-3, 1});
    v("aspect", aspect, "how the aspect is drawn between the two");
    v("tries", tries, "draws before the picture is left as it is", Range{1, 10000});
    v("fill", fill, "one value a channel, or a standard normal number a pixel and channel");
    v("value", value, "of R, G, B for the constant fill, after normalisation");
  }
  void validate(const std::string& where) const;
};

/// The built-in augmentations; users add their own before reading a configuration.
AugmentationRegistry& augmentations();

/// The transform of training: a chain of augmentations around the model's preprocessing.
/// @param augment  JSON list of names or objects with "name" and options.
/// @param pointer  where `augment` stands in its file, for messages.
/// @throws ConfigError for wrong options or a list out of order, RegistryError for an unknown name.
Transform training_transform(const PreprocessOptions& preprocess, const Json& augment,
                             const std::string& pointer = "/augment");

/// The same list with every option written out, for the resolved configuration.
Json resolve_augment(const Json& augment, const std::string& pointer = "/augment");

}  // namespace reid::data

namespace reid {
template <>
struct EnumNames<data::EraseFill> {
  static constexpr std::array<std::pair<data::EraseFill, const char*>, 2> values{
      {{data::EraseFill::constant, "constant"}, {data::EraseFill::pixel, "pixel"}}};
};
template <>
struct EnumNames<data::AspectDraw> {
  static constexpr std::array<std::pair<data::AspectDraw, const char*>, 2> values{
      {{data::AspectDraw::uniform, "uniform"}, {data::AspectDraw::log_uniform, "log_uniform"}}};
};
}  // namespace reid
