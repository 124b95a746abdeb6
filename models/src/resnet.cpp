// SPDX-License-Identifier: Apache-2.0
// ResNet-18/34/50/101 and the strong baseline's network on them. Torchvision's names, one file.
#include "reid/models/resnet.hpp"

#include <torch/torch.h>

#include "entry.hpp"
#include "layouts.hpp"
#include "reid/core/error.hpp"
#include "reid/models/registry.hpp"

namespace reid::models {

namespace {

using nn::Activation;
using torch::nn::BatchNorm2d;
using torch::nn::Conv2d;

/// BasicBlock (two 3x3 convolutions) or Bottleneck (1x1, 3x3, 1x1; four times as wide at the end).
class Block : public torch::nn::Module {
 public:
  Block(bool bottleneck, int64_t in, int64_t width, int64_t stride, bool ibn) : bottleneck_(bottleneck) {
    const int64_t out = bottleneck ? 4 * width : width;
    conv1_ = register_module("conv1", Conv2d(bottleneck ? nn::conv_options(in, width, 1)
                                                        : nn::conv_options(in, width, 3, stride)));
    if (ibn) {
      ibn1_ = register_module("bn1", nn::IbnA(width));
    } else {
      bn1_ = register_module("bn1", BatchNorm2d(width));
    }
    conv2_ = register_module("conv2", Conv2d(nn::conv_options(width, width, 3, bottleneck ? stride : 1)));
    bn2_ = register_module("bn2", BatchNorm2d(width));
    if (bottleneck) {
      conv3_ = register_module("conv3", Conv2d(nn::conv_options(width, out, 1)));
      bn3_ = register_module("bn3", BatchNorm2d(out));
    }
    if (stride != 1 || in != out) {
      shortcut_conv_ = Conv2d(nn::conv_options(in, out, 1, stride));
      shortcut_bn_ = BatchNorm2d(out);
      downsample_ = register_module("downsample", torch::nn::ModuleList(shortcut_conv_, shortcut_bn_));
    }
  }

  torch::Tensor forward(const torch::Tensor& x) {
    // With IBN-a, bn1_ is empty.
    torch::Tensor y = nn::conv_bn_act(x, conv1_, bn1_, ibn1_ ? Activation::none : Activation::relu);
    if (ibn1_) y = ibn1_(y).relu_();
    const auto shortcut =
        shortcut_conv_ ? nn::conv_bn_act(x, shortcut_conv_, shortcut_bn_, Activation::none) : x;
    if (!bottleneck_) return nn::conv_bn_add_relu(y, conv2_, bn2_, shortcut);
    y = nn::conv_bn_act(y, conv2_, bn2_);
    return nn::conv_bn_add_relu(y, conv3_, bn3_, shortcut);
  }

  void fold_batch_norms() {
    if (!ibn1_) nn::fold_batch_norm(*this, "bn1", conv1_, bn1_);
    nn::fold_batch_norm(*this, "bn2", conv2_, bn2_);
    if (conv3_) nn::fold_batch_norm(*this, "bn3", conv3_, bn3_);
    if (shortcut_conv_) nn::fold_batch_norm(*downsample_, "1", shortcut_conv_, shortcut_bn_);
  }

 private:
  bool bottleneck_;
  Conv2d conv1_{nullptr}, conv2_{nullptr}, conv3_{nullptr}, shortcut_conv_{nullptr};
  BatchNorm2d bn1_{nullptr}, bn2_{nullptr}, bn3_{nullptr}, shortcut_bn_{nullptr};
  nn::IbnA ibn1_{nullptr};
  torch::nn::ModuleList downsample_{nullptr};
};

std::array<int64_t, 4> block_counts(int64_t depth) {
  switch (depth) {
    case 18: return {2, 2, 2, 2};
    case 34:
    case 50: return {3, 4, 6, 3};
    case 101: return {3, 4, 23, 3};
    default: throw ConfigError("resnet: depth must be 18, 34, 50 or 101, got " + std::to_string(depth));
  }
}

}  // namespace

struct ResNetBody::Layers {
  Conv2d conv1{nullptr};
  BatchNorm2d bn1{nullptr};
  std::array<std::vector<std::shared_ptr<Block>>, kStages> stages;
};

ResNetBody::ResNetBody(int64_t depth, const ResNetBodyOptions& options)
    : layers_(std::make_unique<Layers>()), options_(options), bottleneck_(depth >= 50) {
  const auto counts = block_counts(depth);
  layers_->conv1 = register_module("conv1", Conv2d(nn::conv_options(3, 64, 7, 2)));
  layers_->bn1 = register_module("bn1", BatchNorm2d(64));
  int64_t in = 64;
  for (int64_t i = 0; i < kStages; ++i) {
    torch::nn::ModuleList list;
    const int64_t width = 64 << i;
    const int64_t stride = i == 0 ? 1 : i == 3 ? options.last_stride : 2;
    for (int64_t j = 0; j < counts[i]; ++j) {
      auto block = std::make_shared<Block>(bottleneck_, in, width, j == 0 ? stride : 1,
                                           options.ibn == Ibn::a && i < 3);
      list->push_back(block);
      layers_->stages[i].push_back(block);
      in = bottleneck_ ? 4 * width : width;
    }
    register_module("layer" + std::to_string(i + 1), list);
  }
  nn::init_convolutions(*this);
}

ResNetBody::~ResNetBody() = default;

torch::Tensor ResNetBody::stem(const torch::Tensor& images) {
  const auto x = nn::conv_bn_act(images, layers_->conv1, layers_->bn1,
                                 options_.stem_relu ? Activation::relu : Activation::none);
  switch (options_.stem_pool) {
    case StemPool::transreid: return torch::max_pool2d(x, 2, 2);
    case StemPool::fast_reid: return torch::max_pool2d(x, 3, 2, /*padding=*/0, /*dilation=*/1, /*ceil_mode=*/true);
    case StemPool::torchvision: break;
  }
  return torch::max_pool2d(x, 3, 2, 1);
}

torch::Tensor ResNetBody::stage(int64_t index, const torch::Tensor& x) {
  auto y = x;
  for (const auto& block : layers_->stages.at(static_cast<std::size_t>(index))) y = block->forward(y);
  return y;
}

std::array<int64_t, ConvBody::kStages> ResNetBody::channels() const {
  const int64_t wider = bottleneck_ ? 4 : 1;
  return {64 * wider, 128 * wider, 256 * wider, 512 * wider};
}

std::array<MapSize, ConvBody::kStages> ResNetBody::sizes(int64_t height, int64_t width) const {
  const auto half = [](int64_t n) { return (n + 1) / 2; };
  const auto pool = [&](int64_t n) { return options_.stem_pool == StemPool::torchvision ? half(n) : n / 2; };
  std::array<MapSize, kStages> result;
  result[0] = {pool(half(height)), pool(half(width))};
  for (std::size_t i = 1; i < result.size(); ++i) {
    const bool shrinks = i < 3 || options_.last_stride == 2;
    result[i] = shrinks ? MapSize{half(result[i - 1].height), half(result[i - 1].width)} : result[i - 1];
  }
  return result;
}

void ResNetBody::fold_batch_norms() {
  nn::fold_batch_norm(*this, "bn1", layers_->conv1, layers_->bn1);
  for (const auto& stage : layers_->stages) {
    for (const auto& block : stage) block->fold_batch_norms();
  }
}

std::vector<nn::StateLayout> ResNetBody::layouts() const { return {}; }

namespace {

constexpr std::array<int64_t, 4> kDepths{18, 34, 50, 101};

}  // namespace

void add_resnet_bodies(BodyRegistry& registry) {
  for (const int64_t depth : kDepths) {
    add_entry<ConvBody, ResNetBodyOptions>(
        registry, "resnet" + std::to_string(depth), {"ResNet-" + std::to_string(depth) + " without pooling", "", "", ""},
        {}, [depth](ResNetBodyOptions& options, const std::string&) {
          return std::make_shared<ResNetBody>(depth, options);
        });
  }
}

void register_resnet(nn::ModelRegistry& registry) {
  for (const int64_t depth : kDepths) {
    const EntryInfo info{
        "ResNet-" + std::to_string(depth) + " with last stride 1, global pooling and BN neck: the strong baseline.",
        "Luo et al., Bag of Tricks and a Strong Baseline for Deep Person Re-identification, CVPRW 2019, "
        "arXiv:1903.07071; body: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, arXiv:1512.03385",
        "pytorch/vision v0.26 torchvision/models/resnet.py (body, names); michuanhaohao/reid-strong-baseline (neck)",
        "faithful to torchvision's network and to the strong baseline's neck"};
    add_entry<nn::Model, ResNetOptions>(
        registry, "resnet" + std::to_string(depth), info, {}, [depth](ResNetOptions& options, const std::string&) {
          return std::make_shared<ConvModel>(std::make_shared<ResNetBody>(depth, options.body), options.head,
                                             options.preprocess, "bottleneck");
        });
  }
}

}  // namespace reid::models
