// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/evaluator.hpp"

#include <torch/torch.h>

#include <algorithm>

#include "reid/core/error.hpp"
#include "reid/engine/checkpoint.hpp"
#include "support.hpp"
#include "support/catch.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using test::draw;
using test::CameraModel;
using test::TinyModel;

namespace {

std::vector<std::string> some_paths() {
  std::vector<std::string> paths;
  for (int id = 0; id < 37; ++id) paths.push_back(std::to_string(id) + " 1 0");
  return paths;
}

torch::Tensor features_of(TinyModel& model, const engine::ExtractOptions& options, int64_t threads = 2) {
  engine::prepare_for_inference(model, options, engine::make_runtime("cpu", threads));
  return engine::extract_features(model, some_paths(), draw, options, engine::make_runtime("cpu", threads));
}

torch::Tensor image_of(TinyModel& model, const std::string& path) {
  auto image = torch::empty({1, 3, model.preprocess().height, model.preprocess().width});
  Random random{0};
  data::evaluation_transform(model.preprocess())(draw(path), random, image.data_ptr<float>());
  return image;
}

}  // namespace

TEST_CASE("features are the model's, one row a picture, in the order given", "[engine]") {
  torch::manual_seed(1);
  TinyModel model({});
  const auto features = features_of(model, {});
  REQUIRE(features.sizes() == std::vector<int64_t>{37, 6});
  REQUIRE(features.scalar_type() == torch::kFloat32);
  const torch::NoGradGuard no_grad;
  const auto paths = some_paths();
  for (const int64_t row : {0, 5, 36}) {
    const auto image = image_of(model, paths[static_cast<std::size_t>(row)]);
    REQUIRE(torch::allclose(features[row], model.embed(image)[0], 1e-5, 1e-6));
  }
}

TEST_CASE("weights too small for a normal float32 are 0 in a folded model, and its features don't notice", "[engine]") {
  const auto smallest = [](const TinyModel& model) {
    double least = 1;
    for (const auto& parameter : model.parameters()) {
      const auto size = parameter.detach().abs();
      const auto there = size.masked_select(size > 0);
      if (there.numel() > 0) least = std::min(least, there.min().item<double>());
    }
    return least;
  };
  const auto features = [&](bool fold, double least) {
    torch::manual_seed(1);
    TinyModel model({});
    {
      const torch::NoGradGuard no_grad;
      for (auto& parameter : model.parameters()) {
        if (parameter.dim() == 4) parameter.select(0, 0).fill_(1e-40);  // a dead channel
      }
    }
    REQUIRE(smallest(model) < 1e-39);
    engine::ExtractOptions options;
    options.fold = fold;
    const auto result = features_of(model, options);
    REQUIRE((smallest(model) < 1e-39) == (least < 1e-39));
    return result;
  };
  REQUIRE(torch::allclose(features(true, 1e-38), features(false, 1e-40), 1e-5, 1e-6));
}

TEST_CASE("a model that looks at cameras is told each picture's", "[engine]") {
  torch::manual_seed(1);
  CameraModel<3> model({.neck = false});
  const auto runtime = engine::make_runtime("cpu", 2);
  engine::ExtractOptions options;
  options.fold = false;
  options.flip = true;
  engine::prepare_for_inference(model, options, runtime);
  const auto paths = some_paths();
  std::vector<int64_t> cameras;
  for (std::size_t i = 0; i < paths.size(); ++i) cameras.push_back(static_cast<int64_t>(1 + i % 3));
  const auto first = engine::extract_features(model, paths, draw, options, runtime, {}, std::vector<int64_t>(paths.size(), 1));
  const auto each = engine::extract_features(model, paths, draw, options, runtime, {}, cameras);
  REQUIRE(torch::allclose(each - first, (torch::tensor(cameras, torch::kFloat32) - 1).unsqueeze(1).expand_as(each), 1e-4, 1e-5));
  REQUIRE_THROWS_WITH(engine::extract_features(model, paths, draw, options, runtime), Contains("0 1 0: camera must be 1 to 3") && Contains("got none"));
  cameras[4] = 4;
  REQUIRE_THROWS_WITH(engine::extract_features(model, paths, draw, options, runtime, {}, cameras), Contains("4 1 0: camera") && Contains("got 4"));
  // A whole evaluation takes them from the data set.
  const test::World world;
  const auto dataset = world.catalogue().datasets.create("drawn", "")->read("", {}, "");
  REQUIRE(engine::evaluate_model(model, dataset, {}, draw, runtime, 1, {}, /*prepared=*/true).json.contains("metrics"));
}

TEST_CASE("neither batch nor threads change a row beyond rounding, and threads not a bit", "[engine]") {
  torch::manual_seed(2);
  TinyModel model({});
  engine::ExtractOptions options;
  options.batch = 5;
  const auto one = features_of(model, options, 1);
  REQUIRE(torch::equal(one, features_of(model, options, 3)));
  REQUIRE(torch::equal(one, features_of(model, options, 16)));
  options.batch = 37;
  REQUIRE(torch::allclose(one, features_of(model, options, 2), 1e-5, 1e-6));
  options.channels_last = false;
  REQUIRE(torch::allclose(one, features_of(model, options, 2), 1e-5, 1e-6));
}

TEST_CASE("the feature that is asked for is the one that comes", "[engine]") {
  torch::manual_seed(3);
  TinyModel model({});
  model.named_buffers()["bottleneck.running_mean"].fill_(3);
  engine::ExtractOptions options;
  const auto deployed = features_of(model, options);
  options.feature = engine::FeatureChoice::after_neck;
  REQUIRE(torch::equal(deployed, features_of(model, options)));
  options.feature = engine::FeatureChoice::before_neck;
  const auto before = features_of(model, options);
  REQUIRE(torch::allclose((before - 3) / std::sqrt(1 + 1e-5), deployed, 1e-4, 1e-5));
  TinyModel bare({.neck = false});
  options.feature = engine::FeatureChoice::after_neck;
  REQUIRE_THROWS_WITH(features_of(bare, options), Contains("before_neck"));
}

TEST_CASE("flipping averages the features of a picture and its mirror image", "[engine]") {
  torch::manual_seed(4);
  TinyModel model({});
  engine::ExtractOptions options;
  options.flip = true;
  const auto features = features_of(model, options);
  const torch::NoGradGuard no_grad;
  const auto image = image_of(model, "4 1 0");
  const auto mirrored = torch::flip(image, {3});
  REQUIRE(torch::allclose(features[4], (model.embed(image)[0] + model.embed(mirrored)[0]) / 2, 1e-5, 1e-6));
  REQUIRE_FALSE(torch::allclose(features[4], model.embed(image)[0], 1e-5, 1e-6));
}

TEST_CASE("bf16 features are near float32 ones", "[engine]") {
  torch::manual_seed(5);
  TinyModel model({});
  engine::ExtractOptions options;
  const auto exact = features_of(model, options);
  options.precision = engine::Precision::bf16;
  const auto rough = features_of(model, options);
  REQUIRE(rough.scalar_type() == torch::kFloat32);
  REQUIRE_FALSE(torch::equal(rough, exact));
  REQUIRE((rough - exact).norm().item<double>() < 0.03 * exact.norm().item<double>());
}

TEST_CASE("a picture that can't be read ends the extraction with its name", "[engine]") {
  TinyModel model({});
  engine::prepare_for_inference(model, {}, engine::make_runtime("cpu", 2));
  auto paths = some_paths();
  paths[20] = "corrupt 20";
  REQUIRE_THROWS_WITH(engine::extract_features(model, paths, draw, {}, engine::make_runtime("cpu", 2)), Contains("corrupt 20"));
  REQUIRE(engine::extract_features(model, {}, draw, {}, engine::make_runtime("cpu", 2)).sizes() == std::vector<int64_t>{0, 6});
}

TEST_CASE("progress goes from nothing to all", "[engine]") {
  TinyModel model({});
  engine::ExtractOptions options;
  options.batch = 4;
  engine::prepare_for_inference(model, options, engine::make_runtime("cpu", 2));
  int64_t last = 0;
  engine::extract_features(model, some_paths(), draw, options, engine::make_runtime("cpu", 2), [&](const ProgressUpdate& u) {
    REQUIRE(u.total == 37);
    REQUIRE(u.done >= last);
    last = u.done;
  });
  REQUIRE(last == 37);
}

TEST_CASE("an evaluation says everything that its numbers depend on", "[engine]") {
  const test::World world;
  torch::manual_seed(6);
  const auto catalogue = world.catalogue();
  const auto dataset = engine::open_dataset({"drawn", "anywhere", ""}, {}, "", catalogue);
  const auto model = engine::open_model("tiny", "", catalogue);
  const auto fingerprint = engine::fingerprint_of(nn::state_of(*model));
  const auto runtime = engine::make_runtime("cpu", 2);
  const auto result = engine::evaluate_model(*model, dataset, {}, draw, runtime, 7).json;
  REQUIRE(result.at("protocol") == "market1501");
  REQUIRE(result.at("queries") == 24);
  REQUIRE(result.at("gallery") == 48);
  REQUIRE(result.at("queries_without_match") == 0);
  for (const char* key : {"rank1", "rank5", "rank10", "rank20", "map", "map_interpolated", "minp"}) {
    const double value = result.at("metrics").at(key).get<double>();
    REQUIRE(value >= 0);
    REQUIRE(value <= 1);
  }
  REQUIRE(result.at("ci95").contains("map"));
  REQUIRE(result.at("dataset") == "drawn");
  REQUIRE(result.at("notes") == Json::array({"drawn for a test"}));
  REQUIRE(result.at("feature") == "after BN neck");
  REQUIRE(result.at("flip") == false);
  REQUIRE(result.at("seed") == 7);
  REQUIRE(result.at("weights_fingerprint") == fingerprint);
  REQUIRE(result.at("model").at("name") == "tiny");
  REQUIRE(result.at("environment").at("threads") == 2);
  REQUIRE(result.at("seconds").at("features").get<double>() > 0);
  REQUIRE_FALSE(result.at("data_fingerprint").get<std::string>().empty());

  engine::EvaluationOptions options;
  options.protocol = "market15O1";
  REQUIRE_THROWS_WITH(engine::evaluate_model(*model, dataset, options, draw, runtime, 1), Contains("market1501"));
  options.protocol = "market1501_multi_query";
  REQUIRE_THROWS_WITH(engine::evaluate_model(*model, dataset, options, draw, runtime, 1), Contains("gt_bbox"));
}

TEST_CASE("a multiple query is the mean of all pictures of its identity and camera", "[engine]") {
  const test::World world;
  torch::manual_seed(8);
  const auto catalogue = world.catalogue();
  auto dataset = engine::open_dataset({"drawn", "anywhere", ""}, {}, "", catalogue);
  for (const auto& query : dataset.splits[0].query) {
    for (int k = 0; k < 2; ++k) {
      auto sample = query;
      sample.path = std::to_string(query.identity) + " " + std::to_string(query.camera) + " " + std::to_string(5 + k);
      dataset.multi_query.push_back(sample);
    }
  }
  const auto model = engine::open_model("tiny", "", catalogue);
  engine::EvaluationOptions options;
  options.protocol = "market1501_multi_query";
  const auto runtime = engine::make_runtime("cpu", 2);
  const auto result = engine::evaluate_model(*model, dataset, options, draw, runtime, 7);
  REQUIRE(result.json.at("images_per_query") == 2.0);
  REQUIRE(result.json.at("queries") == 24);
  // Pictures of people who are no query don't matter.
  auto more = dataset;
  more.multi_query.push_back({.path = "900 1 0", .identity = 900, .camera = 1});
  REQUIRE(engine::evaluate_model(*model, more, options, draw, runtime, 7).json.at("metrics") == result.json.at("metrics"));
  dataset.multi_query.resize(4);
  REQUIRE_THROWS_AS(engine::evaluate_model(*model, dataset, options, draw, runtime, 7), DatasetError);
}

TEST_CASE("re-ranking is done by name and named in the result", "[engine]") {
  const test::World world;
  torch::manual_seed(9);
  const auto catalogue = world.catalogue();
  const auto dataset = engine::open_dataset({"drawn", "anywhere", ""}, {}, "", catalogue);
  const auto model = engine::open_model("tiny", "", catalogue);
  engine::EvaluationOptions options;
  options.rerank.emplace();
  options.rerank->variant = "bot";
  options.rerank->k1 = 5;
  const auto runtime = engine::make_runtime("cpu", 2);
  const auto result = engine::evaluate_model(*model, dataset, options, draw, runtime, 7).json;
  REQUIRE(result.at("rerank").at("variant") == "bot");
  REQUIRE(result.at("rerank").at("k1") == 5);
  options.rerank->variant = "bott";
  REQUIRE_THROWS_WITH(engine::evaluate_model(*model, dataset, options, draw, runtime, 7), Contains("bot"));
}

TEST_CASE("devices are named or refused", "[engine]") {
  REQUIRE(engine::select_device("cpu").is_cpu());
  REQUIRE_THROWS_WITH(engine::select_device("gpu"), Contains("cuda:K") && Contains("gpu"));
  REQUIRE_THROWS_AS(engine::select_device("cuda:x"), DeviceError);
  REQUIRE_THROWS_AS(engine::select_device("cuda:-1"), DeviceError);
  REQUIRE_THROWS_AS(engine::select_device("cuda:99"), DeviceError);
  REQUIRE(engine::select_devices("cpu").empty());
  REQUIRE_THROWS_WITH(engine::select_devices("cpu,cpu"), Contains("each of several must be named once, got 'cpu,cpu'"));
  REQUIRE_THROWS_AS(engine::select_devices("cpu,"), DeviceError);
  REQUIRE_THROWS_AS(engine::select_devices("cuda:0,gpu"), DeviceError);
  if (!torch::cuda::is_available()) {
    REQUIRE(engine::select_device("auto").is_cpu());
    REQUIRE_THROWS_WITH(engine::select_device("cuda"), Contains("no CUDA device"));
    REQUIRE_THROWS_WITH(engine::select_devices("cuda:all"), Contains("no CUDA device"));
    REQUIRE(engine::select_devices("auto").empty());
  }
  const auto environment = engine::environment(engine::make_runtime("cpu", 2));
  REQUIRE(environment.at("threads") == 2);
  REQUIRE(environment.at("libtorch").get<std::string>().rfind("2.11.0", 0) == 0);
}
