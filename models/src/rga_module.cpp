// SPDX-License-Identifier: Apache-2.0
// The RGA module: one attention class serves positions and channels, since both are "nodes with r-vectors".
#include <ATen/autocast_mode.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>

#include "reid/core/error.hpp"
#include "reid/models/rga.hpp"
#include "reid/ops/check.hpp"
#include "reid/ops/matmul.hpp"

namespace reid::models {

namespace {

using torch::nn::BatchNorm2d;
using torch::nn::Conv2d;

/// Convolution "0" and batch norm "1" of the official naming; the ReLU is the caller's.
class Embedding : public torch::nn::Module {
 public:
  Embedding(int64_t in, int64_t out) {
    conv = register_module("0", Conv2d(nn::conv_options(in, out, 1)));
    bn = register_module("1", BatchNorm2d(out));
  }
  torch::Tensor weight() const { return conv->weight.flatten(1); }
  Conv2d conv{nullptr};
  BatchNorm2d bn{nullptr};
};

/// The attention head: two convolutions with batch norms, "0", "1", "3", "4" of the official naming.
class Head : public torch::nn::Module {
 public:
  Head(int64_t in, int64_t hidden) {
    conv1 = register_module("0", Conv2d(nn::conv_options(in, hidden, 1)));
    bn1 = register_module("1", BatchNorm2d(hidden));
    conv2 = register_module("3", Conv2d(nn::conv_options(hidden, 1, 1)));
    bn2 = register_module("4", BatchNorm2d(1));
  }
  Conv2d conv1{nullptr}, conv2{nullptr};
  BatchNorm2d bn1{nullptr}, bn2{nullptr};
};

/// y [B, r, N] + bias [r], in place; nothing without a bias.
torch::Tensor add_bias_(torch::Tensor y, const torch::Tensor& bias) {
  return bias.defined() ? y.add_(bias.view({1, -1, 1})) : y;
}

/// act(bn(y)) of y [B, c, N]; an empty `bn` is left out.
torch::Tensor norm_act(const torch::Tensor& y, BatchNorm2d& bn, nn::Activation act) {
  return nn::batch_norm_act(y.unsqueeze(-1), bn, act).squeeze(-1);
}

/// The relation with one block only: W G^T for (theta, phi), W G for (phi, theta).
torch::Tensor one_direction(const torch::Tensor& theta, const torch::Tensor& phi, const torch::Tensor& weight,
                            ops::RelationPath path) {
  if (path == ops::RelationPath::automatic) path = ops::relation_path(theta.size(2), theta.size(1), weight.size(0));
  if (path == ops::RelationPath::factored) {
    const auto reduced = torch::matmul(phi, weight.t());  // [B, r, m]
    return torch::matmul(reduced.transpose(1, 2), theta);
  }
  return torch::matmul(weight, torch::matmul(phi.transpose(1, 2), theta));
}

bool lies_channels_last(const torch::Tensor& x) {
  return x.is_contiguous(torch::MemoryFormat::ChannelsLast) && !x.is_contiguous();
}

/// How many pictures' maps [C, S] a module should work on at a time when nothing of them is kept for gradients: what one step
/// leaves for the next, the map or a relation about as large, then stays in the processor's cache.
int64_t pictures_in_cache(int64_t channels, int64_t positions) {
  constexpr int64_t kValues = int64_t{1} << 22;  // 16 MB: at batch 32 a tenth faster than 1 << 30, as 1 << 21 and 1 << 23 are
  return std::max<int64_t>(1, kValues / (channels * std::max(positions, channels / 8)));
}

int64_t reduced(int64_t size, int64_t ratio) { return std::max<int64_t>(1, size / ratio); }

}  // namespace

/// One attention over N nodes with D-vectors.
class RgaModule::Attention {
 public:
  /// @param nodes, features  N and D.
  /// @param rank, outputs    r and m.
  Attention(int64_t nodes, int64_t features, int64_t rank, int64_t outputs, const RgaModuleOptions& options)
      : rank_(rank), options_(options) {
    const int64_t blocks = options.directions == RgaDirections::both ? 2 : 1;
    const int64_t width = outputs + (options.own_feature ? 1 : 0);
    if (options.own_feature) own_ = std::make_shared<Embedding>(features, rank);
    theta_ = std::make_shared<Embedding>(features, rank);
    phi_ = std::make_shared<Embedding>(features, rank);
    relation_ = std::make_shared<Embedding>(blocks * nodes, outputs);
    head_ = std::make_shared<Head>(width, reduced(width, options.head_ratio));
  }

  /// Names as in the official code; `owner` holds them.
  void register_in(torch::nn::Module& owner, const std::string& suffix) {
    owner_ = &owner;
    suffix_ = suffix;
    if (own_) owner.register_module("gx" + suffix, own_);
    owner.register_module("gg" + suffix, relation_);
    owner.register_module("W" + suffix, head_);
    owner.register_module("theta" + suffix, theta_);
    owner.register_module("phi" + suffix, phi_);
  }

  void initialise() {
    const torch::NoGradGuard no_grad;
    if (options_.bn_gamma_uniform) {
      for (auto* bn : batch_norms()) (*bn)->weight.uniform_(0, 1);
    }
    if (options_.start == RgaStart::identity) head_->bn2->weight.zero_();
  }

  /// Weights of the embeddings stacked, [k r, D, 1, 1] with k = 3 (own, theta, phi) or 2.
  torch::Tensor stacked_weight() const {
    if (folded_weight_.defined()) return folded_weight_;
    std::vector<torch::Tensor> parts;
    for (const auto* e : embeddings()) parts.push_back(e->conv->weight);
    return torch::cat(parts);
  }

  /// Bias of the stacked embeddings, [k r], once batch norms are folded; undefined before.
  const torch::Tensor& stacked_bias() const { return folded_bias_; }

  /// Stacked products y, biases added, to stacked embeddings ReLU(BN(y)). One batch norm over all k r channels is the
  /// same as one for each part: statistics are a channel's own. Channels are dimension 1.
  torch::Tensor normalise(torch::Tensor y) {
    if (folded()) return y.relu_();
    const auto parts = embeddings();
    const auto stack = [&](auto member) {
      std::vector<torch::Tensor> tensors;
      for (const auto* e : parts) tensors.push_back((e->bn.get()->*member));
      return torch::cat(tensors);
    };
    using Bn = torch::nn::BatchNorm2dImpl;
    const auto& first = *parts.front()->bn;
    const bool training = first.is_training();
    auto mean = stack(&Bn::running_mean);
    auto variance = stack(&Bn::running_var);
    if (!training) {
      return torch::batch_norm(y, stack(&Bn::weight), stack(&Bn::bias), mean, variance, false, first.options.momentum().value(),
                               first.options.eps(), at::globalContext().userEnabledCuDNN())
          .relu_();
    }
    y = ops::batch_norm_act(y,
                            {.weight = stack(&Bn::weight),
                             .bias = stack(&Bn::bias),
                             .running_mean = mean,
                             .running_var = variance,
                             .momentum = first.options.momentum().value(),
                             .eps = first.options.eps()},
                            nn::Activation::relu);
    const torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      auto& bn = *parts[i]->bn;
      const auto begin = static_cast<int64_t>(i) * rank_;
      bn.running_mean.copy_(mean.narrow(0, begin, rank_));
      bn.running_var.copy_(variance.narrow(0, begin, rank_));
      bn.num_batches_tracked += 1;
    }
    return y;
  }

  /// Stacked embeddings [B, k r, N] to the attention [B, 1, N].
  torch::Tensor attend(const torch::Tensor& stacked) {
    const int64_t first = own_ ? rank_ : 0;
    const auto weight = relation_->weight();
    torch::Tensor r;
    if (options_.directions == RgaDirections::both) {
      r = ops::relation(stacked.narrow(1, first, 2 * rank_), weight, options_.relation);
    } else {
      const auto theta = stacked.narrow(1, first, rank_), phi = stacked.narrow(1, first + rank_, rank_);
      const bool in = options_.directions == RgaDirections::in;
      r = one_direction(in ? theta : phi, in ? phi : theta, weight, options_.relation);
    }
    // [B, m, N]. Folded, ReLU(R + b) = max(R, -b) + b: one pass over the map, and the head's bias has what b adds.
    r = folded() ? r.clamp_min_(folded_floor_) : norm_act(r, relation_->bn, nn::Activation::relu);

    // The head's first convolution on concat(u, r), without making it.
    const auto w1 = head_->conv1->weight.flatten(1);  // [h, 1 + m]
    auto z = ops::linear(r.transpose(1, 2), relation_part(w1));  // [B, N, h]
    if (own_) z = z.addcmul(stacked.narrow(1, 0, rank_).mean(1).unsqueeze(-1), w1.select(1, 0));
    z = norm_act(add_bias_(z.transpose(1, 2), head_->conv1->bias), head_->bn1, nn::Activation::relu);
    z = ops::linear(z.transpose(1, 2), head_->conv2->weight.flatten(1)).transpose(1, 2);
    return norm_act(add_bias_(z, head_->conv2->bias), head_->bn2, nn::Activation::none).sigmoid();
  }

  void fold() {
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> weights, biases;
    for (auto* e : embeddings()) {
      nn::fold_batch_norm(*e, "1", e->conv, e->bn);
      weights.push_back(e->conv->weight);
      biases.push_back(e->conv->bias);
    }
    folded_weight_ = owner_->register_buffer("folded_weight" + suffix_, torch::cat(weights));
    folded_bias_ = owner_->register_buffer("folded_bias" + suffix_, torch::cat(biases));
    if (own_) owner_->unregister_module("gx" + suffix_);
    owner_->unregister_module("theta" + suffix_);
    owner_->unregister_module("phi" + suffix_);
    nn::fold_batch_norm(*relation_, "1", relation_->conv, relation_->bn);
    nn::fold_batch_norm(*head_, "1", head_->conv1, head_->bn1);
    const auto& shift = relation_->conv->bias;
    folded_floor_ = owner_->register_buffer("folded_floor" + suffix_, -shift.view({1, -1, 1}));
    head_->conv1->bias += torch::mv(relation_part(head_->conv1->weight.flatten(1)), shift);
    nn::fold_batch_norm(*head_, "4", head_->conv2, head_->bn2);
  }
  bool folded() const { return folded_weight_.defined(); }

 private:
  /// Columns of the head's first weight [h, 1 + m] that meet the relation; the first one, if there is an own feature, meets it.
  torch::Tensor relation_part(const torch::Tensor& weight) const {
    return own_ ? weight.narrow(1, 1, weight.size(1) - 1) : weight;
  }
  std::vector<Embedding*> embeddings() const {
    if (own_) return {own_.get(), theta_.get(), phi_.get()};
    return {theta_.get(), phi_.get()};
  }
  std::vector<BatchNorm2d*> batch_norms() {
    std::vector<BatchNorm2d*> result{&relation_->bn, &head_->bn1, &head_->bn2};
    for (auto* e : embeddings()) result.push_back(&e->bn);
    return result;
  }

  int64_t rank_;
  RgaModuleOptions options_;
  std::shared_ptr<Embedding> own_, theta_, phi_, relation_;
  std::shared_ptr<Head> head_;
  torch::nn::Module* owner_ = nullptr;
  std::string suffix_;
  torch::Tensor folded_weight_, folded_bias_, folded_floor_;
};

RgaModule::RgaModule(int64_t channels, MapSize size, const RgaModuleOptions& options)
    : channels_(channels), size_(size), options_(options) {
  const int64_t positions = size.positions();
  const int64_t fewer_channels = reduced(channels, options.channel_ratio);
  const int64_t fewer_positions = reduced(positions, options.spatial_ratio);
  if (options.spatial) {
    spatial_ = std::make_shared<Attention>(positions, channels, fewer_channels, fewer_positions, options);
    spatial_->register_in(*this, "_spatial");
    spatial_->initialise();
  }
  if (options.channel) {
    channel_ = std::make_shared<Attention>(channels, positions, fewer_positions, fewer_channels, options);
    channel_->register_in(*this, "_channel");
    channel_->initialise();
  }
}

RgaModule::~RgaModule() = default;

/// Nodes are positions: the stacked 1x1 convolutions are one convolution. [B, 1, H, W].
torch::Tensor RgaModule::spatial_attention(const torch::Tensor& x) {
  const auto weight = spatial_->stacked_weight(), bias = spatial_->stacked_bias();  // [k r, C, 1, 1]
  // A map in channels-last memory is a matrix of positions x channels already.
  const auto product = lies_channels_last(x) ? ops::linear(x.permute({0, 2, 3, 1}), weight.flatten(1), bias).permute({0, 3, 1, 2})
                                             : torch::conv2d(x, weight, bias);
  const auto stacked = spatial_->normalise(product);
  return spatial_->attend(stacked.flatten(2)).view({x.size(0), 1, size_.height, size_.width});
}

/// Nodes are channels, positions act as channels: y[b] = W x[b] with x[b] [S, C]. Result [B, C, 1, 1].
torch::Tensor RgaModule::channel_attention(const torch::Tensor& x) {
  const auto weight = channel_->stacked_weight().flatten(1);  // [k r, S]
  // Either product is [B, C, k r], and is seen as a map in channels-last memory.
  auto product = (lies_channels_last(x) ? ops::linear_of_columns(x.flatten(2).transpose(1, 2), weight)
                                        : ops::linear(x.flatten(2).contiguous(), weight))
                     .transpose(1, 2);
  product = add_bias_(product, channel_->stacked_bias());
  const auto stacked = channel_->normalise(product.unsqueeze(-1));
  return channel_->attend(stacked.squeeze(-1)).view({x.size(0), channels_, 1, 1});
}

torch::Tensor RgaModule::forward(const torch::Tensor& x, torch::Tensor* map) {
  if (x.dim() != 4 || x.size(1) != channels_ || x.size(2) != size_.height || x.size(3) != size_.width) {
    throw ShapeError(fmt::format("rga module: features must be [B, {}, {}, {}] float, got {}", channels_, size_.height,
                                 size_.width, ops::describe(x)));
  }
  // Pictures meet in training only. Under autocast the output's type isn't x's.
  const bool apart = !at::GradMode::is_enabled() && !is_training() && x.device().is_cpu() &&
                     !at::autocast::is_autocast_enabled(at::kCPU);
  const int64_t pictures = pictures_in_cache(channels_, size_.positions());
  if (!apart || x.size(0) <= pictures) return attended(x, map, {});
  const auto y = torch::empty_like(x);
  std::vector<torch::Tensor> maps;
  for (int64_t first = 0; first < x.size(0); first += pictures) {
    const int64_t count = std::min(pictures, x.size(0) - first);
    torch::Tensor own;
    attended(x.narrow(0, first, count), map != nullptr ? &own : nullptr, y.narrow(0, first, count));
    if (own.defined()) maps.push_back(own);
  }
  if (!maps.empty()) *map = torch::cat(maps);
  return y;
}

/// The module's output, written into `into` if that is given.
torch::Tensor RgaModule::attended(const torch::Tensor& x, torch::Tensor* map, torch::Tensor into) {
  const auto factor = [&](const torch::Tensor& attention) {
    return options_.start == RgaStart::identity ? attention * 2 : attention;
  };
  const auto spatial = [&](const torch::Tensor& features) {
    auto attention = spatial_attention(features);
    if (map != nullptr) *map = attention;
    return factor(attention);
  };
  const auto channel = [&](const torch::Tensor& features) { return factor(channel_attention(features)); };
  const auto first = [&](const torch::Tensor& attention) {
    return into.defined() ? at::mul_out(into, x, attention) : x * attention;
  };
  if (!channel_) return first(spatial(x));
  if (!spatial_) return first(channel(x));
  // The first product is a new tensor that nobody else sees: without gradients the second one may be written into it.
  const auto times = [](torch::Tensor features, const torch::Tensor& attention) {
    return at::GradMode::is_enabled() ? features * attention : features.mul_(attention);
  };
  switch (options_.order) {
    case RgaOrder::sc: {
      const auto y = first(spatial(x));
      return times(y, channel(y));
    }
    case RgaOrder::cs: {
      const auto y = first(channel(x));
      return times(y, spatial(y));
    }
    case RgaOrder::parallel: break;
  }
  return times(first(spatial(x)), channel(x));
}

void RgaModule::fold_batch_norms() {
  for (const auto& attention : {spatial_, channel_}) {
    if (attention && !attention->folded()) attention->fold();
  }
}

}  // namespace reid::models
