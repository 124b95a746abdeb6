// SPDX-License-Identifier: Apache-2.0
// MobileNetV2 and the strong baseline's network on it: the light body.
#include "reid/models/mobilenet_v2.hpp"

#include <torch/torch.h>

#include "entry.hpp"
#include "layouts.hpp"
#include "reid/models/registry.hpp"

namespace reid::models {

namespace {

using nn::Activation;
using nn::ConvBnAct;
using torch::nn::BatchNorm2d;
using torch::nn::Conv2d;

/// 1x1 expansion, 3x3 depthwise, 1x1 linear projection, with a shortcut where the shapes allow it (Fig. 4d).
class InvertedResidual : public torch::nn::Module {
 public:
  InvertedResidual(int64_t in, int64_t out, int64_t stride, int64_t expansion)
      : shortcut_(stride == 1 && in == out), project_bn_name_(expansion == 1 ? "2" : "3") {
    const int64_t hidden = in * expansion;
    if (expansion != 1) {
      expand_ = std::make_shared<ConvBnAct>(nn::conv_options(in, hidden, 1), Activation::relu6, "0", "1");
      list_->push_back(expand_);
    }
    depthwise_ = std::make_shared<ConvBnAct>(nn::conv_options(hidden, hidden, 3, stride, hidden), Activation::relu6,
                                             "0", "1");
    project_ = Conv2d(nn::conv_options(hidden, out, 1));
    project_bn_ = BatchNorm2d(out);
    list_->push_back(depthwise_);
    list_->push_back(project_);
    list_->push_back(project_bn_);
    register_module("conv", list_);
  }

  torch::Tensor forward(const torch::Tensor& x) {
    const auto wide = depthwise_->forward(expand_ ? expand_->forward(x) : x);
    auto y = nn::conv_bn_act(wide, project_, project_bn_, Activation::none);
    return shortcut_ ? y.add_(x) : y;
  }

  void fold_batch_norms() {
    if (expand_) expand_->fold_batch_norms();
    depthwise_->fold_batch_norms();
    nn::fold_batch_norm(*list_, project_bn_name_, project_, project_bn_);
  }

 private:
  bool shortcut_;
  const char* project_bn_name_;
  torch::nn::ModuleList list_;
  std::shared_ptr<ConvBnAct> expand_, depthwise_;
  Conv2d project_{nullptr};
  BatchNorm2d project_bn_{nullptr};
};

/// Index of the last layer of each stage, features.N.
constexpr std::array<std::size_t, 4> kStageEnds{3, 6, 13, 18};

/// features.N.conv.K of the flat naming (one sequence with the ReLUs counted) to torchvision's.
std::optional<std::string> from_flat_name(const std::string& key) {
  constexpr std::string_view kStart = "features.";
  constexpr std::string_view kConv = ".conv.";
  if (key.rfind(kStart, 0) != 0) return std::nullopt;
  const auto conv = key.find(kConv);
  if (conv == std::string::npos) return key;
  const auto rest_at = key.find('.', conv + kConv.size());
  if (rest_at == std::string::npos) return std::nullopt;
  const auto layer = key.substr(conv + kConv.size(), rest_at - conv - kConv.size());
  const bool first = key.substr(0, conv) == "features.1";
  using Pair = std::pair<const char*, const char*>;
  static constexpr std::array<Pair, 4> kFirst{{{"0", "0.0"}, {"1", "0.1"}, {"3", "1"}, {"4", "2"}}};
  static constexpr std::array<Pair, 6> kOthers{
      {{"0", "0.0"}, {"1", "0.1"}, {"3", "1.0"}, {"4", "1.1"}, {"6", "2"}, {"7", "3"}}};
  const auto rename = [&](const auto& table) -> std::optional<std::string> {
    for (const auto& [from, to] : table) {
      if (layer == from) return key.substr(0, conv + kConv.size()) + to + key.substr(rest_at);
    }
    return std::nullopt;
  };
  return first ? rename(kFirst) : rename(kOthers);
}

}  // namespace

struct MobileNetV2Body::Layers {
  std::shared_ptr<ConvBnAct> first, last;
  std::vector<std::shared_ptr<InvertedResidual>> blocks;  ///< features.1 to features.17
};

MobileNetV2Body::MobileNetV2Body(const MobileNetV2BodyOptions& options)
    : layers_(std::make_unique<Layers>()), options_(options) {
  struct Group {
    int64_t expansion, channels, count, stride;
  };
  torch::nn::ModuleList features;
  layers_->first = std::make_shared<ConvBnAct>(nn::conv_options(3, 32, 3, 2), Activation::relu6, "0", "1");
  features->push_back(layers_->first);
  int64_t in = 32;
  for (const auto& group : {Group{1, 16, 1, 1}, Group{6, 24, 2, 2}, Group{6, 32, 3, 2}, Group{6, 64, 4, 2},
                            Group{6, 96, 3, 1}, Group{6, 160, 3, options.last_stride}, Group{6, 320, 1, 1}}) {
    for (int64_t i = 0; i < group.count; ++i) {
      layers_->blocks.push_back(
          std::make_shared<InvertedResidual>(in, group.channels, i == 0 ? group.stride : 1, group.expansion));
      features->push_back(layers_->blocks.back());
      in = group.channels;
    }
  }
  layers_->last = std::make_shared<ConvBnAct>(nn::conv_options(in, 1280, 1), Activation::relu6, "0", "1");
  features->push_back(layers_->last);
  register_module("features", features);
  nn::init_convolutions(*this);
}

MobileNetV2Body::~MobileNetV2Body() = default;

torch::Tensor MobileNetV2Body::stem(const torch::Tensor& images) { return layers_->first->forward(images); }

torch::Tensor MobileNetV2Body::stage(int64_t index, const torch::Tensor& x) {
  const auto stage = static_cast<std::size_t>(index);
  const std::size_t begin = stage == 0 ? 1 : kStageEnds.at(stage - 1) + 1;
  auto y = x;
  for (std::size_t n = begin; n <= kStageEnds.at(stage); ++n) {
    y = n <= layers_->blocks.size() ? layers_->blocks[n - 1]->forward(y) : layers_->last->forward(y);
  }
  return y;
}

std::array<MapSize, ConvBody::kStages> MobileNetV2Body::sizes(int64_t height, int64_t width) const {
  const auto half = [](MapSize size) { return MapSize{(size.height + 1) / 2, (size.width + 1) / 2}; };
  std::array<MapSize, kStages> result;
  result[0] = half(half({height, width}));
  result[1] = half(result[0]);
  result[2] = half(result[1]);
  result[3] = options_.last_stride == 2 ? half(result[2]) : result[2];
  return result;
}

void MobileNetV2Body::fold_batch_norms() {
  layers_->first->fold_batch_norms();
  for (const auto& block : layers_->blocks) block->fold_batch_norms();
  layers_->last->fold_batch_norms();
}

std::vector<nn::StateLayout> MobileNetV2Body::layouts() const {
  // tonylins/pytorch-mobilenet-v2 and the packages that carry its ImageNet weights.
  auto own = prefix_layout("mobilenet_v2, flat", state_names(*this), {{"", ""}});
  return {{own.name, [own](const std::string& key) -> std::optional<std::string> {
             if (key.rfind("classifier.", 0) == 0) return "";
             const auto mine = from_flat_name(key);
             return mine ? own.rename(*mine) : std::nullopt;
           }}};
}

void add_mobilenet_v2_body(BodyRegistry& registry) {
  add_entry<ConvBody, MobileNetV2BodyOptions>(registry, "mobilenet_v2", {"MobileNetV2 without pooling", "", "", ""}, {},
                                              [](MobileNetV2BodyOptions& options, const std::string&) {
                                                return std::make_shared<MobileNetV2Body>(options);
                                              });
}

void register_mobilenet_v2(nn::ModelRegistry& registry) {
  const EntryInfo info{
      "MobileNetV2 (width 1.0) with last stride 1, global pooling and BN neck: the light baseline.",
      "Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018, arXiv:1801.04381; neck: Luo "
      "et al., CVPRW 2019, arXiv:1903.07071",
      "pytorch/vision v0.26 torchvision/models/mobilenetv2.py (body, names); michuanhaohao/reid-strong-baseline (neck)",
      "faithful to torchvision's network and to the strong baseline's neck"};
  add_entry<nn::Model, MobileNetV2Options>(registry, "mobilenet_v2", info, {},
                                           [](MobileNetV2Options& options, const std::string&) {
                                             return std::make_shared<ConvModel>(
                                                 std::make_shared<MobileNetV2Body>(options.body), options.head,
                                                 options.preprocess, "bottleneck");
                                           });
}

}  // namespace reid::models
