// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/batch_norm.hpp"

#include <torch/torch.h>

#include <limits>

#include "reid/core/error.hpp"
#include "support/catch.hpp"

using reid::ops::Activation, reid::ops::batch_norm_act, reid::ops::BatchNormState;
using Catch::Matchers::Contains;
using torch::Tensor;

namespace {

constexpr auto kLast = torch::MemoryFormat::ChannelsLast;

struct Case {
  std::vector<int64_t> sizes;
  Activation act;
  bool shortcut;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  // One channel; odd sizes; rows that don't fill a block; several blocks; more channels than a block's values.
  for (const std::vector<int64_t>& sizes : {std::vector<int64_t>{2, 1, 1, 1}, {3, 5, 7, 3}, {4, 16, 9, 11}, {6, 96, 32, 16},
                                            {1, 17, 2, 1}, {2, 33000, 2, 1}}) {
    for (const auto act : {Activation::none, Activation::relu, Activation::relu6}) {
      for (const bool shortcut : {false, true}) all.push_back({sizes, act, shortcut});
    }
  }
  return all;
}

BatchNormState state_of(int64_t channels, torch::ScalarType type = torch::kFloat32) {
  const auto options = torch::dtype(type);
  return {.weight = torch::randn({channels}, options).requires_grad_(),
          .bias = torch::randn({channels}, options).requires_grad_(),
          .running_mean = torch::randn({channels}, options),
          .running_var = torch::rand({channels}, options),
          .momentum = 0.3,
          .eps = 1e-3};
}

BatchNormState as_double(const BatchNormState& from) {
  const auto leaf = [](const Tensor& t) { return t.detach().to(torch::kFloat64, false, true).requires_grad_(); };
  return {.weight = leaf(from.weight),
          .bias = leaf(from.bias),
          .running_mean = from.running_mean.to(torch::kFloat64, false, true),
          .running_var = from.running_var.to(torch::kFloat64, false, true),
          .momentum = from.momentum,
          .eps = from.eps};
}

/// From the definition, in the type of x.
Tensor oracle(const Tensor& x, const BatchNormState& state, Activation act, const Tensor& shortcut) {
  const auto wide = [](const Tensor& t) { return t.view({1, -1, 1, 1}); };
  const auto mean = x.mean({0, 2, 3}), var = x.var({0, 2, 3}, /*unbiased=*/false);
  Tensor z = (x - wide(mean)) / (wide(var) + state.eps).sqrt() * wide(state.weight) + wide(state.bias);
  if (shortcut.defined()) z = z + shortcut;
  const torch::NoGradGuard no_grad;
  const double rows = static_cast<double>(x.numel() / x.size(1));
  state.running_mean.mul_(1 - state.momentum).add_(mean, state.momentum);
  state.running_var.mul_(1 - state.momentum).add_(var * (rows / (rows - 1)), state.momentum);
  const at::AutoGradMode with_grad(true);
  return act == Activation::relu ? z.clamp_min(0) : act == Activation::relu6 ? z.clamp(0, 6) : z;
}

double worst(const Tensor& got, const Tensor& expected) {
  const double scale = std::max(expected.abs().max().item<double>(), 1e-30);
  return (got.to(torch::kFloat64) - expected).abs().max().item<double>() / scale;
}

}  // namespace

TEST_CASE("batch norm and activation of four values by hand", "[ops]") {
  // Mean 3, variance 5: z = 2 (x - 3) / sqrt(5 + 4) + 1.
  const auto x = torch::tensor({0.0, 2.0, 4.0, 6.0}, torch::kFloat32).view({1, 1, 2, 2}).contiguous(kLast);
  BatchNormState state{.weight = torch::full({1}, 2.0),
                       .bias = torch::full({1}, 1.0),
                       .running_mean = torch::zeros({1}),
                       .running_var = torch::ones({1}),
                       .momentum = 0.1,
                       .eps = 4.0};
  const auto y = batch_norm_act(x, state, Activation::relu);
  CHECK(torch::allclose(y.flatten(), torch::tensor({0.0, 1.0 / 3.0, 5.0 / 3.0, 3.0}, torch::kFloat32)));
  CHECK(state.running_mean.item<float>() == Approx(0.3));
  CHECK(state.running_var.item<float>() == Approx(0.9 + 0.1 * 20.0 / 3.0));
}

TEST_CASE("batch norm and activation equal the definition, gradients and running statistics too", "[ops]") {
  const auto format = GENERATE(torch::MemoryFormat::ChannelsLast, torch::MemoryFormat::Contiguous);
  for (const auto& [sizes, act, with_shortcut] : cases()) {
    torch::manual_seed(3);
    CAPTURE(sizes, static_cast<int>(act), with_shortcut, static_cast<int>(format));
    // A large mean beside the spread, as a sum of squares would lose it.
    const auto make = [&](double mean) { return (torch::randn(sizes) * 3 + mean).contiguous(format).requires_grad_(); };
    const auto x = make(20), shortcut = with_shortcut ? make(0) : Tensor();
    const auto state = state_of(sizes[1]);
    const auto wide = as_double(state);
    const auto leaf = [](const Tensor& t) { return t.defined() ? t.detach().to(torch::kFloat64).requires_grad_() : Tensor(); };
    const auto wide_x = leaf(x), wide_shortcut = leaf(shortcut);

    const auto y = batch_norm_act(x, state, act, shortcut);
    const auto expected = oracle(wide_x, wide, act, wide_shortcut);
    CHECK(y.is_contiguous(format));
    CHECK(worst(y, expected) < 2e-5);
    CHECK(worst(state.running_mean, wide.running_mean) < 1e-6);
    CHECK(worst(state.running_var, wide.running_var) < 1e-5);

    // A gradient that lies the other way must be taken too.
    const auto seed = torch::randn(sizes);
    y.backward(seed);
    expected.backward(seed.to(torch::kFloat64));
    // With two values a channel's gradient by x is the small rest of large numbers.
    const bool tiny = x.numel() / x.size(1) <= 2;
    if (!tiny) CHECK(worst(x.grad(), wide_x.grad()) < 1e-4);
    CHECK(worst(state.bias.grad(), wide.bias.grad()) < 1e-5);
    CHECK(worst(state.weight.grad(), wide.weight.grad()) < 1e-4);
    if (with_shortcut) CHECK(worst(shortcut.grad(), wide_shortcut.grad()) < 1e-6);
  }
}

TEST_CASE("batch norm gives the same bits for any number of threads", "[ops]") {
  const auto x = torch::randn({9, 24, 31, 17}).contiguous(kLast), seed = torch::randn({9, 24, 31, 17});
  std::vector<Tensor> first;
  for (const int threads : {1, 2, 5}) {
    at::set_num_threads(threads);
    torch::manual_seed(5);
    const auto state = state_of(24);
    const auto input = x.detach().clone().requires_grad_();
    const auto y = batch_norm_act(input, state, Activation::relu6);
    y.backward(seed);
    const std::vector<Tensor> now{y.detach(), input.grad(), state.weight.grad(), state.bias.grad(), state.running_var};
    if (first.empty()) first = now;
    for (std::size_t i = 0; i < now.size(); ++i) CHECK(torch::equal(now[i], first[i]));
  }
  at::set_num_threads(2);
}

TEST_CASE("batch norm lets a NaN through, needs no gradient and refuses a second derivative", "[ops]") {
  auto x = torch::randn({2, 3, 4, 4}).contiguous(kLast);
  auto state = state_of(3);
  {
    const torch::NoGradGuard no_grad;
    CHECK_FALSE(batch_norm_act(x, state, Activation::relu).requires_grad());
    auto bad = x.clone();
    bad[0][1][0][0] = std::numeric_limits<float>::quiet_NaN();
    const auto y = batch_norm_act(bad, state, Activation::relu6);
    CHECK(y.select(1, 1).isnan().all().item<bool>());
    CHECK_FALSE(y.select(1, 0).isnan().any().item<bool>());
  }
  x.requires_grad_();
  const auto y = batch_norm_act(x, state, Activation::relu);
  CHECK_THROWS_WITH(torch::autograd::grad({y.sum()}, {x}, {}, true, /*create_graph=*/true),
                    Contains("must be taken once"));
}

TEST_CASE("batch norm refuses what doesn't fit", "[ops]") {
  const auto x = torch::randn({2, 3, 4, 4});
  const auto refuses = [](const Tensor& map, const BatchNormState& state, const Tensor& shortcut, const std::string& message) {
    CHECK_THROWS_AS(batch_norm_act(map, state, Activation::relu, shortcut), reid::ShapeError);
    CHECK_THROWS_WITH(batch_norm_act(map, state, Activation::relu, shortcut), Contains(message));
  };
  refuses(x[0], state_of(3), {}, "x must be [N, C, H, W] float, got [3, 4, 4]");
  refuses(x, state_of(4), {}, "weight must be [3] on cpu, got [4]");
  refuses(x, state_of(3), torch::randn({2, 3, 4, 5}), "shortcut must be as x");
  refuses(torch::randn({1, 3, 1, 1}), state_of(3), {}, "N H W above 1");
}
