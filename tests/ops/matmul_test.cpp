// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/matmul.hpp"

#include <torch/torch.h>

#include <thread>

#include "reid/core/error.hpp"
#include "support/catch.hpp"

using namespace reid::ops;
using torch::Tensor;

namespace {

Tensor random(at::IntArrayRef sizes, torch::ScalarType type = torch::kFloat32) {
  return torch::randn(sizes, torch::dtype(torch::kFloat64)).to(type);
}

double worst(const Tensor& got, const Tensor& expected) {
  if (expected.numel() == 0) return got.sizes() == expected.sizes() ? 0 : 1e9;
  const Tensor wide = expected.to(torch::kFloat64);
  return ((got.to(torch::kFloat64) - wide).abs().max() / wide.abs().max().clamp_min(1e-30)).item<double>();
}

const auto kEvery = {Product::automatic, Product::aten, Product::onednn};

}  // namespace

TEST_CASE("a product worked by hand", "[ops][matmul]") {
  const Tensor a = torch::tensor({{1.f, 2.f}, {3.f, 4.f}}), b = torch::tensor({{5.f, 6.f}, {7.f, 8.f}});
  for (const auto product : kEvery) {
    REQUIRE(matmul(a, b, false, product).equal(torch::tensor({{19.f, 22.f}, {43.f, 50.f}})));
    REQUIRE(matmul(a, b, true, product).equal(torch::tensor({{17.f, 23.f}, {39.f, 53.f}})));
    REQUIRE(linear(a, b, torch::tensor({1.f, -1.f}), product).equal(torch::tensor({{18.f, 22.f}, {40.f, 52.f}})));
  }
}

TEST_CASE("both libraries agree with float64 for every size, stride and type", "[ops][matmul]") {
  torch::manual_seed(1);
  for (const auto& [m, k, n] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{
           {1, 1, 1}, {1, 7, 5}, {7, 1, 5}, {7, 5, 1}, {33, 129, 65}, {256, 300, 200}, {0, 4, 3}, {4, 0, 3}, {4, 3, 0}}) {
    for (const auto type : {torch::kFloat32, torch::kFloat64, torch::kBFloat16, torch::kFloat16}) {
      const Tensor a = random({m, k}, type), b = random({k, n}, type);
      const Tensor expected = at::mm(a.to(torch::kFloat64), b.to(torch::kFloat64));
      const double limit = type == torch::kFloat64 ? 1e-13 : type == torch::kFloat32 ? 2e-6 : 2e-2;
      const Tensor wide = random({m, 2 * k + 2}, type);
      const Tensor strided = wide.narrow(1, 1, k);  // rows apart
      const Tensor strided_expected = at::mm(strided.to(torch::kFloat64), b.to(torch::kFloat64));
      for (const auto product : kEvery) {
        INFO(m << " x " << k << " x " << n << " " << c10::toString(type));
        REQUIRE(worst(matmul(a, b, false, product), expected) <= limit);
        REQUIRE(worst(matmul(a, b.t().contiguous(), true, product), expected) <= limit);
        REQUIRE(worst(matmul(a.t().contiguous().t(), b, false, product), expected) <= limit);
        REQUIRE(worst(matmul(strided, b, false, product), strided_expected) <= limit);
        REQUIRE(matmul(a, b, false, product).scalar_type() == type);
      }
    }
  }
}

TEST_CASE("a weight that is a view or repeats a row is read as it lies", "[ops][matmul]") {
  const Tensor x = random({9, 20}), wide = random({6, 50});
  const Tensor repeated = random({1, 20}).expand({6, 20});
  for (const auto product : kEvery) {
    REQUIRE(worst(linear(x, wide.narrow(1, 13, 20), {}, product), at::mm(x, wide.narrow(1, 13, 20).t())) < 2e-6);
    REQUIRE(worst(linear(x, repeated, {}, product), at::mm(x, repeated.contiguous().t())) < 2e-6);
  }
}

TEST_CASE("linear takes batch dimensions", "[ops][matmul]") {
  const Tensor x = random({2, 3, 4, 5}), weight = random({7, 5}), bias = random({7});
  for (const auto product : kEvery) {
    const Tensor y = linear(x, weight, bias, product);
    REQUIRE(y.sizes() == at::IntArrayRef({2, 3, 4, 7}));
    REQUIRE(worst(y, at::linear(x, weight, bias)) < 2e-6);
    REQUIRE(linear(x.narrow(1, 0, 0), weight, bias, product).sizes() == at::IntArrayRef({2, 0, 4, 7}));
    REQUIRE(linear(x[0][0][0], weight, bias, product).sizes() == at::IntArrayRef({7}));
  }
}

TEST_CASE("gradients of product and bias are those of the plain formula", "[ops][matmul]") {
  torch::manual_seed(2);
  const Tensor x0 = random({300, 100}), w0 = random({80, 100}), b0 = random({80}), seed = random({300, 80});
  const auto gradients = [&](auto&& f) {
    std::vector<Tensor> leaves;
    for (const auto& leaf : {x0, w0, b0}) leaves.push_back(leaf.clone().requires_grad_());
    (f(leaves[0], leaves[1], leaves[2]) * seed).sum().backward();
    return std::vector<Tensor>{leaves[0].grad(), leaves[1].grad(), leaves[2].grad()};
  };
  const auto expected = gradients([](auto& x, auto& w, auto& b) { return at::addmm(b, x, w.t()); });
  for (const auto product : kEvery) {
    const auto got = gradients([&](auto& x, auto& w, auto& b) { return linear(x, w, b, product); });
    const auto plain = gradients([&](auto& x, auto& w, auto& b) { return matmul(x, w.t(), false, product) + b; });
    for (int i = 0; i < 3; ++i) {
      REQUIRE(worst(got[i], expected[i]) < 2e-6);
      REQUIRE(worst(plain[i], expected[i]) < 2e-6);
    }
  }
}

TEST_CASE("columns are multiplied as they lie, by either library", "[ops][matmul]") {
  const auto known = product_choices();
  const auto choose = [&](const char* product) {  // of the three products below: forward, gradient of x, gradient of the weight
    reid::Json list = reid::Json::array();
    for (const auto& [rows, inner, columns] : {std::tuple{256, 128, 128}, {128, 128, 256}, {128, 256, 128}}) {
      list.push_back({{"rows", rows}, {"inner", inner}, {"columns", columns}, {"layout", "columns x rows"},
                      {"threads", at::get_num_threads()}, {"product", product}, {"gflops", {{"aten", 1.0}, {"onednn", 1.0}}}});
    }
    restore_product_choices(list);
  };
  torch::manual_seed(3);
  for (const auto type : {torch::kFloat32, torch::kFloat64}) {
    for (const char* product : {"aten", "onednn"}) {
      choose(product);
      // A map in channels-last memory, seen as [B, positions, channels]; float32 is large enough for a choice.
      const Tensor x = random({2, 130, 16, 8}, type).contiguous(torch::MemoryFormat::ChannelsLast).flatten(2).transpose(1, 2).requires_grad_();
      const Tensor weight = random({96, 128}, type).requires_grad_();
      const Tensor y = linear_of_columns(x, weight);
      const Tensor plain_x = x.detach().contiguous().requires_grad_(), plain_weight = weight.detach().clone().requires_grad_();
      const Tensor expected = at::matmul(plain_x.transpose(1, 2), plain_weight.t());
      const double limit = type == torch::kFloat64 ? 1e-13 : 2e-6;
      CAPTURE(product, c10::toString(type));
      REQUIRE(worst(y, expected) <= limit);
      const Tensor outer = random({2, 130, 96}, type);
      const auto got = torch::autograd::grad({y}, {x, weight}, {outer});
      const auto wanted = torch::autograd::grad({expected}, {plain_x, plain_weight}, {outer});
      for (std::size_t i = 0; i < 2; ++i) REQUIRE(worst(got[i], wanted[i]) <= limit);
    }
  }
  restore_product_choices(known);
  REQUIRE(linear_of_columns(torch::zeros({0, 3, 4}), torch::zeros({5, 3})).sizes() == at::IntArrayRef({0, 4, 5}));
  REQUIRE_THROWS_AS(linear_of_columns(torch::zeros({2, 3, 4}), torch::zeros({5, 4})), reid::ShapeError);
  REQUIRE_THROWS_AS(linear_of_columns(torch::zeros({3, 4}), torch::zeros({5, 4})), reid::ShapeError);
}

TEST_CASE("a gradient is made only for what asks for one, and a summed gradient is read right", "[ops][matmul]") {
  const Tensor x = random({64, 40}), w = random({30, 40}).requires_grad_();
  const Tensor y = linear(x, w, {}, Product::onednn);
  y.sum().backward();  // the incoming gradient is one value, expanded
  REQUIRE(!x.grad().defined());
  REQUIRE(worst(w.grad(), x.sum(0, true).expand({30, 40})) < 2e-6);
  const torch::NoGradGuard guard;
  REQUIRE(!linear(x, w, {}, Product::onednn).requires_grad());
}

TEST_CASE("a choice is made once per shape class, recorded, and the same from every thread", "[ops][matmul]") {
  const Tensor a = random({200, 400}), b = random({300, 400});
  const auto chosen = [&] {
    for (const auto& choice : product_choices()) {
      if (choice["rows"] == 256 && choice["inner"] == 512 && choice["columns"] == 512) return choice;
    }
    return reid::Json();
  };
  const Tensor first = matmul(a, b, true);
  const auto choice = chosen();
  REQUIRE(choice.is_object());
  REQUIRE(choice["gflops"]["aten"].get<double>() > 0);
  const auto product = choice["product"].get<std::string>() == "aten" ? Product::aten : Product::onednn;
  REQUIRE(matmul(a, b, true, product).equal(first));
  const auto before = product_choices();
  std::vector<std::thread> threads;
  std::vector<uint8_t> same(8, 0);
  for (std::size_t i = 0; i < same.size(); ++i) {
    threads.emplace_back([&, i] { same[i] = worst(matmul(a, b, true), first) < 2e-6 ? 1 : 0; });
  }
  for (auto& thread : threads) thread.join();
  static_cast<void>(matmul(random({255, 500}), random({290, 500}), true));  // same class: 256 x 512 x 512
  REQUIRE(product_choices() == before);
  for (const auto one : same) REQUIRE(one == 1);
}

TEST_CASE("a fixed choice repeats to the bit", "[ops][matmul]") {
  const Tensor a = random({123, 456}), b = random({78, 456});
  for (const auto product : {Product::aten, Product::onednn}) {
    const Tensor once = matmul(a, b, true, product);
    for (int i = 0; i < 3; ++i) REQUIRE(matmul(a, b, true, product).equal(once));
  }
}

TEST_CASE("operands that don't fit are named", "[ops][matmul]") {
  const Tensor a = torch::zeros({3, 4});
  REQUIRE_THROWS_WITH(reid::ops::matmul(a, torch::zeros({5, 2})),
                      "matmul: b must be [4, N] of the same type and device as [3, 4] float32 on cpu, got [5, 2] "
                      "float32 on cpu");
  REQUIRE_THROWS_AS(reid::ops::matmul(a, torch::zeros({4, 2}, torch::kFloat64)), reid::ShapeError);
  REQUIRE_THROWS_AS(reid::ops::matmul(torch::zeros({3}), a), reid::ShapeError);
  REQUIRE_THROWS_AS(reid::ops::linear(a, torch::zeros({2, 5})), reid::ShapeError);
  REQUIRE_THROWS_AS(reid::ops::linear(a, torch::zeros({2, 4}), torch::zeros({3})), reid::ShapeError);
  REQUIRE_THROWS_AS(reid::ops::linear(torch::zeros({3, 4}, torch::kInt64), torch::zeros({2, 4})), reid::ShapeError);
}
