// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/experiment.hpp"

#include <torch/torch.h>

#include <set>

#include "reid/core/error.hpp"
#include "support.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using test::small_experiment;
using test::TempDir;
using test::World;

namespace {
engine::Experiment read(const World& world, const Json& json) { return engine::read_experiment(json, world.catalogue()); }
}  // namespace

TEST_CASE("an experiment is read, written out and read back", "[engine]") {
  const World world;
  const auto experiment = read(world, small_experiment(7));
  REQUIRE(experiment.seed == 5);
  REQUIRE(experiment.stages.size() == 1);
  REQUIRE(experiment.stages[0].epochs == 7);
  REQUIRE(experiment.stages[0].optimizer.at("beta2") == 0.999);
  REQUIRE(experiment.stages[0].sampler.at("batch") == 16);
  REQUIRE(experiment.model.at("embedding") == 6);
  const auto resolved = engine::resolve_experiment(experiment);
  REQUIRE(engine::resolve_experiment(read(world, resolved)) == resolved);
}

TEST_CASE("--set into a part keeps its name, written as an object, alone or not at all", "[engine]") {
  const auto set = [](const std::string& text, const std::string& assignment) {
    auto json = parse_json(text, "test");
    engine::set_experiment(json, assignment);
    return json.dump();
  };
  CHECK(set(R"({"optimizer":{"name":"sgd","rate":1}})", "/optimizer/rate=2") == R"({"optimizer":{"name":"sgd","rate":2}})");
  CHECK(set(R"({"optimizer":"sgd"})", "/optimizer/rate=2") == R"({"optimizer":{"name":"sgd","rate":2}})");
  CHECK(set("{}", "/optimizer/rate=2") == R"({"optimizer":{"name":"adam","rate":2}})");
  CHECK(set("{}", "/optimizer/name=sgd") == R"({"optimizer":{"name":"sgd"}})");
  CHECK(set("{}", "/optimizer=sgd") == R"({"optimizer":"sgd"})");
  CHECK(set(R"({"stages":[{},{"schedule":"multi_step"}]})", "/stages/1/schedule/gamma=0.5") ==
        R"({"stages":[{},{"schedule":{"name":"multi_step","gamma":0.5}}]})");
  CHECK(set(R"({"stages":[{}]})", "/stages/0/sampler/images=2") ==
        R"({"stages":[{"sampler":{"name":"identity_rga","images":2}}]})");
  CHECK(set(R"({"model":"tiny"})", "/model/preprocess/height=64") == R"({"model":{"name":"tiny","preprocess":{"height":64}}})");
  CHECK(set(R"({"model":{"name":"both","image":"tiny"}})", "/model/image/width=3") ==
        R"({"model":{"name":"both","image":{"name":"tiny","width":3}}})");
  CHECK(set(R"({"augment":["flip"]})", "/augment/0/probability=1") == R"({"augment":[{"name":"flip","probability":1}]})");
  CHECK(set("{}", "/augment/-=flip") == R"({"augment":["rga_crop","flip","random_erasing","flip"]})");
  CHECK(set(R"({"weights":"a.pth"})", "/weights/skip=[]") == R"({"weights":{"file":"a.pth","skip":[]}})");
  CHECK(set(R"({"weights":["a.pth"]})", "/weights/0/part=image") == R"({"weights":[{"file":"a.pth","part":"image"}]})");
  // What isn't a part is as for set_json; so is a part that has no default.
  CHECK_THROWS_WITH(set(R"({"seed":1})", "/seed/x=2"), Contains("--set /seed/x: 'x' must stand in an object or a list"));
  CHECK_THROWS_WITH(set("{}", "optimizer/rate=2"), Contains("/json/pointer=value"));
  CHECK_THROWS_WITH(set(R"({"augment":[]})", "/augment/0/probability=1"), Contains("list index must be below 0"));
  const World world;
  auto json = small_experiment();
  json.erase("optimizer");
  engine::set_experiment(json, "/optimizer/rate=0.125");
  CHECK(read(world, json).stages[0].optimizer.at("rate") == 0.125);
  json["optimizer"].erase("name");
  CHECK_THROWS_WITH(read(world, json), Contains("/optimizer: optimizer must be a name or an object with \"name\", got an object "
                                                "without it, {\"rate\":0.125}"));
}

TEST_CASE("mistakes in an experiment are named where they stand", "[engine]") {
  const World world;
  const auto message = [&](const std::string& assignment, Json json = small_experiment()) {
    set_json(json, assignment);
    try {
      read(world, json);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  REQUIRE_THAT(message("/epoch=3"), Contains("/epoch") && Contains("epochs"));
  REQUIRE_THAT(message("/epochs=1.5"), Contains("/epochs") && Contains("integer"));
  REQUIRE_THAT(message("/epochs=0"), Contains("/epochs") && Contains("between 1 and") && Contains("got 0"));
  REQUIRE_THAT(message("/precision=fp16"), Contains("/precision") && Contains("bf16"));
  REQUIRE_THAT(message("/schedule/name=cosin"), Contains("/schedule") && Contains("cosine"));
  REQUIRE_THAT(message("/schedule/floor=7"), Contains("/schedule/floor"));
  REQUIRE_THAT(message("/sampler/name=identity"), Contains("/sampler"));
  REQUIRE_THAT(message("/sampler/batch=0"), Contains("/sampler/batch"));
  REQUIRE_THAT(message("/augment/0=flp"), Contains("/augment/0") && Contains("flip"));
  REQUIRE_THAT(message("/model/name=tini"), Contains("/model") && Contains("tiny"));
  REQUIRE_THAT(message("/objective/name=classify"), Contains("/objective"));
  REQUIRE_THAT(message("/data/rot=x"), Contains("/data/rot") && Contains("root"));
  REQUIRE_THAT(message("/evaluation/feature=neck"), Contains("/evaluation/feature") && Contains("after_neck"));
  REQUIRE_THAT(message("/weights={\"fil\":\"x\"}"), Contains("/weights/fil"));
  REQUIRE_THAT(message("/validation={\"identities\":2}"), Contains("/validation/identities"));
  REQUIRE_THAT(message("/stages=[]"), Contains("/optimizer") && Contains("inside a stage"));
  Json staged = small_experiment();
  for (const char* key : {"optimizer", "schedule", "sampler", "augment", "objective", "epochs"}) staged.erase(key);
  REQUIRE_THAT(message("/stages=[]", staged), Contains("/stages") && Contains("at least one"));
  REQUIRE_THAT(message("/stages=[{\"epoch\":1}]", staged), Contains("/stages/0/epoch"));
  REQUIRE_THAT(message("/stages=[{\"schedule\":\"x\"},{}]", staged), Contains("/stages/0/schedule"));
  REQUIRE_THROWS_AS(read(world, Json::array()), ConfigError);
  REQUIRE_THROWS_WITH(read(world, Json::object()), Contains("/model"));
}

TEST_CASE("mistakes that need data or model are found before the folder is made", "[engine]") {
  const World world;
  const TempDir dir;
  const auto message = [&](const std::string& assignment) {
    auto json = small_experiment();
    set_json(json, assignment);
    std::string text = "accepted";
    try {
      test::train(world, json, test::run_options(dir / "run"));
    } catch (const Error& error) {
      text = error.what();
      REQUIRE(error.exit_code() == 2);
    }
    INFO(assignment);
    REQUIRE_FALSE(std::filesystem::exists(dir / "run"));
    return text;
  };
  REQUIRE_THAT(message("/data/root=nowhere"), Contains("nowhere"));
  REQUIRE_THAT(message("/data/root="), Contains("/data/root"));
  REQUIRE_THAT(message("/data/name=draw"), Contains("drawn"));
  REQUIRE_THAT(message("/optimizer/rat=1"), Contains("/optimizer/rat"));
  REQUIRE_THAT(message("/optimizer/rate=-1"), Contains("/optimizer/rate"));
  REQUIRE_THAT(message("/objective/losses/0=triplt"), Contains("/objective/losses/0"));
  REQUIRE_THAT(message("/model/width=0"), Contains("/model/width"));
  REQUIRE_THAT(message("/weights=no/such/file.pth"), Contains("no/such/file.pth"));
}

TEST_CASE("a run's folder is never overwritten", "[engine]") {
  const World world;
  const TempDir dir;
  const auto experiment = small_experiment(1);
  const auto first = test::train(world, experiment, test::run_options(dir / "run"));
  const auto model = read_file(dir / "run/model.safetensors");
  REQUIRE_THROWS_WITH(test::train(world, experiment, test::run_options(dir / "run")), Contains("--resume"));
  // A complete run that is resumed is complete.
  REQUIRE(test::train(world, experiment, test::run_options(dir / "run", true)).json == first.json);
  auto other = experiment;
  other["optimizer"]["rate"] = 0.02;
  REQUIRE_THROWS_WITH(test::train(world, other, test::run_options(dir / "run", true)), Contains("/stages/0/optimizer/rate"));
  auto moved = experiment;
  moved["data"]["root"] = "elsewhere";
  REQUIRE(test::train(world, moved, test::run_options(dir / "run", true)).finished);
  REQUIRE(read_file(dir / "run/model.safetensors") == model);

  std::filesystem::create_directory(dir / "full");
  write_file_atomic(dir / "full/precious", "x");
  REQUIRE_THROWS_WITH(test::train(world, experiment, test::run_options(dir / "full")), Contains("empty"));
  write_file_atomic(dir / "file", "x");
  REQUIRE_THROWS_AS(test::train(world, experiment, test::run_options(dir / "file")), InputError);
  REQUIRE_THROWS_WITH(engine::open_run(dir / "full", world.catalogue()), Contains("config.json"));
}

TEST_CASE("a set too small for one batch is the user's error", "[engine]") {
  const World world;
  const TempDir dir;
  auto json = small_experiment(1);
  json["sampler"] = Json{{"name", "random"}, {"batch", 1000}};
  REQUIRE_THROWS_AS(test::train(world, json, test::run_options(dir / "run")), ConfigError);
  REQUIRE_FALSE(std::filesystem::exists(dir / "run"));
}

TEST_CASE("a corrupt picture ends training with its name", "[engine]") {
  const World world;
  const TempDir dir;
  const auto experiment = read(world, small_experiment(1));
  auto catalogue = world.catalogue();
  catalogue.decoder = [](const std::string& path) { return test::draw(path == "13 2 1" ? "corrupt 13 2 1" : path); };
  REQUIRE_THROWS_WITH(engine::train_experiment(experiment, catalogue, test::run_options(dir / "run")),
                      Contains("corrupt 13 2 1"));
}

TEST_CASE("identities are held out whole", "[engine]") {
  const World world;
  const auto dataset = engine::open_dataset({"drawn", "anywhere", ""}, {}, "", world.catalogue());
  const auto split = engine::hold_out(dataset, 0.25, 3);
  std::set<int64_t> trained, held;
  for (const auto& s : split.train) trained.insert(s.identity);
  const auto& evaluation = split.validation.splits.at(0);
  for (const auto& s : evaluation.query) held.insert(s.identity);
  for (const auto& s : evaluation.gallery) REQUIRE(held.count(s.identity) == 1);
  REQUIRE(held.size() == 2);
  REQUIRE(trained.size() == 6);
  for (const int64_t id : held) REQUIRE(trained.count(id) == 0);
  REQUIRE(evaluation.query.size() == 6);    // 2 identities x 3 cameras
  REQUIRE(evaluation.gallery.size() == 6);  // the other picture of each
  REQUIRE(split.validation.default_protocol == "generic_camera");
  REQUIRE(engine::hold_out(dataset, 0.25, 3).train.front().path == split.train.front().path);
}
