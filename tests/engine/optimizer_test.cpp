// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/optimizer.hpp"

#include <torch/torch.h>

#include <cmath>

#include "reid/core/error.hpp"
#include "support/catch.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using engine::NamedParameter;
using engine::optimizers;

namespace {

std::vector<NamedParameter> parameters() {
  torch::manual_seed(1);
  return {{"model.conv.weight", torch::randn({3, 2}).requires_grad_(true)},
          {"model.norm.weight", torch::ones({3}).requires_grad_(true)},
          {"model.norm.bias", torch::zeros({3}).requires_grad_(true)},
          {"objective.classifier", torch::randn({4, 3}).requires_grad_(true)}};
}

void fake_gradients(const std::vector<NamedParameter>& list, int64_t step) {
  for (const auto& p : list) p.value.mutable_grad() = torch::sin(p.value.detach() * 3 + static_cast<double>(step));
}

}  // namespace

TEST_CASE("each parameter has the rate and decay that its name asks for", "[engine]") {
  const Json part{{"name", "sgd"}, {"rate", 0.1}, {"weight_decay", 0.01}, {"bias_rate_factor", 2}, {"decay_bias", false},
                  {"decay_norm", false},
                  {"groups", Json::array({Json{{"pattern", "objective.*"}, {"rate_factor", 10}},
                                          Json{{"pattern", "*conv*"}, {"weight_decay", 0.5}}})}};
  const auto optimizer = optimizers().create(part, "/optimizer", parameters());
  REQUIRE(optimizer->group_of("model.conv.weight") == std::pair(0.1, 0.5));
  REQUIRE(optimizer->group_of("model.norm.weight") == std::pair(0.1, 0.0));
  REQUIRE(optimizer->group_of("model.norm.bias") == std::pair(0.2, 0.0));
  REQUIRE(optimizer->group_of("objective.classifier") == std::pair(1.0, 0.01));
  REQUIRE_THROWS_AS(optimizer->group_of("model.other"), InputError);
  REQUIRE(optimizer->base_rate() == 0.1);
}

TEST_CASE("one step of each optimizer by hand", "[engine]") {
  // p = 1, g = 0.5, decay 0.1, rate 0.01.
  // sgd:   g + 0.1 p = 0.6 -> p = 1 - 0.006
  // adam:  first step moves by rate * sign(g + decay p) (bias-corrected mean over root of mean square) -> 0.99
  // adamw: p (1 - rate decay) - rate sign(g) = 0.999 - 0.01
  const std::map<std::string, double> expected{{"sgd", 0.994}, {"adam", 0.99}, {"adamw", 0.989}};
  for (const auto& [name, value] : expected) {
    const std::vector<NamedParameter> one{{"model.p", torch::ones({1, 1}, torch::kFloat64).requires_grad_(true)}};
    const auto optimizer = optimizers().create(Json{{"name", name}, {"rate", 123}, {"weight_decay", 0.1}}, "", one);
    optimizer->set_rates([](double initial) { return initial / 123 * 0.01; });
    one[0].value.mutable_grad() = torch::full({1, 1}, 0.5, torch::kFloat64);
    optimizer->step();
    INFO(name);
    REQUIRE(one[0].value.item<double>() == Approx(value).epsilon(1e-7));
  }
}

TEST_CASE("a restored optimizer goes on to the same bits", "[engine]") {
  for (const char* name : {"adam", "adamw", "sgd"}) {
    INFO(name);
    const auto whole = parameters();
    auto first = optimizers().create(Json(name), "", whole);
    for (int64_t i = 0; i < 3; ++i) {
      fake_gradients(whole, i);
      first->step();
    }
    const auto other = parameters();
    {
      const torch::NoGradGuard no_grad;
      for (std::size_t i = 0; i < whole.size(); ++i) other[i].value.copy_(whole[i].value);
    }
    auto second = optimizers().create(Json(name), "", other);
    nn::StateDict saved;
    for (const auto& [key, tensor] : first->state()) saved[key] = tensor.clone();
    REQUIRE(saved.size() == (std::string(name) == "sgd" ? 4u : 12u));
    second->load_state(saved, "test");
    for (int64_t i = 3; i < 6; ++i) {
      fake_gradients(whole, i);
      first->step();
      fake_gradients(other, i);
      second->step();
    }
    for (std::size_t i = 0; i < whole.size(); ++i) REQUIRE(torch::equal(whole[i].value, other[i].value));
  }
}

TEST_CASE("a state that doesn't fit is refused", "[engine]") {
  const auto list = parameters();
  auto optimizer = optimizers().create("adam", "", list);
  fake_gradients(list, 0);
  optimizer->step();
  auto state = optimizer->state();
  auto cut = state;
  cut.erase("model.conv.weight/exp_avg");
  REQUIRE_THROWS_WITH(optimizer->load_state(cut, "file"), Contains("file") && Contains("model.conv.weight"));
  auto alien = state;
  alien["model.alien/step"] = torch::tensor(1);
  REQUIRE_THROWS_AS(optimizer->load_state(alien, "file"), CheckpointError);
  auto misshapen = state;
  misshapen["model.conv.weight/exp_avg"] = torch::zeros({2});
  REQUIRE_THROWS_AS(optimizer->load_state(misshapen, "file"), CheckpointError);
}

TEST_CASE("wrong optimizer options are refused", "[engine]") {
  const auto make = [](const Json& part) { return optimizers().create(part, "/optimizer", parameters()); };
  REQUIRE_THROWS_WITH(make(Json{{"name", "adam"}, {"momentum", 0.9}}), Contains("/optimizer/momentum"));
  REQUIRE_THROWS_WITH(make(Json{{"name", "sgd"}, {"nesterov", true}, {"momentum", 0}}), Contains("/optimizer/nesterov"));
  REQUIRE_THROWS_WITH(make(Json{{"name", "adam"}, {"groups", Json::array({Json{{"pattern", "nothing*"}}})}}), Contains("nothing*"));
  REQUIRE_THROWS_WITH(make("adan"), Contains("adam"));
}
