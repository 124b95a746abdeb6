// SPDX-License-Identifier: Apache-2.0
// OSNet: omni-scale feature learning. Names are torchreid's (`conv1.conv`, `conv2.0.conv2b.1.conv1`, `fc.0`, ...).
//
// Paper: Zhou et al., "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019, Fig. 3 to 5, Table 1.
// Reference: KaiyangZhou/deep-person-reid torchreid/models/osnet.py.
// Differs from it: no classifier; the four gates of a block are computed in one product; pooling and a BN neck behind
// the embedding are options (off: what torchreid's network returns in evaluation mode).
#include "reid/models/osnet.hpp"

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

constexpr int64_t kEmbedding = 512;

/// 1x1 convolution, 3x3 depthwise convolution, batch norm, ReLU (Fig. 3b).
class LightConv3x3 : public torch::nn::Module {
 public:
  explicit LightConv3x3(int64_t channels) {
    conv1_ = register_module("conv1", Conv2d(nn::conv_options(channels, channels, 1)));
    conv2_ = register_module("conv2", Conv2d(nn::conv_options(channels, channels, 3, 1, channels)));
    bn_ = register_module("bn", BatchNorm2d(channels));
  }
  torch::Tensor forward(const torch::Tensor& x) { return nn::conv_bn_act(conv1_(x), conv2_, bn_); }
  void fold_batch_norms() { nn::fold_batch_norm(*this, "bn", conv2_, bn_); }

 private:
  Conv2d conv1_{nullptr}, conv2_{nullptr};
  BatchNorm2d bn_{nullptr};
};

/// The unified aggregation gate: one small network for the four streams (Sec. 3.2).
class ChannelGate : public torch::nn::Module {
 public:
  explicit ChannelGate(int64_t channels) {
    const int64_t hidden = channels / 16;
    fc1_ = register_module("fc1", Conv2d(torch::nn::Conv2dOptions(channels, hidden, 1)));
    fc2_ = register_module("fc2", Conv2d(torch::nn::Conv2dOptions(hidden, channels, 1)));
  }
  /// sum_i gate(x_i) * x_i
  torch::Tensor forward(const std::array<torch::Tensor, 4>& streams) {
    std::array<torch::Tensor, 4> pooled;
    for (std::size_t i = 0; i < 4; ++i) pooled[i] = nn::mean_of_positions(streams[i]);
    const auto hidden = torch::linear(torch::cat(pooled), fc1_->weight.flatten(1), fc1_->bias).relu_();
    const auto gates =
        torch::linear(hidden, fc2_->weight.flatten(1), fc2_->bias).sigmoid().unsqueeze(-1).unsqueeze(-1).chunk(4);
    auto sum = streams[0] * gates[0];
    for (std::size_t i = 1; i < 4; ++i) sum.addcmul_(streams[i], gates[i]);
    return sum;
  }

 private:
  Conv2d fc1_{nullptr}, fc2_{nullptr};
};

/// Four streams of one to four light convolutions, gated and summed, in a residual bottleneck (Fig. 4).
class OsBlock : public torch::nn::Module {
 public:
  OsBlock(int64_t in, int64_t out) {
    const int64_t middle = out / 4;
    conv1_ = register_module("conv1", std::make_shared<ConvBnAct>(nn::conv_options(in, middle, 1), Activation::relu));
    for (std::size_t i = 0; i < streams_.size(); ++i) {
      const std::string name = std::string("conv2") + "abcd"[i];
      torch::nn::ModuleList list;
      for (std::size_t j = 0; j <= i; ++j) {
        streams_[i].push_back(std::make_shared<LightConv3x3>(middle));
        list->push_back(streams_[i].back());
      }
      if (i == 0) {
        register_module(name, streams_[i].front());
      } else {
        register_module(name, list);
      }
    }
    gate_ = register_module("gate", std::make_shared<ChannelGate>(middle));
    conv3_ = register_module("conv3", std::make_shared<ConvBnAct>(nn::conv_options(middle, out, 1), Activation::none));
    if (in != out) {
      downsample_ =
          register_module("downsample", std::make_shared<ConvBnAct>(nn::conv_options(in, out, 1), Activation::none));
    }
  }

  torch::Tensor forward(const torch::Tensor& x) {
    const auto y = conv1_->forward(x);
    std::array<torch::Tensor, 4> streams;
    for (std::size_t i = 0; i < streams.size(); ++i) {
      streams[i] = y;
      for (const auto& layer : streams_[i]) streams[i] = layer->forward(streams[i]);
    }
    const auto shortcut = downsample_ ? downsample_->forward(x) : x;
    return nn::conv_bn_add_relu(gate_->forward(streams), conv3_->conv, conv3_->bn, shortcut);
  }

  void fold_batch_norms() {
    conv1_->fold_batch_norms();
    for (const auto& stream : streams_) {
      for (const auto& layer : stream) layer->fold_batch_norms();
    }
    conv3_->fold_batch_norms();
    if (downsample_) downsample_->fold_batch_norms();
  }

 private:
  std::shared_ptr<ConvBnAct> conv1_, conv3_, downsample_;
  std::array<std::vector<std::shared_ptr<LightConv3x3>>, 4> streams_;
  std::shared_ptr<ChannelGate> gate_;
};

class OsNet : public nn::Model {
 public:
  OsNet(const std::array<int64_t, 4>& widths, const OsNetOptions& options) : options_(options) {
    conv1_ = register_module(
        "conv1", std::make_shared<ConvBnAct>(nn::conv_options(3, widths[0], 7, 2), Activation::relu));
    for (std::size_t i = 0; i < 3; ++i) {
      auto& stage = stages_[i];
      stage.blocks = {std::make_shared<OsBlock>(widths[i], widths[i + 1]),
                      std::make_shared<OsBlock>(widths[i + 1], widths[i + 1])};
      torch::nn::ModuleList list;
      for (const auto& block : stage.blocks) list->push_back(block);
      if (i < 2) {
        stage.transition =
            std::make_shared<ConvBnAct>(nn::conv_options(widths[i + 1], widths[i + 1], 1), Activation::relu);
        torch::nn::ModuleList transition;
        transition->push_back(stage.transition);
        list->push_back(transition.ptr());
      }
      register_module("conv" + std::to_string(i + 2), list);
    }
    conv5_ = register_module("conv5",
                             std::make_shared<ConvBnAct>(nn::conv_options(widths[3], widths[3], 1), Activation::relu));
    pool_ = register_module("pool", std::make_shared<nn::GlobalPool>(options_.head.pooling));
    fc_linear_ = torch::nn::Linear(widths[3], kEmbedding);
    fc_bn_ = torch::nn::BatchNorm1d(kEmbedding);
    fc_ = register_module("fc", torch::nn::ModuleList(fc_linear_, fc_bn_));
    if (options_.head.neck) neck_ = register_module("bottleneck", nn::make_bn_neck(kEmbedding));
    nn::init_convolutions(*this);
    const torch::NoGradGuard no_grad;
    fc_linear_->weight.normal_(0, 0.01);
    fc_linear_->bias.zero_();
  }

  nn::ModelOutput encode_image(const torch::Tensor& images, uint32_t want) override {
    check_images(images, options_.preprocess, "encode_image");
    auto x = conv1_->forward(images.to(conv1_->conv->weight.scalar_type()));
    x = torch::max_pool2d(x, 3, 2, 1);
    for (const auto& stage : stages_) {
      for (const auto& block : stage.blocks) x = block->forward(x);
      if (stage.transition) x = torch::avg_pool2d(stage.transition->forward(x), 2, 2);
    }
    x = conv5_->forward(x);
    nn::ModelOutput output;
    auto v = fc_linear_(pool_->forward(x));
    if (fc_bn_) v = fc_bn_(v);
    output.embedding = v.relu_();
    if (neck_ && (want & nn::want_neck) != 0) output.neck = neck_(output.embedding);
    if ((want & nn::want_tokens) != 0) output.tokens = x.flatten(2).transpose(1, 2);
    return output;
  }

  const PreprocessOptions& preprocess() const override { return options_.preprocess; }
  int64_t embedding_size() const override { return kEmbedding; }
  nn::Feature feature() const override { return options_.head.feature; }

  void fold_batch_norms() override {
    eval();
    conv1_->fold_batch_norms();
    for (const auto& stage : stages_) {
      for (const auto& block : stage.blocks) block->fold_batch_norms();
      if (stage.transition) stage.transition->fold_batch_norms();
    }
    conv5_->fold_batch_norms();
    if (fc_bn_) {
      const torch::NoGradGuard no_grad;
      const auto scale = fc_bn_->weight * (fc_bn_->running_var + fc_bn_->options.eps()).rsqrt();
      fc_linear_->weight.mul_(scale.unsqueeze(1));
      fc_linear_->bias.sub_(fc_bn_->running_mean).mul_(scale).add_(fc_bn_->bias);
      fc_->unregister_module("1");
      fc_bn_ = nullptr;
    }
    for (auto& parameter : parameters()) parameter.set_requires_grad(false);
  }

  std::vector<nn::StateLayout> layouts() const override {
    const auto names = state_names(*this);
    return {prefix_layout("reid", names, {{"", ""}}),
            prefix_layout("torchreid", names, {{"classifier.", "", true}, {"", ""}})};
  }

 private:
  struct Stage {
    std::vector<std::shared_ptr<OsBlock>> blocks;
    std::shared_ptr<ConvBnAct> transition;
  };
  OsNetOptions options_;
  std::shared_ptr<ConvBnAct> conv1_, conv5_;
  std::array<Stage, 3> stages_;
  std::shared_ptr<nn::GlobalPool> pool_;
  torch::nn::Linear fc_linear_{nullptr};
  torch::nn::BatchNorm1d fc_bn_{nullptr};
  torch::nn::ModuleList fc_{nullptr};
  torch::nn::BatchNorm1d neck_{nullptr};
};

}  // namespace

void register_osnet(nn::ModelRegistry& registry) {
  struct Width {
    const char* name;
    const char* multiplier;
    std::array<int64_t, 4> channels;
  };
  for (const auto& width : {Width{"osnet_x1_0", "1.0", {64, 256, 384, 512}},
                            Width{"osnet_x0_75", "0.75", {48, 192, 288, 384}},
                            Width{"osnet_x0_5", "0.5", {32, 128, 192, 256}},
                            Width{"osnet_x0_25", "0.25", {16, 64, 96, 128}}}) {
    const EntryInfo info{
        std::string("OSNet of width ") + width.multiplier +
            "; the embedding is the 512-d output of `fc` (linear, batch norm, ReLU), no BN neck by default.",
        "Zhou et al., Omni-Scale Feature Learning for Person Re-Identification, ICCV 2019, arXiv:1905.00953",
        "KaiyangZhou/deep-person-reid torchreid/models/osnet.py",
        "faithful to torchreid's network; its published weights load and give its features"};
    add_entry<nn::Model, OsNetOptions>(registry, width.name, info, {},
                                       [channels = width.channels](OsNetOptions& options, const std::string&) {
                                         return std::make_shared<OsNet>(channels, options);
                                       });
  }
}

}  // namespace reid::models
