// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/distance.hpp"

#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include "reid/core/error.hpp"
#include "reid/ops/wide_sum.hpp"
#include "support/catch.hpp"

using namespace reid::ops;
using torch::Tensor;

namespace {

const auto kMetrics = {Metric::cosine, Metric::euclidean};
const auto kProducts = {Product::aten, Product::onednn};

Tensor random(at::IntArrayRef sizes) { return torch::randn(sizes); }

/// Plain loops in float64.
Tensor oracle(const Tensor& x, const Tensor& y, Metric metric) {
  const Tensor a = x.to(torch::kFloat64), b = y.to(torch::kFloat64);
  Tensor out = torch::zeros({a.size(0), b.size(0)}, torch::kFloat64);
  for (int64_t i = 0; i < a.size(0); ++i) {
    for (int64_t j = 0; j < b.size(0); ++j) {
      const double dot = (a[i] * b[j]).sum().item<double>();
      const double norms = std::sqrt((a[i] * a[i]).sum().item<double>() * (b[j] * b[j]).sum().item<double>());
      out[i][j] = metric == Metric::cosine ? (norms > 0 ? 1 - dot / norms : 1.0) : (a[i] - b[j]).square().sum().item<double>();
    }
  }
  return out;
}

}  // namespace

TEST_CASE("distances worked by hand", "[ops][distance]") {
  // (3,4) to (3,4): 0 and 0. To (4,-3): orthogonal, cosine 1; squared 1 + 49 = 50. To (-6,-8): opposite, 2; 81 + 144 = 225.
  const Tensor x = torch::tensor({{3.f, 4.f}}), y = torch::tensor({{3.f, 4.f}, {4.f, -3.f}, {-6.f, -8.f}, {0.f, 0.f}});
  REQUIRE(pairwise_distance(x, y, Metric::euclidean).equal(torch::tensor({{0.f, 50.f, 225.f, 25.f}})));
  REQUIRE(pairwise_distance(x, y, Metric::cosine).allclose(torch::tensor({{0.f, 1.f, 2.f, 1.f}}), 0, 1e-6));
}

TEST_CASE("distances agree with loops in float64", "[ops][distance]") {
  torch::manual_seed(3);
  for (const auto& [n, m, d] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{
           {1, 1, 1}, {1, 9, 3}, {9, 1, 17}, {12, 7, 64}, {0, 5, 4}, {5, 0, 4}}) {
    const Tensor x = random({n, d}), y = random({m, 2 * d}).narrow(1, d, d);
    for (const auto metric : kMetrics) {
      const Tensor expected = oracle(x, y, metric);
      for (const auto product : kProducts) {
        const Tensor got = pairwise_distance(x, y, metric, product);
        REQUIRE(got.sizes() == expected.sizes());
        REQUIRE(got.scalar_type() == torch::kFloat32);
        REQUIRE(got.to(torch::kFloat64).allclose(expected, 1e-5, 1e-5));
      }
      const Tensor wide = pairwise_distance(x.to(torch::kFloat64), y.to(torch::kFloat64), metric);
      REQUIRE(wide.scalar_type() == torch::kFloat64);
      REQUIRE(wide.allclose(expected, 1e-12, 1e-12));
    }
  }
}

TEST_CASE("distances over many blocks agree with one product", "[ops][distance]") {
  torch::manual_seed(4);
  const Tensor x = random({DistanceRows::kRows * 2 + 3, 40}), y = random({DistanceRows::kColumns * 2 + 5, 40});
  const Tensor wide_x = x.to(torch::kFloat64), wide_y = y.to(torch::kFloat64);
  const Tensor expected = wide_x.square().sum(1, true) + wide_y.square().sum(1) - 2 * at::mm(wide_x, wide_y.t());
  for (const auto product : kProducts) {
    REQUIRE(pairwise_distance(x, y, Metric::euclidean, product).to(torch::kFloat64).allclose(expected, 1e-5, 1e-4));
  }
}

TEST_CASE("an entry is the same to the bit for any rows asked for and any number of threads", "[ops][distance]") {
  torch::manual_seed(5);
  const Tensor x = random({DistanceRows::kRows * 3 + 1, 130}), y = random({DistanceRows::kColumns + 77, 130});
  const int threads = at::get_num_threads();
  for (const auto metric : kMetrics) {
    for (const auto product : kProducts) {
      at::set_num_threads(1);
      const Tensor one = pairwise_distance(x, y, metric, product);
      if (product == Product::aten) {
        for (const int count : {2, 3}) {
          at::set_num_threads(count);
          REQUIRE(pairwise_distance(x, y, metric, product).equal(one));
          REQUIRE(pairwise_distance(x, y, metric).equal(one));  // what `automatic` takes
        }
      }
      const DistanceRows rows(x, y, metric, product);
      for (const int64_t step : {DistanceRows::kRows, 2 * DistanceRows::kRows}) {
        Tensor out = torch::empty({step, y.size(0)});
        for (int64_t begin = 0; begin < x.size(0); begin += step) {
          const int64_t end = std::min(begin + step, x.size(0));
          rows.compute(begin, end, out.data_ptr<float>());
          REQUIRE(out.narrow(0, 0, end - begin).equal(one.narrow(0, begin, end - begin)));
        }
      }
    }
  }
  at::set_num_threads(threads);
}

TEST_CASE("a small distance, too, doesn't depend on the number of threads", "[ops][distance]") {
  const Tensor x = random({3, 4096}), y = random({5, 4096});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Tensor one = pairwise_distance(x, y, Metric::cosine, Product::aten);
  at::set_num_threads(2);
  REQUIRE(pairwise_distance(x, y, Metric::cosine, Product::aten).equal(one));
  at::set_num_threads(threads);
}

TEST_CASE("squared distances of a set to itself are never negative", "[ops][distance]") {
  const Tensor x = random({50, 300}) * 0.01 + 100;
  const Tensor d = pairwise_distance(x, x, Metric::euclidean);
  REQUIRE(d.min().item<float>() >= 0);
}

TEST_CASE("distance gradients equal finite differences in float64", "[ops][distance][gradcheck]") {
  torch::manual_seed(6);
  const auto options = torch::dtype(torch::kFloat64);
  for (const auto metric : kMetrics) {
    Tensor x = torch::randn({4, 3}, options), y = torch::randn({5, 3}, options);
    const Tensor seed = torch::randn({4, 5}, options);
    const auto loss = [&](const Tensor& a, const Tensor& b) { return (pairwise_distance(a, b, metric) * seed).sum(); };
    const Tensor a = x.clone().requires_grad_(), b = y.clone().requires_grad_();
    loss(a, b).backward();
    constexpr double step = 1e-6;
    const auto check = [&](Tensor& moved, const Tensor& gradient) {
      for (int64_t i = 0; i < moved.numel(); ++i) {
        double* value = moved.data_ptr<double>() + i;
        const double kept = *value;
        *value = kept + step;
        const double up = loss(x, y).item<double>();
        *value = kept - step;
        const double down = loss(x, y).item<double>();
        *value = kept;
        REQUIRE(gradient.data_ptr<double>()[i] == Approx((up - down) / (2 * step)).margin(1e-7));
      }
    };
    check(x, a.grad().contiguous());
    check(y, b.grad().contiguous());
  }
}

TEST_CASE("a set against itself gathers both gradients, finite at distance 0", "[ops][distance]") {
  const Tensor x = torch::tensor({{1.0, 2.0}, {1.0, 2.0}, {4.0, -2.0}}).requires_grad_();
  pairwise_distance(x, x, Metric::euclidean).sum().backward();
  // d/dx_i of sum_jk |x_j - x_k|^2 = 4 sum_j (x_i - x_j): rows 4 * (-3, 4), the same, 4 * (6, -8)
  REQUIRE(x.grad().allclose(torch::tensor({{-12.0, 16.0}, {-12.0, 16.0}, {24.0, -32.0}}).to(x.dtype()), 1e-6, 1e-5));
}

TEST_CASE("half types and autocast accumulate in float32", "[ops][distance]") {
  torch::manual_seed(7);
  const Tensor x = random({6, 500}), y = random({7, 500});
  for (const auto type : {torch::kBFloat16, torch::kFloat16}) {
    const Tensor low_x = x.to(type), low_y = y.to(type);
    const Tensor got = pairwise_distance(low_x, low_y, Metric::euclidean);
    REQUIRE(got.scalar_type() == torch::kFloat32);
    REQUIRE(got.allclose(pairwise_distance(low_x.to(torch::kFloat32), low_y.to(torch::kFloat32), Metric::euclidean)));
    const Tensor leaf = low_x.clone().requires_grad_();
    pairwise_distance(leaf, low_y, Metric::cosine).sum().backward();
    REQUIRE(leaf.grad().scalar_type() == type);
  }
  const Tensor plain = pairwise_distance(x, y, Metric::euclidean, Product::aten);
  const Tensor leaf = x.clone().requires_grad_();
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const Tensor cast = pairwise_distance(leaf, y, Metric::euclidean, Product::aten);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  REQUIRE(cast.equal(plain));
}

TEST_CASE("rows that don't fit are named", "[ops][distance]") {
  REQUIRE_THROWS_WITH(pairwise_distance(torch::zeros({2, 3}), torch::zeros({2, 4}), Metric::cosine),
                      "pairwise_distance: y must be [M, 3] of the same type and device as [2, 3] float32 on cpu, got "
                      "[2, 4] float32 on cpu");
  REQUIRE_THROWS_AS(pairwise_distance(torch::zeros({2}), torch::zeros({2, 4}), Metric::cosine), reid::ShapeError);
  REQUIRE_THROWS_AS(DistanceRows(torch::zeros({2, 3}, torch::kFloat64), torch::zeros({2, 3}, torch::kFloat64), Metric::cosine),
                    reid::ShapeError);
  REQUIRE_THROWS_WITH(DistanceRows(torch::zeros({2, 3}), torch::zeros({4, 3}, torch::kFloat16), Metric::cosine),
                      "distance_rows: y must be [M, D] float32 on cpu, got [4, 3] float16 on cpu");
}

TEST_CASE("wide sums are added in one fixed order", "[ops]") {
  // Lane 0 takes numbers 0, 8 and, in the rest, 16 and 17: ((1e16 + 1) + -1e16) + 1 is 1, since 1e16 + 1 rounds to 1e16.
  std::vector<double> numbers(18, 0);
  numbers[0] = 1e16;
  numbers[8] = 1;
  numbers[16] = -1e16;
  numbers[17] = 1;
  CHECK(wide_sum(18, [&](int64_t k) { return numbers[static_cast<std::size_t>(k)]; }) == 1);
  // Lanes in pairs: (1e16 + 0) + (-1e16 + 1) is 0; one after the other would give 1.
  numbers = {1e16, 0, -1e16, 1, 0, 0, 0, 0};
  CHECK(wide_sum(8, [&](int64_t k) { return numbers[static_cast<std::size_t>(k)]; }) == 0);
  CHECK(wide_sum(0, [](int64_t) { return 1.0; }) == 0);
  const std::vector<float> x{1e20F, 3}, y{1e20F, 4};
  CHECK(wide_dot(x.data(), y.data(), 2) == static_cast<double>(1e20F) * static_cast<double>(1e20F) + 12);
}
