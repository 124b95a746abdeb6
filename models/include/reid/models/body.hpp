// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "reid/core/registry.hpp"
#include "reid/nn/state_dict.hpp"

namespace reid::models {

/// Height and width of a feature map.
struct MapSize {
  int64_t height = 0;
  int64_t width = 0;
  int64_t positions() const { return height * width; }
};

/// The convolutional part of a network, cut into a stem and four stages, so that attention may stand between them.
/// Its children are named as in the published weights; a model that uses a body takes them over as its own
/// (`conv1`, `layer1`, ... without a prefix).
class ConvBody : public torch::nn::Module {
 public:
  static constexpr int64_t kStages = 4;

  /// Pictures [N, 3, H, W] to the map that stage 0 takes.
  virtual torch::Tensor stem(const torch::Tensor& images) = 0;
  /// Stage `index` (0..3) on the map of the one before.
  virtual torch::Tensor stage(int64_t index, const torch::Tensor& x) = 0;

  /// Channels behind each stage.
  virtual std::array<int64_t, kStages> channels() const = 0;
  /// Size of the map behind each stage for pictures of height x width.
  virtual std::array<MapSize, kStages> sizes(int64_t height, int64_t width) const = 0;

  /// Folds every batch norm that follows a convolution into it; afterwards the body can't be trained.
  virtual void fold_batch_norms() = 0;

  /// Published namings of its weights; `rename` gives the body's own names.
  virtual std::vector<nn::StateLayout> layouts() const = 0;

  /// The type of the parameters, which pictures are converted to.
  torch::ScalarType dtype() const { return parameters().front().scalar_type(); }

  /// Options, every one written out, with the registry name.
  const Json& spec() const { return spec_; }
  void set_spec(Json spec) { spec_ = std::move(spec); }

 private:
  Json spec_;
};

using BodyRegistry = Registry<ConvBody>;

/// The bodies that take attention modules: resnet18, resnet34, resnet50, resnet101, mobilenet_v2.
BodyRegistry& bodies();

}  // namespace reid::models
