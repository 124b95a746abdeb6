// SPDX-License-Identifier: Apache-2.0
// Whole training runs, with a network and a data set made for the purpose.
#include <torch/torch.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "reid/core/error.hpp"
#include "reid/engine/checkpoint.hpp"
#include "reid/engine/trainer.hpp"
#include "support.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using test::run_options;
using test::small_experiment;
using test::TempDir;
using test::World;

namespace {

std::vector<Json> log_of(const std::filesystem::path& run) {
  std::vector<Json> lines;
  std::ifstream file(run / "log.jsonl");
  for (std::string line; std::getline(file, line);) lines.push_back(parse_json(line, "log.jsonl"));
  return lines;
}

/// A log without what depends on the clock.
std::vector<Json> without_times(std::vector<Json> lines) {
  for (auto& line : lines) {
    for (const char* key : {"seconds", "data_wait_seconds", "pictures_per_second"}) line.erase(key);
  }
  return lines;
}

bool same_tensors(const std::filesystem::path& a, const std::filesystem::path& b) {
  const auto x = nn::read_weights(a).tensors, y = nn::read_weights(b).tensors;
  if (x.size() != y.size() || x.empty()) return false;
  for (const auto& [name, tensor] : x) {
    if (y.count(name) == 0 || !torch::equal(tensor, y.at(name))) return false;
  }
  return true;
}

/// Asks to stop after the given number of steps.
std::function<bool()> stop_after(int64_t steps) {
  return [steps, count = int64_t{0}]() mutable { return ++count >= steps; };
}

/// An objective whose loss, or whose gradient alone, is not a number from a given step on.
class Diverging : public nn::Objective {
 public:
  struct Options {
    int64_t step = 4;
    bool gradient = false;
    template <class V>
    void fields(V&& v) {
      v("step", step, "first bad step", Range{0, 1e6});
      v("gradient", gradient, "the loss stays finite");
    }
  };
  Diverging(const Options& options, nn::Model& model, const nn::TrainingFacts&)
      : step_(options.step), gradient_(options.gradient) {
    weight_ = register_parameter("weight", torch::ones({model.embedding_size()}));
  }
  nn::ObjectiveResult compute(nn::Model& model, const Batch& batch, const Progress& progress) override {
    auto loss = (model.encode_image(batch.images, 0).embedding * weight_).square().mean();
    auto other = loss.detach() * 0 + 2;
    if (progress.step >= step_) {
      // The root's slope at 0 is infinite.
      loss = gradient_ ? loss + (weight_ * 0).square().sum().sqrt() : loss * std::numeric_limits<double>::quiet_NaN();
    }
    return {loss + other, {{"bad", loss.detach()}, {"good", other}}};
  }

 private:
  int64_t step_;
  bool gradient_;
  torch::Tensor weight_;
};

/// An objective that has a part of its loss from a given step on, each as large as the step.
class Late : public nn::Objective {
 public:
  struct Options {
    int64_t step = 0;
    template <class V>
    void fields(V&& v) {
      v("step", step, "first step that has it", Range{0, 1e6});
    }
  };
  Late(const Options& options, nn::Model&, const nn::TrainingFacts&) : step_(options.step) {}
  nn::ObjectiveResult compute(nn::Model& model, const Batch& batch, const Progress& progress) override {
    const auto loss = model.encode_image(batch.images, 0).embedding.square().mean();
    nn::ObjectiveResult result{loss, {{"always", loss.detach() * 0 + 1}}};
    if (progress.step >= step_) result.parts.emplace_back("late", loss.detach() * 0 + progress.step);
    return result;
  }

 private:
  int64_t step_;
};

/// Always the same batches.
class GivenBatches : public data::Sampler {
 public:
  explicit GivenBatches(std::vector<std::vector<int64_t>> batches) : batches_(std::move(batches)) {}
  std::vector<std::vector<int64_t>> epoch(const std::vector<int64_t>&, uint64_t, int64_t) const override {
    return batches_;
  }

 private:
  std::vector<std::vector<int64_t>> batches_;
};

std::vector<int64_t> every_third(int64_t first) {
  std::vector<int64_t> result;
  for (int64_t i = first; i < 48; i += 3) result.push_back(i);
  return result;
}

torch::Tensor all_of(const std::vector<engine::NamedParameter>& parameters) {
  std::vector<torch::Tensor> list;
  for (const auto& p : parameters) list.push_back(p.value.detach().to(torch::kFloat64).flatten());
  return torch::cat(list);
}

double norm_of(const torch::Tensor& tensor) { return tensor.norm().item<double>(); }

/// How one step of plain gradient descent over `batches`, from always the same start, moves all parameters. Batch
/// norm uses each batch's own statistics and nothing is drawn, so gradients of batches are independent.
torch::Tensor step_of(const std::vector<std::vector<int64_t>>& batches, int64_t accumulate) {
  const World world;
  torch::manual_seed(5);
  engine::TrainerParts parts;
  parts.model = std::make_shared<test::TinyModel>(test::TinyModel::Options{.dropout = 0});
  parts.objective = losses::objectives().create(Json{{"name", "classify_and_rank"}, {"classifier_std", 0.5}}, "/objective",
                                                *parts.model, nn::TrainingFacts{8, 3});
  const auto parameters = engine::trainable_parameters(*parts.model, *parts.objective);
  parts.optimizer = engine::optimizers().create(
      Json{{"name", "sgd"}, {"rate", 0.1}, {"momentum", 0}, {"weight_decay", 0}}, "/optimizer", parameters);
  parts.schedule = engine::schedules().create(Json{{"name", "constant"}}, "/schedule");
  parts.sampler = std::make_shared<GivenBatches>(batches);
  const auto samples =
      engine::open_dataset({"drawn", "anywhere", ""}, {.train = true, .evaluation = false}, "", world.catalogue()).train;
  for (const auto& sample : samples) parts.labels.push_back(sample.identity / 10);
  const auto& size = parts.model->preprocess();
  parts.loader = std::make_shared<data::Loader>(samples, parts.labels, test::draw, data::evaluation_transform(size),
                                                size.height, size.width, data::LoaderOptions{});
  engine::LoopOptions loop;
  loop.epochs = 1;
  loop.accumulate = accumulate;
  const auto before = all_of(parameters);
  engine::Trainer trainer(parts, loop, 5, engine::make_runtime("cpu", 2));
  REQUIRE(trainer.run({}));
  REQUIRE(trainer.steps_done() == 1);
  return all_of(engine::trainable_parameters(*parts.model, *parts.objective)) - before;
}

}  // namespace

TEST_CASE("a run learns, and leaves what it promises", "[engine]") {
  const World world;
  const TempDir dir;
  const auto summary = test::train(world, small_experiment(40), run_options(dir / "run"));
  REQUIRE(summary.finished);
  REQUIRE(summary.json.at("steps") == 120);
  for (const char* name : {"config.json", "environment.json", "log.jsonl", "checkpoint.safetensors", "model.safetensors", "done.json"}) {
    INFO(name);
    REQUIRE(std::filesystem::file_size(dir / "run" / name) > 0);
  }
  const auto log = log_of(dir / "run");
  REQUIRE(log.size() == 40);
  REQUIRE(log.back().at("loss").get<double>() < 0.6 * log.front().at("loss").get<double>());
  REQUIRE(log.back().at("epoch") == 39);
  REQUIRE(log.back().at("step") == 120);
  REQUIRE(log.back().at("pictures") == 48);
  REQUIRE(log.back().at("pictures_per_second").get<double>() > 0);
  REQUIRE(log.back().at("parts").at("accuracy").get<double>() > 0.8);
  REQUIRE(log.front().at("rate").get<double>() == Approx(0.5 * (0.01 + 2e-5) + 0.5 * (0.01 - 2e-5) * std::cos(M_PI / 40)));

  const auto catalogue = world.catalogue();
  auto model = engine::open_run(dir / "run", catalogue);
  const auto file = nn::read_weights(dir / "run" / "model.safetensors");
  REQUIRE(parse_json(file.metadata.at("model"), "metadata").at("name") == "tiny");
  REQUIRE(file.metadata.at("selected") == "last");
  REQUIRE(engine::fingerprint_of(nn::state_of(*model)) == summary.json.at("weights_fingerprint"));

  // What it has learned is worth something on people it hasn't seen: far above chance (1/8) at rank 1.
  const auto dataset = engine::open_dataset({"drawn", "anywhere", ""}, {}, "", catalogue);
  const auto result = engine::evaluate_model(*model, dataset, {}, test::draw, engine::make_runtime("cpu", 2), 1);
  REQUIRE(result.json.at("metrics").at("rank1").get<double>() > 0.5);
}

TEST_CASE("a run stopped in the middle of an epoch and resumed is the uninterrupted run, to the bit", "[engine]") {
  const World world;
  const TempDir dir;
  auto experiment = small_experiment(3);
  const bool with_ema = GENERATE(false, true);
  if (with_ema) experiment["ema"] = Json{{"decay", 0.9}};
  experiment["log_every"] = 2;
  const char* optimizer = with_ema ? "sgd" : "adam";
  experiment["optimizer"] = Json{{"name", optimizer}, {"rate", 0.01}};
  REQUIRE(test::train(world, experiment, run_options(dir / "whole")).finished);
  for (const int64_t steps : {1, 3, 5}) {  // mid-epoch, end of epoch, mid-epoch
    INFO("stopped after " << steps << " steps");
    const auto output = dir / ("cut" + std::to_string(steps));
    auto options = run_options(output);
    options.stop = stop_after(steps);
    const auto stopped = test::train(world, experiment, options);
    REQUIRE_FALSE(stopped.finished);
    REQUIRE(stopped.json.at("steps") == steps);
    REQUIRE_FALSE(std::filesystem::exists(output / "done.json"));
    const auto catalogue = world.catalogue();
    REQUIRE_THROWS_AS(engine::open_run(output, catalogue), InputError);
    REQUIRE(test::train(world, experiment, run_options(output, true)).finished);
    REQUIRE(same_tensors(dir / "whole/checkpoint.safetensors", output / "checkpoint.safetensors"));
    REQUIRE(same_tensors(dir / "whole/model.safetensors", output / "model.safetensors"));
    REQUIRE(without_times(log_of(dir / "whole")) == without_times(log_of(output)));
  }
}

TEST_CASE("a run goes on where an option came since it was begun, and not with another value", "[engine]") {
  const World world;
  const TempDir dir;
  auto experiment = small_experiment(2);
  auto options = run_options(dir / "run");
  options.stop = stop_after(1);
  REQUIRE_FALSE(test::train(world, experiment, options).finished);
  auto config = read_json_file(dir / "run/config.json");
  REQUIRE(config.at("/stages/0/accumulate"_json_pointer) == 1);
  config["stages"][0].erase("accumulate");
  config["model"].erase("preprocess");
  write_file_atomic(dir / "run/config.json", config.dump());
  auto other = experiment;
  other["accumulate"] = 2;
  REQUIRE_THROWS_WITH(test::train(world, other, run_options(dir / "run", true)),
                      Catch::Matchers::Contains("must be the one the run was begun with, got another /stages/0/accumulate"));
  REQUIRE(test::train(world, experiment, run_options(dir / "run", true)).finished);
}

TEST_CASE("a camera that the model doesn't know is found before the folder is touched", "[engine]") {
  const World world;
  const TempDir dir;
  auto experiment = small_experiment(1);
  experiment["model"] = "two_cameras";
  REQUIRE_THROWS_WITH(test::train(world, experiment, run_options(dir / "run")),
                      Catch::Matchers::Contains("camera must be 1 to 2") && Catch::Matchers::Contains("got 3"));
  REQUIRE_FALSE(std::filesystem::exists(dir / "run"));
}

TEST_CASE("two stops in a row, and a stop after each step, change nothing", "[engine]") {
  const World world;
  const TempDir dir;
  const auto experiment = small_experiment(2);
  test::train(world, experiment, run_options(dir / "whole"));
  bool finished = false;
  int64_t sessions = 0;
  while (!finished) {
    auto options = run_options(dir / "cut", sessions > 0);
    options.stop = [] { return true; };
    finished = test::train(world, experiment, options).finished;
    REQUIRE(++sessions <= 6);
  }
  REQUIRE(sessions == 6);
  REQUIRE(same_tensors(dir / "whole/model.safetensors", dir / "cut/model.safetensors"));
}

TEST_CASE("the number of loader threads changes nothing", "[engine]") {
  const World world;
  const TempDir dir;
  auto experiment = small_experiment(2);
  experiment["data"]["loader_threads"] = 1;
  test::train(world, experiment, run_options(dir / "one"));
  experiment["data"]["loader_threads"] = 3;
  experiment["data"]["prefetch"] = 1;
  test::train(world, experiment, run_options(dir / "three"));
  REQUIRE(same_tensors(dir / "one/model.safetensors", dir / "three/model.safetensors"));
}

TEST_CASE("the seed decides, and another one gives another run", "[engine]") {
  const World world;
  const TempDir dir;
  auto experiment = small_experiment(1);
  test::train(world, experiment, run_options(dir / "a"));
  torch::manual_seed(99);  // what went on before doesn't matter
  test::train(world, experiment, run_options(dir / "b"));
  experiment["seed"] = 6;
  test::train(world, experiment, run_options(dir / "c"));
  REQUIRE(same_tensors(dir / "a/model.safetensors", dir / "b/model.safetensors"));
  REQUIRE_FALSE(same_tensors(dir / "a/model.safetensors", dir / "c/model.safetensors"));
}

TEST_CASE("a loss that isn't finite ends the run and keeps the last checkpoint", "[engine]") {
  World world;
  auto objectives = losses::objectives();
  objectives.add<Diverging>("diverging");
  const TempDir dir;
  auto experiment = small_experiment(3);
  experiment["objective"] = Json{{"name", "diverging"}, {"step", 4}};
  const engine::Catalogue catalogue{world.models, objectives, world.datasets, test::draw};
  try {
    engine::train_experiment(engine::read_experiment(experiment, catalogue), catalogue, run_options(dir / "run"));
    FAIL("must not finish");
  } catch (const WorkError& error) {
    REQUIRE_THAT(error.what(), Contains("step 4") && Contains("epoch 1") && Contains("bad nan") && Contains("good 2"));
    REQUIRE(error.exit_code() == 1);
  }
  // A finite loss with another gradient, at the last step before a checkpoint.
  experiment["objective"] = Json{{"name", "diverging"}, {"step", 5}, {"gradient", true}};
  experiment["clip_norm"] = 1.0;
  REQUIRE_THROWS_WITH(engine::train_experiment(engine::read_experiment(experiment, catalogue), catalogue, run_options(dir / "clipped")),
                      Contains("norm of all gradients must be finite") && Contains("step 5"));
  for (const char* run : {"run", "clipped"}) {
    const auto checkpoint = engine::load_checkpoint(dir / run / "checkpoint.safetensors");
    REQUIRE(checkpoint.state.at("position").at("step") == 3);
    for (const auto& [name, tensor] : checkpoint.tensors) {
      if (tensor.is_floating_point()) REQUIRE(tensor.isfinite().all().item<bool>());
    }
  }
}

TEST_CASE("a part of the loss that begins later is the mean of the batches that had it, continued or not", "[engine]") {
  World world;
  auto objectives = losses::objectives();
  objectives.add<Late>("late");
  const engine::Catalogue catalogue{world.models, objectives, world.datasets, test::draw};
  const TempDir dir;
  auto experiment = small_experiment(2);
  experiment["objective"] = Json{{"name", "late"}, {"step", 2}};
  experiment["log_every"] = 5;  // three steps an epoch: an interval reaches over two
  const auto plan = engine::read_experiment(experiment, catalogue);
  const auto interval_of = [&](const char* run) {
    Json found;
    for (const auto& line : log_of(dir / run)) {
      if (line.at("event") == "interval") found = line.at("parts");
    }
    return found;
  };
  engine::train_experiment(plan, catalogue, run_options(dir / "whole"));
  REQUIRE(interval_of("whole") == Json{{"always", 1.0}, {"late", 3.0}});  // steps 2, 3 and 4
  auto options = run_options(dir / "parts");
  options.stop = stop_after(4);
  REQUIRE_FALSE(engine::train_experiment(plan, catalogue, options).finished);
  engine::train_experiment(plan, catalogue, run_options(dir / "parts", true));
  REQUIRE(interval_of("parts") == interval_of("whole"));
}

TEST_CASE("held-out identities choose the best epoch and never train", "[engine]") {
  const World world;
  const TempDir dir;
  auto experiment = small_experiment(4);
  experiment["sampler"]["batch"] = 12;
  experiment["validation"] = Json{{"identities", 0.25}, {"every", 2}};
  const auto summary = test::train(world, experiment, run_options(dir / "run"));
  REQUIRE(summary.json.at("identities") == 6);
  REQUIRE(summary.json.at("pictures") == 36);
  std::vector<double> values;
  for (const auto& line : log_of(dir / "run")) {
    if (line.at("event") == "validation") values.push_back(line.at("metrics").at("map").get<double>());
  }
  REQUIRE(values.size() == 2);
  REQUIRE(summary.json.at("best").at("value") == std::max(values[0], values[1]));
  REQUIRE_THAT(summary.json.at("selected").get<std::string>(), Contains("best_validation"));
  REQUIRE(same_tensors(dir / "run/best.safetensors", dir / "run/model.safetensors"));

  // Stopped and resumed: the same choice.
  auto options = run_options(dir / "cut");
  options.stop = stop_after(8);
  REQUIRE_FALSE(test::train(world, experiment, options).finished);
  REQUIRE(test::train(world, experiment, run_options(dir / "cut", true)).json == summary.json);
}

TEST_CASE("stages follow each other, each with its own objective, and resume inside the second", "[engine]") {
  const World world;
  const TempDir dir;
  Json experiment = small_experiment(2);
  Json stage = Json::object();
  for (const char* key : {"optimizer", "schedule", "sampler", "augment", "objective", "epochs"}) {
    stage[key] = experiment[key];
    experiment.erase(key);
  }
  Json second = stage;
  second["name"] = "second";
  second["objective"] = Json{{"name", "classify_and_rank"}, {"losses", Json::array({"triplet"})}};
  experiment["stages"] = Json::array({stage, second});
  const auto summary = test::train(world, experiment, run_options(dir / "whole"));
  REQUIRE(summary.json.at("steps") == 12);
  const auto log = log_of(dir / "whole");
  REQUIRE(log.size() == 4);
  REQUIRE(log[1].at("stage") == "train");
  REQUIRE(log[2].at("stage") == "second");
  REQUIRE_FALSE(log[2].at("parts").contains("cross_entropy"));
  for (const int64_t steps : {6, 7}) {  // between the stages, inside the second
    INFO("stopped after " << steps << " steps");
    const auto output = dir / ("cut" + std::to_string(steps));
    auto options = run_options(output);
    options.stop = stop_after(steps);
    const auto stopped = test::train(world, experiment, options);
    REQUIRE_FALSE(stopped.finished);
    REQUIRE(stopped.json.at("steps") == steps);
    REQUIRE(engine::load_checkpoint(output / "checkpoint.safetensors").state.at("stage") == (steps == 6 ? 0 : 1));
    REQUIRE(test::train(world, experiment, run_options(output, true)).json == summary.json);
    REQUIRE(same_tensors(dir / "whole/model.safetensors", output / "model.safetensors"));
    REQUIRE(without_times(log_of(dir / "whole")) == without_times(log_of(output)));
  }
}

TEST_CASE("accumulated batches, clipped gradients and bf16 train", "[engine]") {
  const World world;
  const TempDir dir;
  auto experiment = small_experiment(40);
  experiment["precision"] = "bf16";
  experiment["channels_last"] = false;
  test::train(world, experiment, run_options(dir / "bf16"));
  const auto log = log_of(dir / "bf16");
  REQUIRE(log.back().at("loss").get<double>() < 0.6 * log.front().at("loss").get<double>());

  // Three batches, two at a time: two steps an epoch, the second of one batch.
  experiment = small_experiment(1);
  experiment["accumulate"] = 2;
  REQUIRE(test::train(world, experiment, run_options(dir / "accumulate")).json.at("steps") == 2);

  // With plain gradient descent a clipped step can't be longer than rate * norm.
  experiment = small_experiment(1);
  experiment["optimizer"] = Json{{"name", "sgd"}, {"rate", 1.0}, {"momentum", 0}, {"weight_decay", 0}};
  experiment["schedule"] = "constant";
  experiment["clip_norm"] = 1e-3;
  auto options = run_options(dir / "clip");
  options.stop = stop_after(1);
  test::train(world, experiment, options);
  const auto after = engine::with_prefix_removed(engine::load_checkpoint(dir / "clip/checkpoint.safetensors").tensors, "model.");
  torch::manual_seed(5);
  const test::TinyModel start({});
  double moved = 0;
  for (const auto& item : start.named_parameters()) {
    moved += (after.at(item.key()) - item.value().detach()).square().sum().item<double>();
  }
  REQUIRE(std::sqrt(moved) <= 1.01e-3);
  REQUIRE(std::sqrt(moved) > 1e-4);
}

TEST_CASE("a step over accumulated batches is the mean of their steps", "[engine]") {
  const std::vector<int64_t> a = every_third(0), b = every_third(1), c = every_third(2);
  const auto step_a = step_of({a}, 1), step_b = step_of({b}, 1), step_c = step_of({c}, 1);
  REQUIRE(norm_of(step_a) > 1e-3);
  REQUIRE(norm_of(step_a - step_b) > 0.01 * norm_of(step_a));  // they aren't one step three times
  const auto mean = (step_a + step_b + step_c) / 3;
  REQUIRE(norm_of(step_of({a, b, c}, 3) - mean) < 1e-4 * norm_of(mean));
  REQUIRE(norm_of(step_of({a, a}, 2) - step_a) < 1e-4 * norm_of(step_a));
  // Fewer batches than asked for are averaged over those there are.
  REQUIRE(norm_of(step_of({a, b}, 3) - (step_a + step_b) / 2) < 1e-4 * norm_of(mean));
  REQUIRE(norm_of(step_of({a}, 2) - step_a) < 1e-4 * norm_of(step_a));
}

TEST_CASE("the running average is what is deployed", "[engine]") {
  const World world;
  const TempDir dir;
  auto experiment = small_experiment(1);
  experiment["ema"] = Json{{"decay", 1.0}};  // never moves: the start
  test::train(world, experiment, run_options(dir / "run"));
  torch::manual_seed(5);
  const test::TinyModel start({});
  const auto deployed = nn::read_weights(dir / "run/model.safetensors").tensors;
  REQUIRE(torch::equal(deployed.at("conv.weight"), start.named_parameters()["conv.weight"]));
  const auto live = nn::read_weights(dir / "run/checkpoint.safetensors").tensors;
  REQUIRE_FALSE(torch::equal(live.at("model.conv.weight"), deployed.at("conv.weight")));
}

TEST_CASE("weights to start from are loaded", "[engine]") {
  const World world;
  const TempDir dir;
  test::train(world, small_experiment(2), run_options(dir / "first"));
  auto experiment = small_experiment(1);
  experiment["weights"] = (dir / "first/model.safetensors").string();
  experiment["optimizer"] = Json{{"name", "sgd"}, {"rate", 0}};
  test::train(world, experiment, run_options(dir / "second"));
  const auto a = nn::read_weights(dir / "first/model.safetensors").tensors;
  const auto b = nn::read_weights(dir / "second/model.safetensors").tensors;
  REQUIRE(torch::equal(a.at("linear.weight"), b.at("linear.weight")));
  experiment["model"]["width"] = 4;
  REQUIRE_THROWS_AS(test::train(world, experiment, run_options(dir / "third")), CheckpointError);
  REQUIRE_FALSE(std::filesystem::exists(dir / "third"));
}
