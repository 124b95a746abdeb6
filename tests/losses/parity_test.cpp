// SPDX-License-Identifier: Apache-2.0
// Against the authors' code: tests/reference/losses.py made the fixture.
#include <torch/torch.h>

#include <string>
#include <vector>

#include "reid/core/json.hpp"
#include "reid/losses/losses.hpp"
#include "support/catch.hpp"

using namespace reid;

TEST_CASE("losses and gradients are those of torchreid and TransReID", "[losses][parity]") {
  const auto fixture = read_json_file(std::string(REID_FIXTURES) + "/losses_v1.json");
  const auto labels = torch::tensor(fixture.at("labels").get<std::vector<int64_t>>());
  const auto rows = labels.size(0);
  const auto tensor = [&](const Json& values, int64_t width) {
    return torch::tensor(values.get<std::vector<double>>(), torch::kFloat64).to(torch::kFloat32).view({rows, width});
  };
  struct Case {
    const char* name;
    Json part;
  };
  const std::vector<Case> cases{
      {"torchreid_triplet_0.3", {{"name", "triplet"}, {"margin", 0.3}}},
      {"torchreid_triplet_1.2", {{"name", "triplet"}, {"margin", 1.2}}},
      {"transreid_triplet_0.3", {{"name", "triplet"}}},
      {"transreid_triplet_soft", {{"name", "triplet"}, {"margin", nullptr}}},
      {"torchreid_cross_entropy_0.0", "cross_entropy"},
      {"torchreid_cross_entropy_0.1", {{"name", "cross_entropy"}, {"label_smoothing", 0.1}}},
  };
  REQUIRE(fixture.at("cases").size() == cases.size());
  for (const auto& [name, part] : cases) {
    INFO(name);
    const auto loss = losses::registry().create(part, "/loss");
    const bool logits = loss->needs_logits();
    auto input = tensor(fixture.at(logits ? "logits" : "embeddings"),
                        fixture.at(logits ? "classes" : "width").get<int64_t>());
    input.requires_grad_(true);
    const auto value = loss->forward({input, input, labels});
    value.backward();
    const auto& expected = fixture.at("cases").at(name);
    REQUIRE(value.item<double>() == Approx(expected.at("loss").get<double>()).epsilon(1e-6));
    const auto gradient = tensor(expected.at("gradient"), input.size(1));
    const double error = ((input.grad() - gradient).abs().max() / gradient.abs().max()).item<double>();
    REQUIRE(error < 2e-6);
  }
}
