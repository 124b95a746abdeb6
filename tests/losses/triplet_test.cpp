// SPDX-License-Identifier: Apache-2.0
#include "reid/losses/triplet.hpp"

#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "gradcheck.hpp"
#include "reid/core/error.hpp"
#include "support/catch.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using losses::Triplet;

namespace {

torch::Tensor loss(std::optional<double> margin, const torch::Tensor& x, const torch::Tensor& labels) {
  return Triplet({.margin = margin}).forward({x, {}, labels});
}

double naive(std::optional<double> margin, const torch::Tensor& x, const torch::Tensor& labels) {
  const auto count = x.size(0);
  double sum = 0;
  for (int64_t a = 0; a < count; ++a) {
    double positive = 0, negative = 1e300;
    for (int64_t j = 0; j < count; ++j) {
      const double d = std::sqrt(std::max((x[a] - x[j]).square().sum().item<double>(), 1e-12));
      if (labels[a].item<int64_t>() == labels[j].item<int64_t>()) {
        positive = std::max(positive, d);
      } else {
        negative = std::min(negative, d);
      }
    }
    const double gap = positive - negative;
    sum += margin ? std::max(0.0, gap + *margin) : std::log1p(std::exp(gap));
  }
  return sum / static_cast<double>(count);
}

}  // namespace

TEST_CASE("the triplet loss of four points on a line by hand", "[losses]") {
  // Points 0, 2 (identity 7) and 3, 7 (identity 9), margin 0.5.
  //   anchor 0: farthest own 2, nearest other 3: 2 - 3 + 0.5 -> 0
  //   anchor 2: 2, 1: 1.5      anchor 3: 4, 1: 3.5      anchor 7: 4, 5: 0     mean 5 / 4 = 1.25
  // Soft: ln(1+e^-1) + ln(1+e^1) + ln(1+e^3) + ln(1+e^-1) = 0.313262 + 1.313262 + 3.048587 + 0.313262, over 4.
  const auto x = torch::tensor({{0.0}, {2.0}, {3.0}, {7.0}}, torch::kFloat64);
  const auto labels = torch::tensor({7, 7, 9, 9}, torch::kInt64);
  REQUIRE(loss(0.5, x, labels).item<double>() == Approx(1.25).epsilon(1e-12));
  REQUIRE(loss(std::nullopt, x, labels).item<double>() == Approx(1.2470932).epsilon(1e-7));
}

TEST_CASE("anchors against other targets by hand", "[losses]") {
  // Anchors 0, 2 (identity 7) and 3 (identity 9); targets 1, 5 and 4, margin 0.5.
  //   anchor 0: farthest own 5, nearest other 4: 5 - 4 + 0.5      anchor 2: 3, 2: 1.5      anchor 3: 1, 2: 0 (own 4; others 1, 5)
  const auto x = torch::tensor({{0.0}, {2.0}, {3.0}}, torch::kFloat64), t = torch::tensor({{1.0}, {5.0}, {4.0}}, torch::kFloat64);
  const auto labels = torch::tensor({7, 7, 9}, torch::kInt64);
  REQUIRE(losses::batch_hard_triplet(x, t, labels, 0.5).item<double>() == Approx(1.0).epsilon(1e-12));
  REQUIRE(losses::batch_hard_triplet(x, x, labels, 0.5).equal(loss(0.5, x, labels)));
  torch::manual_seed(3);
  const auto targets = torch::randn({3, 4}, torch::kFloat64);
  const auto error = test::gradient_error(
      [&](const torch::Tensor& v) { return losses::batch_hard_triplet(v, targets, labels, 3.0); }, torch::randn({3, 4}, torch::kFloat64));
  REQUIRE(error < 1e-7);
  REQUIRE_THROWS_WITH(losses::batch_hard_triplet(x, t.narrow(0, 0, 2), labels, 0.5), Contains("targets must be like the embeddings"));
}

TEST_CASE("the triplet loss equals loops over pairs", "[losses]") {
  torch::manual_seed(4);
  for (const std::optional<double> margin : {std::optional<double>(0.0), std::optional<double>(0.3), std::optional<double>()}) {
    for (const int64_t width : {1, 5}) {
      const auto x = torch::randn({11, width}, torch::kFloat64);
      const auto labels = torch::tensor({3, 3, 3, 3, 5, 5, 1, 1, 1, 8, 5}, torch::kInt64);  // 8 stands alone
      REQUIRE(loss(margin, x, labels).item<double>() == Approx(naive(margin, x, labels)).epsilon(1e-9));
    }
  }
}

TEST_CASE("the triplet loss doesn't depend on order, label numbers or a common shift", "[losses]") {
  torch::manual_seed(5);
  const auto x = torch::randn({8, 3}, torch::kFloat64);
  const auto labels = torch::tensor({0, 0, 1, 1, 2, 2, 3, 3}, torch::kInt64);
  const double value = loss(0.3, x, labels).item<double>();
  const auto order = torch::randperm(8);
  REQUIRE(loss(0.3, x.index_select(0, order), labels.index_select(0, order)).item<double>() == Approx(value).epsilon(1e-12));
  REQUIRE(loss(0.3, x, labels * -17 + 4).item<double>() == value);
  REQUIRE(loss(0.3, x + 1.0, labels).item<double>() == Approx(value).epsilon(1e-9));
}

TEST_CASE("the triplet loss is 0 on separated clusters and its gradient too", "[losses]") {
  auto x = torch::tensor({{0.0, 0.0}, {0.1, 0.0}, {9.0, 9.0}, {9.0, 9.1}}, torch::kFloat64).requires_grad_(true);
  const auto value = loss(0.3, x, torch::tensor({0, 0, 1, 1}, torch::kInt64));
  value.backward();
  REQUIRE(value.item<double>() == 0.0);
  REQUIRE(x.grad().abs().max().item<double>() == 0.0);
}

TEST_CASE("equal features give the margin and a finite gradient", "[losses]") {
  for (const std::optional<double> margin : {std::optional<double>(0.3), std::optional<double>()}) {
    auto x = torch::ones({4, 3}).requires_grad_(true);
    const auto value = loss(margin, x, torch::tensor({0, 0, 1, 1}, torch::kInt64));
    value.backward();
    REQUIRE(value.item<double>() == Approx(margin ? 0.3 : std::log(2.0)));
    REQUIRE(x.grad().isfinite().all().item<bool>());
  }
}

TEST_CASE("the gradient of the triplet loss agrees with differences", "[losses]") {
  torch::manual_seed(6);
  const auto x = torch::randn({9, 4}, torch::kFloat64);
  const auto labels = torch::tensor({0, 0, 0, 1, 1, 1, 2, 2, 2}, torch::kInt64);
  for (const std::optional<double> margin : {std::optional<double>(0.3), std::optional<double>()}) {
    REQUIRE(test::gradient_error([&](const torch::Tensor& v) { return loss(margin, v, labels); }, x) < 1e-7);
  }
}

TEST_CASE("half precision is computed in float32", "[losses]") {
  torch::manual_seed(7);
  const auto x = torch::randn({8, 16}).to(torch::kBFloat16);
  const auto labels = torch::tensor({0, 0, 1, 1, 2, 2, 3, 3}, torch::kInt64);
  REQUIRE(loss(0.3, x, labels).item<double>() == loss(0.3, x.to(torch::kFloat32), labels).item<double>());
  const auto exact = torch::randn({8, 16}) + 100.0;  // far from 0: half precision has no digits for the differences
  const double value = loss(0.3, exact, labels).item<double>();
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const double inside = loss(0.3, exact, labels).item<double>();
  at::autocast::set_autocast_enabled(at::kCPU, false);
  REQUIRE(inside == value);
}

TEST_CASE("the triplet loss refuses wrong input by name", "[losses]") {
  const auto x = torch::zeros({4, 2});
  REQUIRE_THROWS_WITH(loss(0.3, x, torch::full({4}, 3, torch::kInt64)), Contains("two identities") && Contains("4 pictures of one"));
  REQUIRE_THROWS_AS(loss(0.3, {}, torch::zeros({4}, torch::kInt64)), ShapeError);
  REQUIRE_THROWS_AS(loss(0.3, torch::zeros({4}), torch::zeros({4}, torch::kInt64)), ShapeError);
  REQUIRE_THROWS_AS(loss(0.3, torch::zeros({4, 2}, torch::kInt64), torch::zeros({4}, torch::kInt64)), ShapeError);
  REQUIRE_THROWS_WITH(loss(0.3, x, torch::zeros({3}, torch::kInt64)), Contains("triplet: labels must be [4] int64"));
}
