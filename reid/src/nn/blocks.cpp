// SPDX-License-Identifier: Apache-2.0
#include "reid/nn/blocks.hpp"

#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include "reid/ops/check.hpp"

namespace reid::nn {

namespace F = torch::nn::functional;

torch::Tensor mean_of_positions(const torch::Tensor& x) {
  if (x.suggest_memory_format() != torch::MemoryFormat::ChannelsLast) return x.mean({2, 3});
  return x.permute({0, 2, 3, 1}).flatten(1, 2).mean(1);
}

GlobalPool::GlobalPool(Pooling kind) : kind_(kind) {
  if (kind_ == Pooling::gem) p_ = register_parameter("p", torch::full({1}, 3.0));
}

torch::Tensor GlobalPool::forward(const torch::Tensor& x) {
  ops::check_rank(x, "global pooling", "features", 4, "[N, C, H, W] float");
  REID_CHECK(x.size(2) * x.size(3) > 0, ShapeError,
             "global pooling: features must be [N, C, H, W] float with at least one position, got " +
                 ops::describe(x));
  switch (kind_) {
    case Pooling::avg: return mean_of_positions(x);
    case Pooling::max: return x.amax({2, 3});
    case Pooling::gem: break;
  }
  constexpr double kEpsilon = 1e-6;
  const auto p = p_.clamp_min(kEpsilon);
  return mean_of_positions(x.clamp_min(kEpsilon).pow(p)).pow(p.reciprocal());
}

torch::nn::BatchNorm1d make_bn_neck(int64_t features) {
  torch::nn::BatchNorm1d neck(features);
  neck->bias.set_requires_grad(false);
  return neck;
}

IbnAImpl::IbnAImpl(int64_t channels) : half_(channels / 2) {
  in_ = register_module("IN", torch::nn::InstanceNorm2d(torch::nn::InstanceNorm2dOptions(half_).affine(true)));
  bn_ = register_module("BN", torch::nn::BatchNorm2d(channels - half_));
}

torch::Tensor IbnAImpl::forward(const torch::Tensor& x) {
  const auto format = x.suggest_memory_format();
  return torch::cat({in_(x.narrow(1, 0, half_).contiguous(format)).contiguous(format),
                     bn_(x.narrow(1, half_, x.size(1) - half_).contiguous(format))},
                    1);
}

torch::nn::Conv2dOptions conv_options(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t groups) {
  return torch::nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).groups(groups).bias(false);
}

namespace {

void count_batch(torch::nn::BatchNorm2dImpl& bn) {
  if (bn.is_training() && bn.num_batches_tracked.defined()) bn.num_batches_tracked += 1;
}

bool is_bf16_on_cpu(const torch::Tensor& x) {
  if (!x.device().is_cpu()) return false;
  return x.scalar_type() == torch::kBFloat16 ||
         (at::autocast::is_autocast_enabled(at::kCPU) && at::autocast::get_autocast_dtype(at::kCPU) == torch::kBFloat16);
}

/// conv(x) for explicit padding. The bf16 convolution of processors with AMX (oneDNN's, as LibTorch 2.11 has it) reads memory that nobody
/// wrote where a strided kernel's output is one position wide: the features of a picture 16 wide are then anything. Zeros
/// at the right, as many as make a second position, keep away from that; what they add is cut off.
torch::Tensor convolve(const torch::Tensor& x, torch::nn::Conv2d& conv) {
  const auto& options = conv->options;
  const auto* padding = std::get_if<torch::ExpandingArray<2>>(&options.padding());
  const int64_t stride = options.stride()->at(1);
  if (padding == nullptr || stride == 1 || options.kernel_size()->at(1) == 1 || !is_bf16_on_cpu(x)) return conv(x);
  const int64_t reach = options.dilation()->at(1) * (options.kernel_size()->at(1) - 1);
  if (x.size(3) + 2 * (*padding)->at(1) - reach - 1 >= stride) return conv(x);
  return conv(torch::constant_pad_nd(x, {0, stride})).narrow(3, 0, 1);
}

}  // namespace

torch::Tensor batch_norm_act(torch::Tensor x, torch::nn::BatchNorm2d& bn, Activation act, const torch::Tensor& shortcut) {
  if (bn && bn->is_training()) {
    count_batch(*bn);
    return ops::batch_norm_act(x,
                               {.weight = bn->weight,
                                .bias = bn->bias,
                                .running_mean = bn->running_mean,
                                .running_var = bn->running_var,
                                .momentum = bn->options.momentum().value(),
                                .eps = bn->options.eps()},
                               act, shortcut);
  }
  if (bn) x = bn(x);
  if (shortcut.defined()) x = x.add_(shortcut);
  return ops::activate_(std::move(x), act);
}

torch::Tensor apply_batch_norm(const torch::Tensor& x, torch::nn::BatchNorm2d& bn) {
  if (!bn) return x;
  count_batch(*bn);
  return torch::batch_norm(x, bn->weight, bn->bias, bn->running_mean, bn->running_var, bn->is_training(),
                           bn->options.momentum().value(), bn->options.eps(), at::globalContext().userEnabledCuDNN());
}

ConvBnAct::ConvBnAct(const torch::nn::Conv2dOptions& options, Activation act, const char* conv_name,
                     const char* bn_name)
    : act_(act), bn_name_(bn_name) {
  conv = register_module(conv_name, torch::nn::Conv2d(options));
  bn = register_module(bn_name, torch::nn::BatchNorm2d(options.out_channels()));
}

torch::Tensor conv_bn_act(const torch::Tensor& x, torch::nn::Conv2d& conv, torch::nn::BatchNorm2d& bn,
                          Activation act) {
  return batch_norm_act(convolve(x, conv), bn, act);
}

torch::Tensor conv_bn_add_relu(const torch::Tensor& x, torch::nn::Conv2d& conv, torch::nn::BatchNorm2d& bn,
                               const torch::Tensor& shortcut) {
  return batch_norm_act(convolve(x, conv), bn, Activation::relu, shortcut);
}

void fold_batch_norm(torch::nn::Module& owner, const char* bn_name, torch::nn::Conv2d& conv,
                     torch::nn::BatchNorm2d& bn) {
  if (!bn) return;
  const torch::NoGradGuard no_grad;
  // Double, so that folding itself adds one rounding only.
  const auto scale = bn->weight.to(torch::kFloat64) *
                     (bn->running_var.to(torch::kFloat64) + bn->options.eps()).rsqrt();
  auto bias = bn->bias.to(torch::kFloat64) - bn->running_mean.to(torch::kFloat64) * scale;
  if (conv->bias.defined()) bias += conv->bias.to(torch::kFloat64) * scale;
  const auto weight = conv->weight.to(torch::kFloat64) * scale.view({-1, 1, 1, 1});
  conv->weight.copy_(weight);
  const auto new_bias = bias.to(conv->weight.scalar_type());
  if (conv->bias.defined()) {
    conv->bias.copy_(new_bias);
  } else {
    // LibTorch holds an undefined parameter "bias" that can't be registered again; a buffer follows moves all the same.
    conv->bias = conv->register_buffer("folded_bias", new_bias);
  }
  owner.unregister_module(bn_name);
  bn = nullptr;
}

namespace {

/// Calls `visit` with every convolution of a module, itself included.
template <class Visit>
void each_convolution(torch::nn::Module& module, const Visit& visit) {
  if (auto* conv = module.as<torch::nn::Conv2d>()) visit(*conv);
  for (const auto& child : module.children()) each_convolution(*child, visit);
}

}  // namespace

void init_convolutions(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  each_convolution(module, [](torch::nn::Conv2dImpl& conv) {
    torch::nn::init::kaiming_normal_(conv.weight, 0, torch::kFanOut, torch::kReLU);
    if (conv.bias.defined()) conv.bias.zero_();
  });
}

void use_channels_last(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  each_convolution(module, [](torch::nn::Conv2dImpl& conv) {
    conv.weight.set_data(conv.weight.contiguous(torch::MemoryFormat::ChannelsLast));
  });
}

}  // namespace reid::nn
