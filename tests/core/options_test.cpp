// SPDX-License-Identifier: Apache-2.0
#include "reid/core/options.hpp"

#include "support/catch.hpp"

using namespace reid;
using Catch::Matchers::Contains;

namespace {
enum class Kind { soft, hard };
}
template <>
struct reid::EnumNames<Kind> {
  static constexpr std::array<std::pair<Kind, const char*>, 2> values{{{Kind::soft, "soft"}, {Kind::hard, "hard"}}};
};
namespace {
struct Inner {
  double rate = 0.1;
  template <class V>
  void fields(V&& v) {
    v("rate", rate, "a rate", Range{0, 1});
  }
};
struct Outer {
  int64_t count = 3;
  double margin = 0.3;
  Kind kind = Kind::hard;
  std::optional<double> limit;
  std::vector<int64_t> steps{1, 2};
  std::array<double, 2> pair{0, 1};
  Inner inner;
  Json part = "none";
  std::optional<Inner> perhaps = Inner{0.5};
  std::vector<Inner> several;
  std::optional<Kind> other_kind;
  template <class V>
  void fields(V&& v) {
    v("count", count, "a count", Range{1, 10});
    v("margin", margin, "a margin", Range{.min = 0});
    v("kind", kind, "a kind");
    v("limit", limit, "a limit", Range{.min = 0});
    v("steps", steps, "steps");
    v("pair", pair, "two numbers");
    v("inner", inner, "more");
    v("part", part, "a part of another registry");
    v("perhaps", perhaps, "more, or null");
    v("several", several, "a list of more");
    v("other_kind", other_kind, "a kind, or null");
  }
  void validate(const std::string& where) const {
    if (count == 7) throw ConfigError(where + "/count: value must not be 7, got 7");
  }
};
std::string problem(const char* text) {
  try {
    read_options<Outer>(Json::parse(text), "/losses/0");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}
}  // namespace

TEST_CASE("options survive a round trip and keep defaults", "[core]") {
  const auto outer = read_options<Outer>(
      Json::parse(R"({"count": 4, "kind": "soft", "limit": 2, "steps": [], "pair": [5, 6], "inner": {"rate": 1}})"));
  REQUIRE(outer.count == 4);
  REQUIRE(outer.kind == Kind::soft);
  REQUIRE(outer.limit == 2.0);
  REQUIRE(outer.steps.empty());
  REQUIRE(outer.inner.rate == 1.0);
  REQUIRE(outer.margin == 0.3);
  const Json json = write_options(outer);
  REQUIRE(write_options(read_options<Outer>(json)) == json);
}

TEST_CASE("wrong options name pointer, expectation and value", "[core]") {
  REQUIRE(problem(R"({"marign": 1})") == "/losses/0/marign: unknown key; did you mean 'margin'?");
  REQUIRE(problem(R"({"count": 1.5})") == "/losses/0/count: value must be an integer, got the number 1.5");
  REQUIRE(problem(R"({"count": 11})") == "/losses/0/count: value must be between 1 and 10, got 11");
  REQUIRE(problem(R"({"count": 18446744073709551615})") ==
          "/losses/0/count: value must be an integer, got the integer 18446744073709551615");
  REQUIRE(problem(R"({"margin": -1})") == "/losses/0/margin: value must be at least 0, got -1");
  REQUIRE(problem(R"({"kind": "sofd"})") ==
          "/losses/0/kind: value must be one of soft, hard, got 'sofd'; did you mean 'soft'?");
  REQUIRE(problem(R"({"inner": {"rate": "x"}})") == "/losses/0/inner/rate: value must be a number, got the string \"x\"");
  REQUIRE(problem(R"({"pair": [1]})") == "/losses/0/pair: value must be a list of 2 values, got a list of 1 values");
  REQUIRE(problem(R"({"count": 7})") == "/losses/0/count: value must not be 7, got 7");
  REQUIRE(problem("[1]") == "/losses/0: value must be an object, got a list of 1 values");
}

TEST_CASE("all problems are reported at once", "[core]") {
  const std::string text = problem(R"({"count": true, "steps": [1, "a"], "zzzzzz": 1})");
  REQUIRE_THAT(text, Contains("/losses/0/count") && Contains("/losses/0/steps/1") && Contains("/losses/0/zzzzzz"));
}

TEST_CASE("options describe themselves", "[core]") {
  const auto fields = describe_options<Outer>();
  REQUIRE(fields.size() == 11);
  REQUIRE(fields[2].choices == std::vector<std::string>{"soft", "hard"});
  REQUIRE(fields[6].children.at(0).doc == "a rate");
  REQUIRE(fields[4].type == "list of integer");
  // Into what an optional or a list holds, too: with the member's own defaults where it has any.
  REQUIRE(fields[8].type == "object or null");
  REQUIRE(fields[8].children.at(0).default_value == 0.5);
  REQUIRE(fields[9].type == "list of object");
  REQUIRE(fields[9].default_value == Json::array());
  REQUIRE(fields[9].children.at(0).default_value == 0.1);
  REQUIRE(fields[9].children.at(0).range.max == 1);
  REQUIRE(fields[10].choices == fields[2].choices);
}
