// SPDX-License-Identifier: Apache-2.0
#include "reid/losses/classify_and_rank.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <string>

#include "reid/core/error.hpp"
#include "reid/losses/losses.hpp"
#include "support/catch.hpp"
#include "support/tiny_model.hpp"

using namespace reid;
using Catch::Matchers::Contains;

namespace {

Batch batch_of(int64_t rows) {
  Batch batch;
  batch.images = torch::randn({rows, 3, 16, 8});
  batch.identities = torch::arange(rows) / 2;
  batch.identities = batch.identities.to(torch::kInt64);
  batch.index = torch::arange(rows);
  return batch;
}

std::map<std::string, double> values(const nn::ObjectiveResult& result) {
  std::map<std::string, double> named{{"total", result.total.item<double>()}};
  for (const auto& [name, value] : result.parts) named[name] = value.item<double>();
  return named;
}

std::shared_ptr<nn::Objective> make(const Json& part, nn::Model& model, int64_t identities = 4) {
  return losses::objectives().create(part, "/objective", model, nn::TrainingFacts{identities, 0});
}

}  // namespace

TEST_CASE("the default objective is smoothed cross entropy after the neck plus triplet before it", "[losses]") {
  torch::manual_seed(1);
  test::TinyModel model({.dropout = 0});
  const auto objective = make("classify_and_rank", model);
  const auto batch = batch_of(8);
  model.train();
  const auto got = values(objective->compute(model, batch, {}));
  REQUIRE(got.size() == 4);

  const auto output = model.encode_image(batch.images, nn::want_neck);
  const auto classifier = objective->named_parameters()["classifier"];
  REQUIRE(classifier.sizes() == std::vector<int64_t>{4, 6});
  REQUIRE(objective->parameters().size() == 1);
  const auto logits = torch::matmul(output.neck, classifier.t());
  const auto entropy = losses::registry().create(Json{{"name", "cross_entropy"}, {"label_smoothing", 0.1}}, "");
  const auto triplet = losses::registry().create("triplet", "");
  REQUIRE(got.at("cross_entropy") == Approx(entropy->forward({{}, logits, batch.identities}).item<double>()).epsilon(1e-5));
  REQUIRE(got.at("triplet") == Approx(triplet->forward({output.embedding, {}, batch.identities}).item<double>()).epsilon(1e-5));
  REQUIRE(got.at("total") == Approx(got.at("cross_entropy") + got.at("triplet")).epsilon(1e-6));
  // A classifier of spread 0.001 says nothing yet.
  REQUIRE(got.at("cross_entropy") == Approx(std::log(4.0)).margin(0.01));
  REQUIRE(got.at("accuracy") >= 0);
}

namespace {

/// The feature's first third is the whole picture's, the others are two parts.
class ThirdsModel : public test::TinyModel {
 public:
  using TinyModel::TinyModel;
  int64_t parts() const override { return 3; }
  nn::ModelOutput encode_image(const torch::Tensor& images, uint32_t want) override {
    auto output = TinyModel::encode_image(images, want);
    if ((want & nn::want_parts) != 0) {
      output.parts = output.embedding.chunk(3, 1);
      if (output.neck.defined()) output.part_necks = output.neck.chunk(3, 1);
    }
    return output;
  }
};

}  // namespace

TEST_CASE("parts have classifiers of their own and share half of each loss", "[losses]") {
  torch::manual_seed(5);
  ThirdsModel model({.dropout = 0});
  const auto objective = make(Json{{"name", "classify_and_rank"}, {"classifier_std", 0.5}}, model);
  const auto batch = batch_of(8);
  model.train();
  const auto got = values(objective->compute(model, batch, {}));
  const auto output = model.encode_image(batch.images, nn::want_neck | nn::want_parts);
  const auto named = objective->named_parameters();
  REQUIRE(named.size() == 3);
  const auto entropy = losses::registry().create(Json{{"name", "cross_entropy"}, {"label_smoothing", 0.1}}, "");
  const auto triplet = losses::registry().create("triplet", "");
  std::vector<double> entropies, triplets;
  const std::vector<std::string> names{"classifier", "classifier_1", "classifier_2"};
  for (std::size_t part = 0; part < 3; ++part) {
    REQUIRE(named[names[part]].sizes() == std::vector<int64_t>{4, 2});
    const auto logits = torch::matmul(output.part_necks[part], named[names[part]].t());
    entropies.push_back(entropy->forward({{}, logits, batch.identities}).item<double>());
    triplets.push_back(triplet->forward({output.parts[part], {}, batch.identities}).item<double>());
  }
  const auto half = [](const std::vector<double>& v) { return v[0] / 2 + (v[1] + v[2]) / 4; };
  REQUIRE(got.at("cross_entropy") == Approx(half(entropies)).epsilon(1e-5));
  REQUIRE(got.at("triplet") == Approx(half(triplets)).epsilon(1e-5));
  REQUIRE(got.at("total") == Approx(half(entropies) + half(triplets)).epsilon(1e-5));
}

TEST_CASE("the classifier starts as N(0, 0.001^2)", "[losses]") {
  torch::manual_seed(2);
  test::TinyModel model({.embedding = 64});
  const auto weight = make("classify_and_rank", model, 500)->named_parameters()["classifier"];
  REQUIRE(weight.mean().item<double>() == Approx(0).margin(5e-5));
  REQUIRE(weight.std().item<double>() == Approx(1e-3).epsilon(0.03));
}

TEST_CASE("weights, targets and ramps of losses are followed", "[losses]") {
  torch::manual_seed(3);
  test::TinyModel model({.dropout = 0});
  const Json part{{"name", "classify_and_rank"},
                  {"losses", Json::array({Json{{"name", "triplet"}, {"weight", 2}, {"on", "neck"}},
                                          Json{{"name", "triplet"}, {"weight", 4}, {"margin", nullptr}, {"ramp_epochs", 2}}})}};
  const auto objective = make(part, model);
  REQUIRE(objective->parameters().empty());  // nobody asks for logits
  const auto batch = batch_of(8);
  Progress progress;
  progress.steps_per_epoch = 10;
  for (const auto& [step, share] : std::map<int64_t, double>{{0, 0.0}, {5, 0.25}, {20, 1.0}, {99, 1.0}}) {
    progress.step = step;
    const auto got = values(objective->compute(model, batch, progress));
    REQUIRE(got.size() == 3);
    REQUIRE(got.at("total") == Approx(2 * got.at("triplet") + 4 * share * got.at("triplet_2")).epsilon(1e-5));
  }
  const auto output = model.encode_image(batch.images, nn::want_neck);
  const auto expected = losses::registry().create("triplet", "")->forward({output.neck, {}, batch.identities});
  REQUIRE(values(objective->compute(model, batch, progress)).at("triplet") == Approx(expected.item<double>()).epsilon(1e-5));
}

TEST_CASE("a model without neck is classified on its embedding", "[losses]") {
  torch::manual_seed(4);
  test::TinyModel model({.dropout = 0, .neck = false});
  const auto objective = make("classify_and_rank", model);
  const auto result = objective->compute(model, batch_of(8), {});
  result.total.backward();
  for (const auto& p : model.parameters()) REQUIRE(p.grad().defined());
  REQUIRE(objective->parameters().front().grad().abs().max().item<double>() > 0);
}

TEST_CASE("one batch can be learned by heart", "[losses]") {
  torch::manual_seed(5);
  for (const char* name : {"cross_entropy", "triplet"}) {
    test::TinyModel model({.dropout = 0});
    const auto objective =
        make(Json{{"name", "classify_and_rank"}, {"losses", Json::array({name})}}, model);
    const auto batch = batch_of(8);
    auto parameters = model.parameters();
    for (const auto& p : objective->parameters()) parameters.push_back(p);
    torch::optim::Adam adam(parameters, torch::optim::AdamOptions(0.02));
    double last = 1e9;
    for (int i = 0; i < 120; ++i) {
      const auto result = objective->compute(model, batch, {});
      last = result.total.item<double>();
      adam.zero_grad();
      result.total.backward();
      adam.step();
    }
    INFO(name);
    REQUIRE(last < 0.05);
  }
}

TEST_CASE("wrong losses are refused where they stand", "[losses]") {
  test::TinyModel model({});
  const auto with = [&](Json losses) { return make(Json{{"name", "classify_and_rank"}, {"losses", losses}}, model); };
  REQUIRE_THROWS_WITH(with(Json::array()), Contains("/objective/losses") && Contains("at least one"));
  REQUIRE_THROWS_WITH(with(Json::array({"tripplet"})), Contains("/objective/losses/0") && Contains("triplet"));
  REQUIRE_THROWS_WITH(with(Json::array({"triplet", Json{{"name", "triplet"}, {"marign", 1}}})), Contains("/objective/losses/1/marign") && Contains("margin"));
  REQUIRE_THROWS_WITH(with(Json::array({Json{{"name", "triplet"}, {"weight", -1}}})), Contains("/objective/losses/0/weight"));
  REQUIRE_THROWS_WITH(with(Json::array({Json{{"name", "triplet"}, {"on", "logits"}}})), Contains("/objective/losses/0/on"));
  REQUIRE_THROWS_WITH(with(Json::array({Json{{"name", "cross_entropy"}, {"on", "neck"}}})), Contains("/objective/losses/0/on"));
  REQUIRE_THROWS_WITH(with(Json::array({Json{{"weight", 1}}})), Contains("/objective/losses/0"));
  REQUIRE_THROWS_AS(make("classify_and_rank", model, 0), ConfigError);
  REQUIRE_THROWS_WITH(make("classify_and_rnk", model), Contains("classify_and_rank"));
}

TEST_CASE("the registries hold one entry for each source file", "[losses]") {
  const auto sources = [](const char* folder, const std::string& skip) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(std::string(REID_SOURCE_DIR) + "/losses/" + folder)) {
      const auto stem = entry.path().stem().string();
      if (entry.path().extension() == ".cpp" && skip.find(stem) == std::string::npos) names.push_back(stem);
    }
    std::sort(names.begin(), names.end());
    return names;
  };
  REQUIRE(losses::registry().names() == sources("src", "alignment checks registry cross_block matching support_fusion"));
  REQUIRE(losses::objectives().names() == sources("objectives", ""));
}
