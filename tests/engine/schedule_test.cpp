// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/schedule.hpp"

#include <map>

#include "reid/core/error.hpp"
#include "support/catch.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using engine::schedules;

TEST_CASE("the default multi_step schedule is RGA's", "[engine]") {
  const auto schedule = schedules().create("multi_step", "");
  const std::map<int64_t, double> expected{{0, 8e-6},  {10, 4.04e-4}, {19, 7.604e-4}, {20, 8e-4},
                                           {79, 8e-4}, {80, 4e-4},    {360, 3.125e-6}, {599, 3.125e-6}};
  for (const auto& [epoch, rate] : expected) {
    INFO("epoch " << epoch);
    REQUIRE(schedule->rate(8e-4, 8e-4, static_cast<double>(epoch), 600) == Approx(rate).epsilon(1e-12));
    // A group with twice the rate keeps its ratio.
    REQUIRE(schedule->rate(16e-4, 8e-4, static_cast<double>(epoch), 600) == Approx(2 * rate).epsilon(1e-12));
  }
  REQUIRE_FALSE(schedule->per_step());
}

TEST_CASE("the default cosine schedule is TransReID's, whose epochs count from 1", "[engine]") {
  const auto schedule = schedules().create("cosine", "");
  const std::map<int64_t, double> expected{{1, 1.664e-3}, {4, 6.416e-3}, {5, 7.96585e-3}, {60, 4.008e-3}, {120, 1.6e-5}};
  for (const auto& [t, rate] : expected) {
    INFO("t " << t);
    REQUIRE(schedule->rate(0.008, 0.008, static_cast<double>(t - 1), 120) == Approx(rate).epsilon(1e-5));
  }
  // Start and floor belong to the base rate, as in the reference: a bias group of twice the rate ends at the same floor.
  REQUIRE(schedule->rate(0.016, 0.008, 119, 120) == Approx(1.6e-5));
  REQUIRE(schedule->rate(0.016, 0.008, 1, 120) == Approx(8e-5 + 2 * (0.016 - 8e-5) / 5));
}

TEST_CASE("rates between epochs are there for schedules that move by step", "[engine]") {
  const auto schedule = schedules().create(Json{{"name", "multi_step"}, {"warmup_epochs", 2}, {"warmup_start", 0.0},
                                                {"milestones", Json::array({4})}, {"gamma", 0.1}, {"per_step", true}}, "");
  REQUIRE(schedule->per_step());
  REQUIRE(schedule->rate(1, 1, 0.5, 5) == Approx(0.25));
  REQUIRE(schedule->rate(1, 1, 1.5, 5) == Approx(0.75));
  REQUIRE(schedule->rate(1, 1, 3.99, 5) == Approx(1));
  REQUIRE(schedule->rate(1, 1, 4, 5) == Approx(0.1));
}

TEST_CASE("the constant schedule is constant", "[engine]") {
  const auto schedule = schedules().create("constant", "");
  for (const double epoch : {0.0, 1.0, 500.0}) REQUIRE(schedule->rate(0.3, 0.1, epoch, 10) == 0.3);
  REQUIRE(schedules().create(Json{{"name", "constant"}, {"warmup_epochs", 2}}, "")->rate(1, 1, 1, 10) == Approx(0.505));
}

TEST_CASE("wrong schedules are refused", "[engine]") {
  REQUIRE_THROWS_WITH(schedules().create("cosin", "/schedule"), Contains("cosine"));
  REQUIRE_THROWS_WITH(schedules().create(Json{{"name", "multi_step"}, {"milestones", Json::array({9, 3})}}, "/schedule"),
                      Contains("/schedule/milestones") && Contains("ascending"));
  REQUIRE_THROWS_WITH(schedules().create(Json{{"name", "multi_step"}, {"gamma", 2}}, "/schedule"), Contains("/schedule/gamma"));
}
