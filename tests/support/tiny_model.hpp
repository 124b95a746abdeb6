// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "reid/nn/model.hpp"

namespace reid::test {

/// The smallest network that has everything a trainer meets: convolution, batch norms, dropout, a neck.
class TinyModel : public nn::Model {
 public:
  struct Options {
    int64_t width = 8;
    int64_t embedding = 6;
    int64_t height = 16;
    int64_t input_width = 8;
    double dropout = 0.1;
    bool neck = true;
    template <class V>
    void fields(V&& v) {
      v("width", width, "channels", Range{1, 64});
      v("embedding", embedding, "size of the feature", Range{1, 64});
      v("height", height, "input height", Range{8, 64});
      v("input_width", input_width, "input width", Range{8, 64});
      v("dropout", dropout, "share of channels that is dropped in training", Range{0, 0.9});
      v("neck", neck, "batch norm after the feature");
    }
  };

  explicit TinyModel(const Options& options) : options_(options) {
    preprocess_.height = options.height;
    preprocess_.width = options.input_width;
    conv_ = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, options.width, 3).padding(1)));
    norm_ = register_module("norm", torch::nn::BatchNorm2d(options.width));
    linear_ = register_module("linear", torch::nn::Linear(options.width * 8, options.embedding));
    if (options.neck) neck_ = register_module("bottleneck", torch::nn::BatchNorm1d(options.embedding));
  }

  nn::ModelOutput encode_image(const torch::Tensor& images, uint32_t want) override {
    auto x = torch::relu(norm_(conv_(images)));
    x = torch::adaptive_avg_pool2d(x, {4, 2}).flatten(1);
    x = torch::dropout(x, options_.dropout, is_training());
    nn::ModelOutput output;
    output.embedding = linear_(x);
    if ((want & nn::want_neck) != 0 && neck_) output.neck = neck_(output.embedding);
    return output;
  }
  const PreprocessOptions& preprocess() const override { return preprocess_; }
  int64_t embedding_size() const override { return options_.embedding; }
  nn::Feature feature() const override {
    return options_.neck ? nn::Feature::after_neck : nn::Feature::before_neck;
  }
  std::vector<nn::StateLayout> layouts() const override { return {}; }

 private:
  Options options_;
  PreprocessOptions preprocess_;
  torch::nn::Conv2d conv_{nullptr};
  torch::nn::BatchNorm2d norm_{nullptr};
  torch::nn::Linear linear_{nullptr};
  torch::nn::BatchNorm1d neck_{nullptr};
};

}  // namespace reid::test
