// SPDX-License-Identifier: Apache-2.0
// CLIP's ResNet with attention pooling. openai/CLIP clip/model.py; anosorae/IRRA model/clip_model.py.
#include <fmt/format.h>
#include <torch/torch.h>

#include <cmath>

#include "clip_block.hpp"
#include "entry.hpp"
#include "layouts.hpp"
#include "reid/core/error.hpp"
#include "reid/models/clip.hpp"
#include "reid/models/conv_model.hpp"
#include "reid/models/registry.hpp"
#include "reid/nn/blocks.hpp"

namespace reid::models {

using nn::Activation;
using torch::Tensor;
using torch::nn::BatchNorm2d;
using torch::nn::Conv2d;

namespace {

constexpr int64_t kExpansion = 4;
constexpr std::size_t kStages = 4;

/// 1x1, 3x3, 1x1; a map that shrinks is averaged before the last and on the shortcut.
class Bottleneck : public torch::nn::Module {
 public:
  Bottleneck(int64_t in, int64_t width, int64_t stride) : stride_(stride) {
    const auto out = kExpansion * width;
    conv1_ = register_module("conv1", Conv2d(nn::conv_options(in, width, 1)));
    bn1_ = register_module("bn1", BatchNorm2d(width));
    conv2_ = register_module("conv2", Conv2d(nn::conv_options(width, width, 3)));
    bn2_ = register_module("bn2", BatchNorm2d(width));
    conv3_ = register_module("conv3", Conv2d(nn::conv_options(width, out, 1)));
    bn3_ = register_module("bn3", BatchNorm2d(out));
    if (stride > 1 || in != out) {
      shortcut_conv_ = Conv2d(nn::conv_options(in, out, 1));
      shortcut_bn_ = BatchNorm2d(out);
      downsample_ = register_module("downsample", torch::nn::ModuleList(shortcut_conv_, shortcut_bn_));
    }
    const torch::NoGradGuard no_grad;
    bn3_->weight.zero_();
  }

  Tensor forward(const Tensor& x) {
    const auto shrink = [&](const Tensor& t) { return stride_ > 1 ? torch::avg_pool2d(t, stride_) : t; };
    const auto shortcut = shortcut_conv_ ? nn::conv_bn_act(shrink(x), shortcut_conv_, shortcut_bn_, Activation::none) : x;
    const auto y = nn::conv_bn_act(nn::conv_bn_act(x, conv1_, bn1_), conv2_, bn2_);
    return nn::conv_bn_add_relu(shrink(y), conv3_, bn3_, shortcut);
  }

  void fold_batch_norms() {
    nn::fold_batch_norm(*this, "bn1", conv1_, bn1_);
    nn::fold_batch_norm(*this, "bn2", conv2_, bn2_);
    nn::fold_batch_norm(*this, "bn3", conv3_, bn3_);
    if (shortcut_conv_) nn::fold_batch_norm(*downsample_, "1", shortcut_conv_, shortcut_bn_);
  }

 private:
  int64_t stride_;
  Conv2d conv1_{nullptr}, conv2_{nullptr}, conv3_{nullptr}, shortcut_conv_{nullptr};
  BatchNorm2d bn1_{nullptr}, bn2_{nullptr}, bn3_{nullptr}, shortcut_bn_{nullptr};
  torch::nn::ModuleList downsample_{nullptr};
};

/// One query, the mean of all places, attends to itself and to them.
class AttentionPool : public torch::nn::Module {
 public:
  AttentionPool(int64_t places, int64_t width, int64_t heads, int64_t out) : heads_(heads) {
    const double deviation = 1 / std::sqrt(static_cast<double>(width));
    positions_ = register_parameter("positional_embedding", torch::empty({1 + places, width}).normal_(0, deviation));
    k_proj_ = register_module("k_proj", torch::nn::Linear(width, width));
    q_proj_ = register_module("q_proj", torch::nn::Linear(width, width));
    v_proj_ = register_module("v_proj", torch::nn::Linear(width, width));
    c_proj_ = register_module("c_proj", torch::nn::Linear(width, out));
    const torch::NoGradGuard no_grad;
    for (auto* linear : {&k_proj_, &q_proj_, &v_proj_, &c_proj_}) {
      (*linear)->weight.normal_(0, deviation);
      (*linear)->bias.zero_();
    }
  }

  /// places [N, h w, C] to [N, out].
  /// @param attention  if given, set to the attention to the places, mean over heads: [N, h w].
  Tensor forward(const Tensor& places, Tensor* attention) {
    const auto x = torch::cat({places.mean(1, true), places}, 1) + positions_;
    const auto q = q_proj_(x.narrow(1, 0, 1)), k = k_proj_(x);
    if (attention != nullptr) {
      const torch::NoGradGuard no_grad;
      *attention = mean_attention(q, k, heads_).select(1, 0).narrow(1, 1, places.size(1));
    }
    return c_proj_(attend(q, k, v_proj_(x), heads_, /*causal=*/false).select(1, 0));
  }

  const Tensor& positions() const { return positions_; }

 private:
  int64_t heads_;
  Tensor positions_;
  torch::nn::Linear k_proj_{nullptr}, q_proj_{nullptr}, v_proj_{nullptr}, c_proj_{nullptr};
};

MapSize last_map(const PreprocessOptions& size) {
  const auto side = [](int64_t n) { return (n + 1) / 2 / 2 / 8; };
  return {side(size.height), side(size.width)};
}

}  // namespace

void ClipResNetOptions::validate(const std::string& where) const {
  REID_CHECK(width % 2 == 0, ConfigError, fmt::format("{}/width: width must be even, got {}", where, width));
  REID_CHECK(32 * width % heads == 0, ConfigError,
             fmt::format("{}/heads: heads must divide 32 width ({}), got {}", where, 32 * width, heads));
  REID_CHECK(last_map(preprocess).positions() > 0, ConfigError,
             fmt::format("{}/preprocess: height and width must be at least 31, got {} and {}", where, preprocess.height,
                         preprocess.width));
  neck.validate(where);
}

struct ClipResNet::Layers {
  std::array<Conv2d, 3> conv{nullptr, nullptr, nullptr};
  std::array<BatchNorm2d, 3> bn{nullptr, nullptr, nullptr};
  std::vector<std::shared_ptr<Bottleneck>> blocks;
  std::shared_ptr<AttentionPool> pool;
};

ClipResNet::ClipResNet(const ClipResNetOptions& options)
    : options_(options), grid_(last_map(options.preprocess)), layers_(std::make_unique<Layers>()) {
  options.validate("clip_resnet");
  const std::array<int64_t, 4> channels{3, options.width / 2, options.width / 2, options.width};
  for (std::size_t i = 0; i < layers_->conv.size(); ++i) {
    const auto number = std::to_string(i + 1);
    layers_->conv[i] = register_module("conv" + number, Conv2d(nn::conv_options(channels[i], channels[i + 1], 3, i == 0 ? 2 : 1)));
    layers_->bn[i] = register_module("bn" + number, BatchNorm2d(channels[i + 1]));
  }
  int64_t in = options.width;
  for (std::size_t i = 0; i < kStages; ++i) {
    torch::nn::ModuleList list;
    const auto width = options.width << i;
    for (int64_t j = 0; j < options.blocks[i]; ++j) {
      layers_->blocks.push_back(std::make_shared<Bottleneck>(in, width, i > 0 && j == 0 ? 2 : 1));
      list->push_back(layers_->blocks.back());
      in = kExpansion * width;
    }
    register_module("layer" + std::to_string(i + 1), list);
  }
  layers_->pool = register_module(
      "attnpool", std::make_shared<AttentionPool>(grid_.positions(), in, options.heads, options.projection));
  if (options.neck.neck) neck_ = register_module("bottleneck", nn::make_bn_neck(embedding_size()));
}

ClipResNet::~ClipResNet() = default;

nn::ModelOutput ClipResNet::encode_image(const Tensor& images, uint32_t want) {
  check_images(images, options_.preprocess, "encode_image");
  auto x = images.to(layers_->pool->positions().scalar_type());
  for (std::size_t i = 0; i < layers_->conv.size(); ++i) x = nn::conv_bn_act(x, layers_->conv[i], layers_->bn[i]);
  x = torch::avg_pool2d(x, 2);
  for (const auto& block : layers_->blocks) x = block->forward(x);
  const auto places = x.flatten(2).transpose(1, 2);
  const bool maps = (want & nn::want_maps) != 0;
  nn::ModelOutput output;
  Tensor attention;
  output.embedding = layers_->pool->forward(places, maps ? &attention : nullptr);
  if (neck_ && (want & nn::want_neck) != 0) output.neck = neck_(output.embedding);
  if ((want & nn::want_tokens) != 0) output.tokens = places;
  if (maps) output.maps.push_back((attention / attention.amax(1, true)).view({x.size(0), 1, grid_.height, grid_.width}));
  return output;
}

void ClipResNet::fold_batch_norms() {
  eval();
  for (std::size_t i = 0; i < layers_->conv.size(); ++i) {
    nn::fold_batch_norm(*this, ("bn" + std::to_string(i + 1)).c_str(), layers_->conv[i], layers_->bn[i]);
  }
  for (const auto& block : layers_->blocks) block->fold_batch_norms();
  for (auto& parameter : parameters()) parameter.set_requires_grad(false);
}

std::vector<nn::StateLayout> ClipResNet::layouts() const { return clip_layouts(ClipTower::image, state_names(*this), {}); }

void ClipResNet::adapt_weights(nn::StateDict& tensors, const std::string& source) const {
  adapt_clip_positions(tensors, "attnpool.positional_embedding", layers_->pool->positions(), grid_, source);
}

void register_clip_resnet(nn::ModelRegistry& registry) {
  add_entry<nn::Model, ClipResNetOptions>(
      registry, "clip_resnet50",
      {"CLIP's image tower ResNet-50 with attention pooling at 384x128.",
       "Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021, arXiv:2103.00020",
       "openai/CLIP clip/model.py; anosorae/IRRA model/clip_model.py@cfc2378",
       "faithful to the reference; published weights load, the pooling's position table is resized bilinearly"},
      {}, [](ClipResNetOptions& options, const std::string&) { return std::make_shared<ClipResNet>(options); });
}

}  // namespace reid::models
