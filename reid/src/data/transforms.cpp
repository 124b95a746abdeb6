// SPDX-License-Identifier: Apache-2.0
#include "reid/data/transforms.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "reid/core/error.hpp"
#include "reid/data/resize.hpp"

namespace reid::data {
namespace {

/// Memory that a thread keeps from picture to picture.
struct Scratch {
  std::vector<uint8_t> canvas;
  std::vector<uint8_t> copy;
};

Scratch& scratch() {
  static thread_local Scratch instance;
  return instance;
}

using Table = std::array<float, 3 * 256>;

/// (x / 255 - mean) / std of every byte, in float32 and in torchvision's order: ToTensor's div(255), then
/// Normalize's sub and div by the float32 values of mean and std.
Table normalisation_table(const PreprocessOptions& options) {
  Table table{};
  for (std::size_t c = 0; c < 3; ++c) {
    const auto mean = static_cast<float>(options.mean[c]);
    const auto std = static_cast<float>(options.std[c]);
    for (std::size_t value = 0; value < 256; ++value) {
      const float scaled = static_cast<float>(value) / 255.0F;
      const float centred = scaled - mean;
      table[c * 256 + value] = centred / std;
    }
  }
  return table;
}

const char* stage_name(Stage stage) {
  switch (stage) {
    case Stage::resize:
      return "resize";
    case Stage::pixels:
      return "pixels";
    case Stage::tensor:
      return "tensor";
  }
  return "";
}

struct Chain {
  PreprocessOptions preprocess;
  Table table{};
  std::vector<std::shared_ptr<Augmentation>> steps;

  void operator()(const torch::Tensor& pixels, Random& random, float* out) const {
    if (!pixels.defined() || pixels.dim() != 3 || pixels.size(2) != 3 || pixels.size(0) < 1 || pixels.size(1) < 1 ||
        pixels.scalar_type() != torch::kUInt8 || !pixels.device().is_cpu()) {
      throw ShapeError(fmt::format("transform: pixels must be [H, W, 3] uint8 on the CPU, got {}",
                                   pixels.defined() ? pixels.toString() : "an undefined tensor"));
    }
    const torch::Tensor source = pixels.contiguous();
    Picture picture(source.data_ptr<uint8_t>(), source.size(0), source.size(1), preprocess, table.data(), out);
    for (const auto& step : steps) step->apply(picture, random);
    picture.tensor();
  }
};

void check_preprocess(const PreprocessOptions& options) {
  read_options<PreprocessOptions>(write_options(options), "/preprocess");
}

}  // namespace

Picture::Picture(const uint8_t* source, int64_t source_height, int64_t source_width, const PreprocessOptions& target,
                 const float* table, float* out)
    : source_(source),
      source_height_(source_height),
      source_width_(source_width),
      height_(target.height),
      width_(target.width),
      filter_(target.filter),
      passes_(target.passes),
      table_(table),
      out_(out),
      bottom_(target.height),
      end_(target.width) {}

void Picture::resize_and_crop(int64_t full_height, int64_t full_width, int64_t top, int64_t left,
                              ResizeFilter filter) {
  REID_ASSERT(!resized_);
  auto& canvas = scratch().canvas;
  canvas.resize(static_cast<std::size_t>(height_ * width_ * 3));
  resize_window(source_, source_height_, source_width_, canvas.data(),
                {full_height, full_width, top, left, height_, width_}, filter, passes_);
  canvas_ = canvas.data();
  resized_ = true;
}

void Picture::ensure_resized() {
  if (!resized_) resize_and_crop(height_, width_, 0, 0, filter_);
}

void Picture::flip() {
  ensure_resized();
  // new[x] = old[W - 1 - x], old[x] = canvas[step x + right]
  right_ += step_ * (width_ - 1);
  step_ = -step_;
  const int64_t left = width_ - end_;
  end_ = width_ - left_;
  left_ = left;
}

void Picture::shift(int64_t down, int64_t right) {
  ensure_resized();
  right_ += step_ * right;
  down_ += down;
  // What lies inside after this step has to lie inside the picture before it, and to have been inside there.
  top_ = std::clamp<int64_t>(top_ - down, 0, height_);
  bottom_ = std::clamp<int64_t>(bottom_ - down, top_, height_);
  left_ = std::clamp<int64_t>(left_ - right, 0, width_);
  end_ = std::clamp<int64_t>(end_ - right, left_, width_);
}

uint8_t* Picture::pixels() {
  ensure_resized();
  REID_ASSERT(!normalised_);
  const bool plain = step_ == 1 && down_ == 0 && right_ == 0 && top_ == 0 && bottom_ == height_ && left_ == 0 &&
                     end_ == width_;
  if (plain) return canvas_;
  auto& copy = scratch().copy;
  copy.assign(static_cast<std::size_t>(height_ * width_ * 3), 0);
  for (int64_t y = top_; y < bottom_; ++y) {
    uint8_t* to = copy.data() + (y * width_ + left_) * 3;
    const uint8_t* from = canvas_ + ((y + down_) * width_ + step_ * left_ + right_) * 3;
    for (int64_t x = left_; x < end_; ++x, to += 3, from += 3 * step_) std::memcpy(to, from, 3);
  }
  std::swap(scratch().canvas, copy);
  canvas_ = scratch().canvas.data();
  step_ = 1;
  down_ = right_ = top_ = left_ = 0;
  bottom_ = height_;
  end_ = width_;
  return canvas_;
}

float* Picture::tensor() {
  if (normalised_) return out_;
  ensure_resized();
  normalised_ = true;
  const int64_t plane = height_ * width_;
  const float* red = table_;
  const float* green = table_ + 256;
  const float* blue = table_ + 512;
  const auto black = [&](int64_t begin, int64_t end) {
    std::fill(out_ + begin, out_ + end, red[0]);
    std::fill(out_ + plane + begin, out_ + plane + end, green[0]);
    std::fill(out_ + 2 * plane + begin, out_ + 2 * plane + end, blue[0]);
  };
  black(0, top_ * width_);
  for (int64_t y = top_; y < bottom_; ++y) {
    const int64_t row = y * width_;
    black(row, row + left_);
    const uint8_t* pixel = canvas_ + ((y + down_) * width_ + step_ * left_ + right_) * 3;
    float* out = out_ + row;
    for (int64_t x = left_; x < end_; ++x, pixel += 3 * step_) {
      out[x] = red[pixel[0]];
      out[x + plane] = green[pixel[1]];
      out[x + 2 * plane] = blue[pixel[2]];
    }
    black(row + end_, row + width_);
  }
  black(bottom_ * width_, plane);
  return out_;
}

Transform evaluation_transform(const PreprocessOptions& options) {
  check_preprocess(options);
  return Chain{options, normalisation_table(options), {}};
}

Transform training_transform(const PreprocessOptions& preprocess, const Json& augment, const std::string& pointer) {
  check_preprocess(preprocess);
  if (!augment.is_array()) {
    throw ConfigError(fmt::format("{}: augment must be a list, got {}", pointer, json_type_name(augment)));
  }
  Chain chain{preprocess, normalisation_table(preprocess), {}};
  Stage reached = Stage::resize;
  for (std::size_t i = 0; i < augment.size(); ++i) {
    const std::string here = pointer + "/" + std::to_string(i);
    auto step = augmentations().create(augment[i], here);
    const Stage stage = step->stage();
    if (stage < reached || (stage == Stage::resize && !chain.steps.empty())) {
      throw ConfigError(fmt::format(
          "{}: augmentations must stand in the order resize (at most one), pixels, tensor, got '{}' ({}) after '{}' ({})",
          here, detail::split_part(augment[i], here, "augmentation").first, stage_name(stage),
          detail::split_part(augment[i - 1], here, "augmentation").first, stage_name(reached)));
    }
    reached = stage;
    chain.steps.push_back(std::move(step));
  }
  return chain;
}

Json resolve_augment(const Json& augment, const std::string& pointer) {
  if (!augment.is_array()) {
    throw ConfigError(fmt::format("{}: augment must be a list, got {}", pointer, json_type_name(augment)));
  }
  Json resolved = Json::array();
  for (std::size_t i = 0; i < augment.size(); ++i) {
    const std::string here = pointer + "/" + std::to_string(i);
    augmentations().create(augment[i], here);  // throws for wrong options
    const auto [name, options] = detail::split_part(augment[i], here, "augmentation");
    Json part{{"name", name}};
    merge_json(part, augmentations().at(name).defaults);
    merge_json(part, options);
    resolved.push_back(std::move(part));
  }
  return resolved;
}

}  // namespace reid::data
