// SPDX-License-Identifier: Apache-2.0
#include "reid/losses/cross_entropy.hpp"

#include <torch/torch.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "gradcheck.hpp"
#include "reid/core/error.hpp"
#include "support/catch.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using losses::CrossEntropy;

namespace {

torch::Tensor loss(double smoothing, const torch::Tensor& logits, const torch::Tensor& labels) {
  return CrossEntropy({.label_smoothing = smoothing}).forward({{}, logits, labels});
}

double naive(double eps, const torch::Tensor& logits, const torch::Tensor& labels) {
  const auto rows = logits.size(0), classes = logits.size(1);
  double sum = 0;
  for (int64_t n = 0; n < rows; ++n) {
    double total = 0;
    for (int64_t k = 0; k < classes; ++k) total += std::exp(logits[n][k].item<double>());
    for (int64_t k = 0; k < classes; ++k) {
      const double target = (1 - eps) * (labels[n].item<int64_t>() == k) + eps / static_cast<double>(classes);
      sum -= target * (logits[n][k].item<double>() - std::log(total));
    }
  }
  return sum / static_cast<double>(rows);
}

}  // namespace

TEST_CASE("cross entropy of two classes by hand", "[losses]") {
  // z = (0, ln 3): p = (1/4, 3/4). Label 1: -ln(3/4) = 0.287682. Smoothing 0.2: target (0.1, 0.9):
  // -0.1 ln(1/4) - 0.9 ln(3/4) = 0.13862944 + 0.25891387 = 0.39754330.
  const auto logits = torch::tensor({{0.0, std::log(3.0)}}, torch::kFloat64);
  const auto labels = torch::tensor({1}, torch::kInt64);
  REQUIRE(loss(0, logits, labels).item<double>() == Approx(0.28768207).epsilon(1e-7));
  REQUIRE(loss(0.2, logits, labels).item<double>() == Approx(0.39754330).epsilon(1e-7));
}

TEST_CASE("cross entropy equals loops over rows and classes", "[losses]") {
  torch::manual_seed(1);
  const std::vector<std::pair<int64_t, int64_t>> sizes{{1, 1}, {1, 5}, {7, 2}, {16, 31}};
  for (const double eps : {0.0, 0.1, 1.0}) {
    for (const auto& [rows, classes] : sizes) {
      const auto logits = torch::randn({rows, classes}, torch::kFloat64) * 3;
      const auto labels = torch::randint(classes, {rows}, torch::kInt64);
      REQUIRE(loss(eps, logits, labels).item<double>() == Approx(naive(eps, logits, labels)).epsilon(1e-12).margin(1e-14));
    }
  }
}

TEST_CASE("cross entropy doesn't depend on the order of rows, nor on a shift of the logits", "[losses]") {
  torch::manual_seed(2);
  const auto logits = torch::randn({9, 4}, torch::kFloat64);
  const auto labels = torch::randint(4, {9}, torch::kInt64);
  const auto order = torch::randperm(9);
  const double value = loss(0.1, logits, labels).item<double>();
  REQUIRE(loss(0.1, logits.index_select(0, order), labels.index_select(0, order)).item<double>() == Approx(value).epsilon(1e-13));
  REQUIRE(loss(0.1, logits + 100.0, labels).item<double>() == Approx(value).epsilon(1e-11));
  REQUIRE(loss(0.0, torch::eye(4) * 1000, torch::arange(4)).item<double>() == 0.0);
}

TEST_CASE("an impossible class costs nothing without smoothing", "[losses]") {
  auto logits = torch::zeros({1, 3});
  logits[0][2] = -std::numeric_limits<float>::infinity();
  REQUIRE(loss(0, logits, torch::tensor({0}, torch::kInt64)).item<double>() == Approx(std::log(2.0)));
}

TEST_CASE("the gradient of cross entropy agrees with differences", "[losses]") {
  torch::manual_seed(3);
  const auto logits = torch::randn({5, 4}, torch::kFloat64);
  const auto labels = torch::randint(4, {5}, torch::kInt64);
  for (const double eps : {0.0, 0.1}) {
    REQUIRE(test::gradient_error([&](const torch::Tensor& x) { return loss(eps, x, labels); }, logits) < 1e-7);
  }
}

TEST_CASE("cross entropy refuses wrong input by name", "[losses]") {
  const auto logits = torch::zeros({2, 3});
  const auto labels = torch::zeros({2}, torch::kInt64);
  REQUIRE_THROWS_AS(loss(0, {}, labels), ShapeError);
  REQUIRE_THROWS_AS(loss(0, torch::zeros({2}), labels), ShapeError);
  REQUIRE_THROWS_AS(loss(0, torch::zeros({0, 3}), torch::zeros({0}, torch::kInt64)), ShapeError);
  REQUIRE_THROWS_WITH(loss(0, logits, torch::zeros({3}, torch::kInt64)), Contains("cross_entropy: labels must be [2] int64"));
  REQUIRE_THROWS_AS(loss(0, logits, labels.to(torch::kInt32)), ShapeError);
  REQUIRE_THROWS_WITH(loss(0, logits, labels + 3), Contains("0..2") && Contains("got 3"));
  REQUIRE_THROWS_WITH(loss(0, logits, labels - 1), Contains("got -1"));
}
