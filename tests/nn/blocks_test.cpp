// SPDX-License-Identifier: Apache-2.0
#include "reid/nn/blocks.hpp"

#include <torch/torch.h>

#include "reid/core/error.hpp"
#include "support/catch.hpp"

using namespace reid;
using namespace reid::nn;

namespace {

double difference(const torch::Tensor& a, const torch::Tensor& b) { return (a - b).abs().max().item<double>(); }

/// Central differences of f(x).sum() against autograd, in double.
void check_gradient(const std::function<torch::Tensor(const torch::Tensor&)>& f, torch::Tensor x) {
  x = x.to(torch::kFloat64).requires_grad_();
  const auto y = f(x);
  const auto weight = torch::arange(1, y.numel() + 1, torch::kFloat64).view(y.sizes());
  (y * weight).sum().backward();
  const auto gradient = x.grad().clone();
  const torch::NoGradGuard no_grad;
  const double step = 1e-6;
  auto flat = x.view(-1);
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const double old = flat[i].item<double>();
    flat[i] = old + step;
    const double up = (f(x) * weight).sum().item<double>();
    flat[i] = old - step;
    const double down = (f(x) * weight).sum().item<double>();
    flat[i] = old;
    REQUIRE(gradient.view(-1)[i].item<double>() == Approx((up - down) / (2 * step)).epsilon(1e-5).margin(1e-7));
  }
}

}  // namespace

TEST_CASE("global pooling of a map by hand", "[nn]") {
  // One picture, two channels of 1 x 2: (1, 2) and (3, -1).
  const auto x = torch::tensor({1., 2., 3., -1.}, torch::kFloat64).view({1, 2, 1, 2});
  GlobalPool avg(Pooling::avg), max(Pooling::max), gem(Pooling::gem);
  gem.to(torch::kFloat64);
  REQUIRE(torch::equal(avg.forward(x), torch::tensor({{1.5, 1.}}, torch::kFloat64)));
  REQUIRE(torch::equal(max.forward(x), torch::tensor({{2., 3.}}, torch::kFloat64)));
  // ((1 + 8) / 2)^(1/3) and, -1 raised to 1e-6, ((27 + 1e-18) / 2)^(1/3)
  REQUIRE(difference(gem.forward(x), torch::tensor({{std::cbrt(4.5), std::cbrt(13.5)}}, torch::kFloat64)) < 1e-12);
  REQUIRE(gem.named_parameters().contains("p"));
  REQUIRE(avg.parameters().empty());
}

TEST_CASE("GeM lies between the mean and the maximum and learns its power", "[nn]") {
  torch::manual_seed(1);
  const auto x = torch::rand({3, 4, 5, 2}, torch::kFloat64) + 0.1;
  GlobalPool gem(Pooling::gem);
  gem.to(torch::kFloat64);
  const auto y = gem.forward(x);
  REQUIRE((y >= x.mean({2, 3})).all().item<bool>());
  REQUIRE((y <= x.amax({2, 3})).all().item<bool>());
  y.sum().backward();
  REQUIRE(gem.parameters()[0].grad().abs().item<double>() > 0);
  check_gradient([&](const torch::Tensor& z) { return gem.forward(z); }, x.narrow(0, 0, 1).contiguous());
}

TEST_CASE("global pooling refuses what is not a map", "[nn]") {
  GlobalPool pool(Pooling::avg);
  REQUIRE_THROWS_AS(pool.forward(torch::zeros({2, 3, 4})), ShapeError);
  REQUIRE_THROWS_AS(pool.forward(torch::zeros({2, 3, 0, 4})), ShapeError);
  REQUIRE(pool.forward(torch::zeros({0, 3, 2, 4})).sizes() == torch::IntArrayRef({0, 3}));
}

TEST_CASE("the neck's beta stays 0", "[nn]") {
  auto neck = make_bn_neck(5);
  REQUIRE_FALSE(neck->bias.requires_grad());
  REQUIRE(neck->weight.requires_grad());
  REQUIRE(neck->bias.eq(0).all().item<bool>());
  REQUIRE(neck->weight.eq(1).all().item<bool>());
}

TEST_CASE("IBN-a normalises half of the channels per picture, half over the batch", "[nn]") {
  torch::manual_seed(2);
  const auto x = torch::randn({3, 7, 4, 5}, torch::kFloat64) * 2 + 1;
  IbnA block(7);
  block->to(torch::kFloat64);
  for (const auto format : {torch::MemoryFormat::Contiguous, torch::MemoryFormat::ChannelsLast}) {
    const auto y = block(x.contiguous(format));
    const auto a = x.narrow(1, 0, 3), b = x.narrow(1, 3, 4);
    const auto instance = (a - a.mean({2, 3}, true)) / (a.var({2, 3}, false, true) + 1e-5).sqrt();
    const auto batch = (b - b.mean({0, 2, 3}, true)) / (b.var({0, 2, 3}, false, true) + 1e-5).sqrt();
    REQUIRE(difference(y, torch::cat({instance, batch}, 1)) < 1e-10);
    REQUIRE(y.suggest_memory_format() == format);
  }
}

TEST_CASE("a folded batch norm gives the same values", "[nn]") {
  torch::manual_seed(3);
  for (const int64_t groups : {1, 4}) {
    for (const bool bias : {false, true}) {
      struct Owner : torch::nn::Module {
      } owner;
      auto conv = torch::nn::Conv2d(conv_options(4, 8, 3, 2, groups).bias(bias));
      auto bn = torch::nn::BatchNorm2d(8);
      owner.register_module("conv", conv);
      owner.register_module("bn", bn);
      const torch::NoGradGuard no_grad;
      bn->weight.uniform_(0.5, 2);
      bn->bias.normal_();
      bn->running_mean.normal_();
      bn->running_var.uniform_(0.2, 3);
      owner.eval();
      const auto x = torch::randn({2, 4, 9, 6});
      for (const auto act : {Activation::none, Activation::relu, Activation::relu6}) {
        CAPTURE(groups, bias, static_cast<int>(act));
        auto y = bn(conv(x));
        if (act != Activation::none) y = y.clamp_min(0);
        if (act == Activation::relu6) y = y.clamp_max(6);
        REQUIRE(difference(conv_bn_act(x, conv, bn, act), y) == 0);
      }
      const auto before = bn(conv(x));
      fold_batch_norm(owner, "bn", conv, bn);
      REQUIRE(bn.is_empty());
      REQUIRE_FALSE(owner.named_children().contains("bn"));
      REQUIRE(difference(conv_bn_act(x, conv, bn, Activation::none), before) < 1e-5);
      REQUIRE(difference(conv_bn_add_relu(x, conv, bn, before), (2 * before).clamp_min(0)) < 1e-5);
      fold_batch_norm(owner, "bn", conv, bn);
      REQUIRE(difference(conv(x), before) < 1e-5);
      // The folded bias follows the module to another type.
      owner.to(torch::kFloat64);
      REQUIRE(difference(conv(x.to(torch::kFloat64)), before) < 1e-5);
    }
  }
}

TEST_CASE("a bf16 convolution whose output is one position wide is near the float32 one", "[nn]") {
  // On a processor with AMX LibTorch's own reads memory that nobody wrote; CTest has malloc fill it (MALLOC_PERTURB_).
  torch::manual_seed(0);
  torch::nn::BatchNorm2d none{nullptr};
  for (const int64_t kernel : {1, 3, 7}) {
    for (const int64_t stride : {1, 2, 3}) {
      for (const int64_t width : {1, 2, 3, 4}) {
        CAPTURE(kernel, stride, width);
        torch::nn::Conv2d conv(conv_options(64, 128, kernel, stride));
        const auto x = torch::randn({15, 64, 8, width}).contiguous(torch::MemoryFormat::ChannelsLast);
        const torch::NoGradGuard no_grad;
        const auto expected = conv(x);
        conv->to(torch::kBFloat16);
        const auto y = conv_bn_act(x.to(torch::kBFloat16), conv, none, Activation::none);
        REQUIRE(y.sizes() == expected.sizes());
        REQUIRE(difference(y.to(torch::kFloat32), expected) < 0.02 * expected.abs().max().item<double>());
      }
    }
  }
}

TEST_CASE("apply_batch_norm works on every rank and counts training batches", "[nn]") {
  torch::manual_seed(4);
  torch::nn::BatchNorm2d bn(3), reference(3);
  const auto x = torch::randn({4, 3, 5});
  const auto y = apply_batch_norm(x, bn);
  REQUIRE(difference(y, reference(x.unsqueeze(-1)).squeeze(-1)) < 1e-6);
  REQUIRE(difference(bn->running_mean, reference->running_mean) < 1e-6);
  REQUIRE(difference(bn->running_var, reference->running_var) < 1e-6);
  REQUIRE(bn->num_batches_tracked.item<int64_t>() == 1);
  bn->eval();
  reference->eval();
  REQUIRE(difference(apply_batch_norm(x[0].t().contiguous(), bn), reference(x[0].t().unsqueeze(-1).unsqueeze(-1)).squeeze(-1).squeeze(-1)) < 1e-6);
  REQUIRE(bn->num_batches_tracked.item<int64_t>() == 1);
  torch::nn::BatchNorm2d none{nullptr};
  REQUIRE(torch::equal(apply_batch_norm(x, none), x));
}

TEST_CASE("channels-last weights keep their values and lead the features along", "[nn]") {
  torch::manual_seed(5);
  ConvBnAct block(conv_options(3, 6, 3), Activation::relu);
  block.eval();
  const torch::NoGradGuard no_grad;
  const auto x = torch::randn({2, 3, 8, 5});
  const auto before = block.forward(x);
  use_channels_last(block);
  REQUIRE(block.conv->weight.is_contiguous(torch::MemoryFormat::ChannelsLast));
  const auto after = block.forward(x);
  REQUIRE(after.is_contiguous(torch::MemoryFormat::ChannelsLast));
  REQUIRE(difference(before, after) < 1e-5);
  REQUIRE(block.named_parameters().contains("conv.weight"));
}
