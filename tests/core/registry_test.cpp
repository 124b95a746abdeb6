// SPDX-License-Identifier: Apache-2.0
#include "reid/core/registry.hpp"

#include "support/catch.hpp"

using namespace reid;
using Catch::Matchers::Contains;

namespace {
struct Shape {
  virtual ~Shape() = default;
  virtual double area() const = 0;
};
struct Square : Shape {
  struct Options {
    double side = 1;
    template <class V>
    void fields(V&& v) {
      v("side", side, "length of a side", Range{.min = 0});
    }
  };
  Square(Options options, double scale) : options_(options), scale_(scale) {}
  double area() const override { return options_.side * options_.side * scale_; }
  Options options_;
  double scale_;
};
}  // namespace

TEST_CASE("a registry makes parts from names and objects", "[core]") {
  Registry<Shape, double> shapes("shape");
  shapes.add<Square>("square", {.summary = "four equal sides"});
  shapes.add<Square>("big_square", {}, {.side = 10});
  REQUIRE(shapes.create("square", "", 2.0)->area() == 2);
  REQUIRE(shapes.create(Json::parse(R"({"name": "big_square"})"), "", 1.0)->area() == 100);
  REQUIRE(shapes.create(Json::parse(R"({"name": "square", "side": 3})"), "", 1.0)->area() == 9);
  REQUIRE(shapes.names("*square").size() == 2);
  REQUIRE(shapes.names("b?g*").size() == 1);
  REQUIRE(shapes.at("big_square").defaults["side"] == 10.0);
}

TEST_CASE("a registry refuses unknown, repeated and misconfigured parts", "[core]") {
  Registry<Shape, double> shapes("shape");
  shapes.add<Square>("square");
  REQUIRE_THROWS_WITH(shapes.create("sqare", "/shapes/0", 1.0),
                      Contains("/shapes/0: shape: name must be one of square, got 'sqare'; did you mean 'square'?"));
  REQUIRE_THROWS_AS(shapes.add<Square>("square"), RegistryError);
  REQUIRE_THROWS_WITH(shapes.create(Json::parse(R"({"name": "square", "sid": 3})"), "/s", 1.0), Contains("/s/sid"));
  REQUIRE_THROWS_WITH(shapes.create(Json(3), "/s", 1.0), Contains("the integer 3"));
}
