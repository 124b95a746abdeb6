// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/relation.hpp"

#include <torch/torch.h>

#include "reid/core/error.hpp"
#include "support/catch.hpp"

using reid::ops::kFactoredNodes, reid::ops::Product, reid::ops::relation_path, reid::ops::RelationPath;
using torch::Tensor;

namespace {

struct Case {
  int64_t batch, nodes, rank, outputs;
};

const std::vector<Case> kCases{{1, 1, 1, 1},   {2, 1, 3, 2},     {2, 4, 1, 1},    {1, 4, 6, 3},   {3, 7, 2, 5},   {2, 7, 9, 1},
                               {2, 128, 16, 8}, {1, 128, 160, 4}, {1, 512, 64, 64}, {2, 512, 8, 1}, {1, 512, 600, 3}};

std::vector<Tensor> inputs(const Case& sizes, torch::ScalarType type) {
  const auto options = torch::dtype(torch::kFloat64);
  return {torch::randn({sizes.batch, sizes.rank, sizes.nodes}, options).relu().to(type),
          torch::randn({sizes.batch, sizes.rank, sizes.nodes}, options).relu().to(type),
          torch::randn({sizes.outputs, 2 * sizes.nodes}, options).to(type)};
}

Tensor of_pair(const Tensor& theta, const Tensor& phi, const Tensor& weight, RelationPath path = RelationPath::automatic,
                Product product = Product::automatic) {
  return reid::ops::relation(torch::cat({theta, phi}, 1), weight, path, product);
}

/// Output and the three gradients.
std::vector<Tensor> run(const std::vector<Tensor>& values, const Tensor& seed, RelationPath path,
                        Product product = Product::automatic) {
  std::vector<Tensor> leaves;
  for (const auto& value : values) leaves.push_back(value.clone().requires_grad_());
  const Tensor out = of_pair(leaves[0], leaves[1], leaves[2], path, product);
  (out * seed).sum().backward();
  return {out.detach(), leaves[0].grad(), leaves[1].grad(), leaves[2].grad()};
}

double worst(const Tensor& got, const Tensor& expected) {
  const double scale = std::max(expected.abs().max().item<double>(), 1e-30);
  return (got - expected).abs().max().item<double>() / scale;
}

/// Three nested loops over the definition: channel q at position p is <theta_p, phi_q>, then <theta_q, phi_p>.
Tensor loops(const Tensor& theta, const Tensor& phi, const Tensor& weight) {
  const int64_t batch = theta.size(0), rank = theta.size(1), nodes = theta.size(2), outputs = weight.size(0);
  Tensor out = torch::zeros({batch, outputs, nodes}, torch::kFloat64);
  const auto t = theta.accessor<double, 3>(), f = phi.accessor<double, 3>();
  const auto w = weight.accessor<double, 2>();
  auto o = out.accessor<double, 3>();
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t p = 0; p < nodes; ++p) {
      for (int64_t q = 0; q < nodes; ++q) {
        double first = 0, second = 0;
        for (int64_t c = 0; c < rank; ++c) {
          first += t[b][c][p] * f[b][c][q];
          second += t[b][c][q] * f[b][c][p];
        }
        for (int64_t m = 0; m < outputs; ++m) o[b][m][p] += w[m][q] * first + w[m][nodes + q] * second;
      }
    }
  }
  return out;
}

}  // namespace

TEST_CASE("the relation of two nodes worked by hand", "[ops][relation]") {
  // r = 1, theta = (1, 2), phi = (3, 5), m = 1, W = [1, 10 | 100, 1000].
  // p = 0: first block <theta_0, phi_q> = 3, 5; second <theta_q, phi_0> = 3, 6: 3 + 50 + 300 + 6000 = 6353
  // p = 1: first 6, 10; second 5, 10: 6 + 100 + 500 + 10000 = 10606
  const Tensor theta = torch::tensor({1.0, 2.0}).view({1, 1, 2}), phi = torch::tensor({3.0, 5.0}).view({1, 1, 2});
  const Tensor weight = torch::tensor({1.0, 10.0, 100.0, 1000.0}).view({1, 4});
  const Tensor expected = torch::tensor({6353.0, 10606.0}).view({1, 1, 2});
  REQUIRE(of_pair(theta, phi, weight, RelationPath::dense).equal(expected));
  REQUIRE(of_pair(theta, phi, weight, RelationPath::factored).equal(expected));
}

TEST_CASE("the dense relation is the definition, loop by loop", "[ops][relation]") {
  torch::manual_seed(1);
  for (const auto& sizes : kCases) {
    if (sizes.nodes > 128) continue;
    const auto in = inputs(sizes, torch::kFloat64);
    REQUIRE(worst(of_pair(in[0], in[1], in[2], RelationPath::dense), loops(in[0], in[1], in[2])) < 1e-12);
  }
}

TEST_CASE("factored equals dense, outputs and every gradient", "[ops][relation]") {
  torch::manual_seed(2);
  for (const auto& sizes : kCases) {
    INFO("B " << sizes.batch << " N " << sizes.nodes << " r " << sizes.rank << " m " << sizes.outputs);
    const auto in = inputs(sizes, torch::kFloat64);
    const Tensor seed = torch::randn({sizes.batch, sizes.outputs, sizes.nodes}, torch::kFloat64);
    const auto dense = run(in, seed, RelationPath::dense), factored = run(in, seed, RelationPath::factored);
    for (int i = 0; i < 4; ++i) REQUIRE(worst(factored[i], dense[i]) < 1e-12);
    const std::vector<Tensor> single{in[0].to(torch::kFloat32), in[1].to(torch::kFloat32), in[2].to(torch::kFloat32)};
    for (const auto product : {Product::aten, Product::onednn}) {
      const auto low = run(single, seed.to(torch::kFloat32), RelationPath::factored, product);
      const auto low_dense = run(single, seed.to(torch::kFloat32), RelationPath::dense, product);
      for (int i = 0; i < 4; ++i) {
        REQUIRE(worst(low[i].to(torch::kFloat64), dense[i]) < 2e-6);
        REQUIRE(worst(low_dense[i].to(torch::kFloat64), dense[i]) < 2e-6);
      }
    }
  }
}

TEST_CASE("exchanging W_in and W_out gives another result", "[ops][relation]") {
  torch::manual_seed(3);
  const auto in = inputs({2, 128, 16, 8}, torch::kFloat64);
  const Tensor exchanged = at::cat({in[2].narrow(1, 128, 128), in[2].narrow(1, 0, 128)}, 1);
  const Tensor dense = of_pair(in[0], in[1], in[2], RelationPath::dense);
  REQUIRE(worst(of_pair(in[0], in[1], exchanged, RelationPath::factored), dense) > 0.1);
  REQUIRE(worst(of_pair(in[0], in[1], in[2], RelationPath::factored), dense) < 1e-12);
}

TEST_CASE("the path depends on cost and size", "[ops][relation]") {
  // Stages of the published network at 256 x 128: nodes, rank, outputs.
  REQUIRE(relation_path(2048, 32, 256) == RelationPath::factored);
  REQUIRE(relation_path(2048, 16, 256) == RelationPath::factored);
  REQUIRE(relation_path(1024, 16, 128) == RelationPath::factored);
  REQUIRE(relation_path(512, 64, 64) == RelationPath::factored);
  REQUIRE(relation_path(128, 256, 16) == RelationPath::factored);
  REQUIRE(relation_path(kFactoredNodes - 1, 1, 1) == RelationPath::dense);
  // 4rm = 4 * 1024 * 1024 against N (r + 2m) = 1024 * 3072: dense is cheaper at a ratio of 1.
  REQUIRE(relation_path(1024, 1024, 1024) == RelationPath::dense);
  const auto in = inputs({1, 512, 8, 4}, torch::kFloat32);
  REQUIRE(of_pair(in[0], in[1], in[2]).equal(of_pair(in[0], in[1], in[2], relation_path(512, 8, 4))));
}

TEST_CASE("half types are computed in float32", "[ops][relation]") {
  torch::manual_seed(4);
  const auto in = inputs({2, 128, 16, 8}, torch::kBFloat16);
  const Tensor expected = of_pair(in[0].to(torch::kFloat32), in[1].to(torch::kFloat32), in[2].to(torch::kFloat32),
                                   RelationPath::factored);
  const Tensor got = of_pair(in[0], in[1], in[2], RelationPath::factored);
  REQUIRE(got.scalar_type() == torch::kBFloat16);
  REQUIRE(got.equal(expected.to(torch::kBFloat16)));
}

TEST_CASE("embeddings that are part of a larger tensor give the same relation", "[ops][relation]") {
  torch::manual_seed(6);
  const auto in = inputs({3, 128, 16, 8}, torch::kFloat32);
  const Tensor stack = torch::cat({torch::randn({3, 16, 128}), in[0], in[1]}, 1);
  const Tensor turned = stack.transpose(1, 2).contiguous().transpose(1, 2);
  const Tensor expected = of_pair(in[0], in[1], in[2], RelationPath::factored);
  for (const auto& tensor : {stack, turned}) {
    const Tensor got = reid::ops::relation(tensor.narrow(1, 16, 32), in[2], RelationPath::factored);
    REQUIRE(worst(got.to(torch::kFloat64), expected.to(torch::kFloat64)) < 2e-6);
  }
}

TEST_CASE("sizes that don't fit are named", "[ops][relation]") {
  const Tensor embeddings = torch::zeros({2, 6, 4});
  REQUIRE_THROWS_WITH(reid::ops::relation(embeddings, torch::zeros({5, 4})),
                      "relation: weight must be [m, 8] on cpu, got [5, 4] float32 on cpu");
  REQUIRE_THROWS_AS(reid::ops::relation(torch::zeros({2, 5, 4}), torch::zeros({5, 8})), reid::ShapeError);
  REQUIRE_THROWS_AS(reid::ops::relation(torch::zeros({6, 4}), torch::zeros({5, 8})), reid::ShapeError);
}
