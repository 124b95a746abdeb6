// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/mining.hpp"

#include <torch/torch.h>

#include <limits>

#include "reid/core/error.hpp"
#include "support/catch.hpp"

using namespace reid::ops;
using Catch::Matchers::Contains;
using torch::Tensor;

TEST_CASE("batch-hard pairs by hand", "[mining]") {
  const Tensor distances = torch::tensor({{0.0F, 2.0F, 5.0F, 1.0F}, {2.0F, 0.0F, 3.0F, 3.0F}, {5.0F, 3.0F, 0.0F, 4.0F}, {1.0F, 3.0F, 4.0F, 0.0F}});
  const Tensor labels = torch::tensor({1, 1, 2, 3}, torch::kInt64);
  const auto with_self = batch_hard(distances, labels, true);
  CHECK(with_self.positive.equal(torch::tensor({1, 0, 2, 3}, torch::kInt64)));
  CHECK(with_self.negative.equal(torch::tensor({3, 2, 1, 0}, torch::kInt64)));  // row 1: 2 and 3 tie
  CHECK(batch_hard(distances, labels, false).positive.equal(torch::tensor({1, 0, -1, -1}, torch::kInt64)));
  CHECK(batch_hard(distances, torch::zeros({4}, torch::kInt64), false).negative.equal(torch::full({4}, -1, torch::kInt64)));
  CHECK(batch_hard(torch::empty({0, 0}), torch::empty({0}, torch::kInt64), true).positive.size(0) == 0);
}

TEST_CASE("batch-hard pairs are those of masked maxima and minima", "[mining]") {
  torch::manual_seed(1);
  const double infinity = std::numeric_limits<double>::infinity();
  for (const int64_t rows : {2, 33, 200}) {
    const Tensor distances = torch::rand({2 * rows, rows}).slice(0, 0, 2 * rows, 2);  // strided
    const Tensor labels = torch::arange(rows) % 5;
    const auto same = labels.unsqueeze(0) == labels.unsqueeze(1);
    const auto found = batch_hard(distances, labels, true);
    CHECK(found.positive.equal(distances.masked_fill(~same, -infinity).argmax(1)));
    CHECK(found.negative.equal(distances.masked_fill(same, infinity).argmin(1)));
  }
}

TEST_CASE("batch-hard pairs take what isn't a number first", "[mining]") {
  Tensor distances = torch::ones({4, 4});
  distances[0][2] = distances[1][1] = std::numeric_limits<float>::quiet_NaN();
  const auto found = batch_hard(distances, torch::tensor({0, 0, 1, 1}, torch::kInt64), true);
  CHECK(found.negative[0].item<int64_t>() == 2);
  CHECK(found.positive[1].item<int64_t>() == 1);
}

TEST_CASE("batch-hard mining names what doesn't fit", "[mining]") {
  const Tensor labels = torch::zeros({3}, torch::kInt64);
  CHECK_THROWS_WITH(batch_hard(torch::rand({3, 4}), labels, true), Contains("distances must be [N, N]"));
  CHECK_THROWS_WITH(batch_hard(torch::rand({3, 3}).to(torch::kHalf), labels, true), Contains("float32 or float64"));
  CHECK_THROWS_WITH(batch_hard(torch::rand({3, 3}), labels.to(torch::kInt32), true), Contains("labels must be [3] int64"));
  CHECK_THROWS_AS(batch_hard(torch::rand({3, 3}), torch::zeros({2}, torch::kInt64), true), reid::ShapeError);
}
