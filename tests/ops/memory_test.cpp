// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/memory.hpp"

#include <torch/torch.h>

#include "reid/core/error.hpp"
#include "support/catch.hpp"

using namespace reid::ops;

TEST_CASE("the CPU has free memory", "[memory]") {
  CHECK(free_memory(torch::kCPU) > 0);
  CHECK_THROWS_AS(free_memory(torch::kMeta), reid::ShapeError);
}

TEST_CASE("a matrix is the same in memory and in a mapped file", "[memory]") {
  for (const std::size_t map_above : {std::size_t{1} << 30, std::size_t{0}}) {
    torch::Tensor kept;
    {
      const torch::Tensor matrix = large_matrix(300, 7, map_above);
      REQUIRE(matrix.sizes() == torch::IntArrayRef({300, 7}));
      REQUIRE(matrix.scalar_type() == torch::kFloat32);
      matrix.copy_(torch::arange(2100).view({300, 7}));
      kept = matrix.narrow(0, 100, 2);  // a view keeps the mapping
    }
    CHECK(kept.equal(torch::arange(700, 714).view({2, 7}).to(torch::kFloat32)));
    CHECK(large_matrix(0, 7, map_above).numel() == 0);
  }
}
