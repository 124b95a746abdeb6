// SPDX-License-Identifier: Apache-2.0
#include "reid/core/random.hpp"

#include <numeric>

#include "support/catch.hpp"

using reid::Random;

TEST_CASE("a stream depends on its key alone and keys are ordered", "[core]") {
  Random a({1, 2, 3}), b({1, 2, 3}), c({1, 3, 2});
  const uint64_t first = a.next();
  REQUIRE(first == b.next());
  REQUIRE(first != c.next());
  REQUIRE(first != Random({1, 2}).next());
}

TEST_CASE("the generator is the published SplitMix64", "[core]") {
  // From a state of 0 SplitMix64 gives e220a8397b1dcdaf, 6e789e6aa1b965f4 (Vigna's splitmix64.c).
  Random zero({});
  REQUIRE(zero.next() == 0xe220a8397b1dcdafULL);
  REQUIRE(zero.next() == 0x6e789e6aa1b965f4ULL);
}

TEST_CASE("uniform, below and normal have their moments", "[core]") {
  Random random({7});
  double sum = 0, square = 0, normal = 0, normal2 = 0;
  std::vector<int> counts(7);
  constexpr int n = 200000;
  for (int i = 0; i < n; ++i) {
    const double u = random.uniform();
    REQUIRE((u >= 0 && u < 1));
    sum += u;
    square += u * u;
    const double g = random.normal();
    normal += g;
    normal2 += g * g;
    ++counts[static_cast<std::size_t>(random.below(7))];
  }
  REQUIRE(sum / n == Approx(0.5).margin(0.005));
  REQUIRE(square / n == Approx(1.0 / 3).margin(0.005));
  REQUIRE(normal / n == Approx(0).margin(0.01));
  REQUIRE(normal2 / n == Approx(1).margin(0.02));
  for (const int count : counts) REQUIRE(count == Approx(n / 7.0).epsilon(0.03));
}

TEST_CASE("a shuffle is a permutation", "[core]") {
  std::vector<int> values(100);
  std::iota(values.begin(), values.end(), 0);
  auto shuffled = values;
  Random({3}).shuffle(shuffled);
  REQUIRE(shuffled != values);
  std::sort(shuffled.begin(), shuffled.end());
  REQUIRE(shuffled == values);
}
