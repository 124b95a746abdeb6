// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/check.hpp"

#include "reid/core/error.hpp"
#include "support/catch.hpp"

using reid::ops::check_rank;
using reid::ops::describe;

TEST_CASE("a tensor is described by sizes, type and device", "[ops][check]") {
  REQUIRE(describe(torch::zeros({64, 2048})) == "[64, 2048] float32 on cpu");
  REQUIRE(describe(torch::zeros({}, torch::kInt64)) == "[] int64 on cpu");
  REQUIRE(describe(torch::Tensor()) == "none");
  REQUIRE(describe(torch::zeros({3}, torch::kComplexFloat)) == "[3] ComplexFloat on cpu");
}

TEST_CASE("a wrong tensor is named with what was expected", "[ops][check]") {
  REQUIRE_NOTHROW(check_rank(torch::zeros({2, 3}), "f", "x", 2, "[N, D] float"));
  REQUIRE_NOTHROW(check_rank(torch::zeros({2}, torch::kInt64), "f", "ids", 1, "[N] int64", false));
  REQUIRE_THROWS_WITH(check_rank(torch::zeros({64}, torch::kInt64), "triplet_loss", "embeddings", 2, "[N, D] float"),
                      "triplet_loss: embeddings must be [N, D] float, got [64] int64 on cpu");
  REQUIRE_THROWS_AS(check_rank(torch::zeros({2, 3}, torch::kInt64), "f", "x", 2, "[N, D] float"), reid::ShapeError);
  REQUIRE_THROWS_AS(check_rank(torch::Tensor(), "f", "x", 2, "[N, D] float"), reid::ShapeError);
}
