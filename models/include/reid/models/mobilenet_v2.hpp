// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "reid/models/conv_model.hpp"

namespace reid::models {

/// Options of a MobileNetV2 body.
struct MobileNetV2BodyOptions {
  int64_t last_stride = 1;
  template <class V>
  void fields(V&& v) {
    v("last_stride", last_stride, "stride of features.14: 1 keeps its map as large as the one before, 2 is ImageNet's",
      Range{1, 2});
  }
};

/// MobileNetV2, width 1.0, without pooling and classifier. Parameter names are torchvision's.
/// Paper: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, Table 2.
/// Reference: pytorch/vision torchvision/models/mobilenetv2.py@0.26.
/// Differs from it: last stride 1 unless asked otherwise; no classifier.
/// Parity: tests/models/parity_test.cpp.
/// Stages: features 1-3 (24 channels), 4-6 (32), 7-13 (96), 14-18 (1280, with the last 1x1 convolution, so that
/// attention on stage 4 stands right before the pooling as it does in ResNets). Every stride 2 halves the map, rounding up.
class MobileNetV2Body : public ConvBody {
 public:
  explicit MobileNetV2Body(const MobileNetV2BodyOptions& options);
  ~MobileNetV2Body() override;
  torch::Tensor stem(const torch::Tensor& images) override;
  torch::Tensor stage(int64_t index, const torch::Tensor& x) override;
  std::array<int64_t, kStages> channels() const override { return {24, 32, 96, 1280}; }
  std::array<MapSize, kStages> sizes(int64_t height, int64_t width) const override;
  void fold_batch_norms() override;
  std::vector<nn::StateLayout> layouts() const override;

 private:
  struct Layers;
  std::unique_ptr<Layers> layers_;
  MobileNetV2BodyOptions options_;
};

/// Options of `mobilenet_v2`: body, head and preprocessing in one object.
struct MobileNetV2Options {
  MobileNetV2BodyOptions body;
  HeadOptions head;
  PreprocessOptions preprocess;
  template <class V>
  void fields(V&& v) {
    body.fields(v);
    head.fields(v);
    v("preprocess", preprocess, "test-time preprocessing");
  }
  void validate(const std::string& where) const { head.validate(where); }
};

}  // namespace reid::models
