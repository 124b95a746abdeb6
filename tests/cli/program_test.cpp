// SPDX-License-Identifier: Apache-2.0
#include "cli/run_reid.hpp"
#include "support/catch.hpp"

using reid::test::run_reid;
using Catch::Matchers::Contains;

TEST_CASE("help and version go to stdout with status 0", "[cli]") {
  const auto help = run_reid({"--help"});
  REQUIRE(help.status == 0);
  REQUIRE_THAT(help.out, Contains("metrics"));
  const auto version = run_reid({"--version"});
  REQUIRE(version.status == 0);
  REQUIRE_THAT(version.out, Contains("reid 0."));
}

TEST_CASE("a wrong command line is one sentence on stderr and status 2", "[cli]") {
  const auto none = run_reid({});
  REQUIRE(none.status == 2);
  const auto unknown = run_reid({"metricks"});
  REQUIRE(unknown.status == 2);
  REQUIRE_THAT(unknown.err, Contains("'metricks'; did you mean 'metrics'?"));
  REQUIRE(unknown.out.empty());
  const auto option = run_reid({"metrics", "--quary", "x.npy"});
  REQUIRE(option.status == 2);
  REQUIRE(std::count(option.err.begin(), option.err.end(), '\n') == 1);
}
