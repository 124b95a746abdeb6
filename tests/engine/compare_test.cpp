// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/compare.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "reid/core/error.hpp"
#include "support.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using test::run_options;
using test::TempDir;
using test::World;

namespace {

Json small_suite() {
  auto base = test::small_experiment(2);
  base.erase("data");
  base.erase("seed");
  return Json{{"title", "Two widths"},
              {"protocol", "market1501"},
              {"data", {{"name", "drawn"}, {"root", "anywhere"}}},
              {"seeds", Json::array({1, 2})},
              {"base", base},
              {"entries", Json::array({Json{{"name", "narrow"}},
                                       Json{{"name", "wide"}, {"experiment", {{"model", {{"width", 16}}}}}}})},
              {"published", Json::array({Json{{"name", "somebody's"}, {"protocol", "market1501"},
                                              {"metrics", {{"rank1", 0.961}, {"map", 0.884}}}, {"source", "a paper"}}})}};
}

engine::SuiteSummary compare(const World& world, const Json& suite, const engine::RunOptions& options) {
  return engine::compare(suite, ".", world.catalogue(), options);
}

std::vector<Json> lines_of(const std::filesystem::path& path) {
  std::vector<Json> lines;
  std::istringstream text(read_file(path));
  for (std::string line; std::getline(text, line);) lines.push_back(parse_json(line, "results"));
  return lines;
}

}  // namespace

TEST_CASE("a suite is trained, scored and put into one table", "[engine]") {
  const World world;
  const TempDir dir;
  const auto suite = small_suite();
  const auto summary = compare(world, suite, run_options(dir / "out"));
  REQUIRE(summary.finished);
  const auto results = lines_of(dir / "out/results.jsonl");
  REQUIRE(results.size() == 4);
  for (const auto& line : results) REQUIRE(line.at("result").at("seed") == 0);  // of the bootstrap, for every training's seed
  REQUIRE(summary.json.at("entries").size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    const auto& entry = summary.json["entries"][i];
    for (const auto& [key, value] : entry.at("metrics").items()) {
      std::vector<double> own;
      for (const auto& line : results) {
        if (line.at("entry") == entry.at("name")) own.push_back(line.at("result").at("metrics").at(key).get<double>());
      }
      REQUIRE(own.size() == 2);
      const double mean = (own[0] + own[1]) / 2, half = 12.706 * std::abs(own[0] - own[1]) / 2;  // Student's t
      REQUIRE(value.get<double>() == Approx(mean));
      REQUIRE(entry.at("ci95").at(key).at(0).get<double>() == Approx(std::max(0.0, mean - half)));
      REQUIRE(entry.at("ci95").at(key).at(1).get<double>() == Approx(std::min(1.0, mean + half)));
    }
  }
  REQUIRE(summary.json["entries"][1].at("parameters").get<int64_t>() > summary.json["entries"][0].at("parameters").get<int64_t>());
  const auto& difference = summary.json["entries"][1].at("map_difference");
  REQUIRE(difference.at("mean").get<double>() ==
          Approx(summary.json["entries"][1]["metrics"]["map"].get<double>() - summary.json["entries"][0]["metrics"]["map"].get<double>()));
  REQUIRE(difference.at("ci95").at(0).get<double>() <= difference.at("mean").get<double>());
  const auto markdown = read_file(dir / "out/report.md");
  REQUIRE(markdown == summary.markdown);
  REQUIRE_THAT(markdown, Contains("# Two widths") && Contains("| narrow | 2 |") && Contains("| wide | 2 |") && Contains("market1501"));
  // The published number stands under its own heading, below everything measured.
  const auto heading = markdown.find("## Published, not measured here");
  REQUIRE(heading != std::string::npos);
  REQUIRE(markdown.find("somebody's") > heading);
  REQUIRE(markdown.find("96.10") > heading);
  REQUIRE_THAT(read_file(dir / "out/report.html"), Contains("<td>narrow</td>") && Contains("not measured here"));

  // Again: nothing is left to do, nothing changes.
  const auto before = read_file(dir / "out/results.jsonl");
  REQUIRE(compare(world, suite, run_options(dir / "out")).json == summary.json);
  REQUIRE(read_file(dir / "out/results.jsonl") == before);

  // The same suite with another recipe doesn't mix with what is there.
  auto other = suite;
  other["base"]["epochs"] = 1;
  REQUIRE_THROWS_WITH(compare(world, other, run_options(dir / "out")), Contains("another configuration"));

  // A damaged list of results is refused by line, and left as it is.
  for (const std::string text : {"{\n", "[]\n", "\n", R"({"entry": 3, "seed": 1, "fingerprint": "", "result": {}})"}) {
    write_file_atomic(dir / "out/results.jsonl", text);
    REQUIRE_THROWS_WITH(compare(world, suite, run_options(dir / "out")), Contains("results.jsonl, line 1"));
    REQUIRE(read_file(dir / "out/results.jsonl") == text);
  }
}

TEST_CASE("a comparison that is stopped goes on where it was", "[engine]") {
  const World world;
  const TempDir dir;
  auto suite = small_suite();
  suite["seeds"] = Json::array({3});
  const auto whole = compare(world, suite, run_options(dir / "whole"));
  auto options = run_options(dir / "cut");
  options.stop = [n = 0]() mutable { return ++n >= 8; };  // inside the second entry
  REQUIRE_FALSE(compare(world, suite, options).finished);
  const auto done = compare(world, suite, run_options(dir / "cut"));
  REQUIRE(done.finished);
  for (std::size_t i = 0; i < 2; ++i) {
    REQUIRE(done.json["entries"][i]["metrics"] == whole.json["entries"][i]["metrics"]);
    REQUIRE(whole.json["entries"][i].at("interval") == "queries");
  }
}

TEST_CASE("a model with weights is only evaluated", "[engine]") {
  const World world;
  const TempDir dir;
  test::train(world, test::small_experiment(1), run_options(dir / "run"));
  auto suite = small_suite();
  suite.erase("base");
  suite["entries"] = Json::array({Json{{"name", "given"}, {"model", "tiny"}, {"weights", (dir / "run/model.safetensors").string()}}});
  const auto summary = compare(world, suite, run_options(dir / "out"));
  REQUIRE(summary.json["entries"][0].at("training_seconds").is_null());
  REQUIRE(lines_of(dir / "out/results.jsonl").size() == 1);
}

TEST_CASE("a suite that would mix protocols, or is wrong, is refused before anything is trained", "[engine]") {
  const World world;
  const TempDir dir;
  const auto message = [&](const std::string& assignment) {
    auto suite = small_suite();
    set_json(suite, assignment);
    std::string text = "accepted";
    try {
      compare(world, suite, run_options(dir / "out"));
    } catch (const Error& error) {
      REQUIRE(error.exit_code() == 2);
      text = error.what();
    }
    INFO(assignment);
    REQUIRE_FALSE(std::filesystem::exists(dir / "out"));
    return text;
  };
  REQUIRE_THAT(message("/entries/1/experiment/evaluation={\"protocol\":\"generic\"}"), Contains("wide") && Contains("can't be compared"));
  REQUIRE_THAT(message("/published/0/protocol=msmt17_v1"), Contains("/published/0/protocol"));
  REQUIRE_THAT(message("/protocol=market"), Contains("market1501"));
  REQUIRE_THAT(message("/entries/1/name=narrow"), Contains("twice"));
  REQUIRE_THAT(message("/entries/1/name=../wide"), Contains("/entries/1/name"));
  REQUIRE_THAT(message("/entries/1/weights=x.pth"), Contains("/entries/1/weights"));
  REQUIRE_THAT(message("/entries/1/model=tiny"), Contains("/entries/1"));
  REQUIRE_THAT(message("/entries/1/experiment/epochs=0"), Contains("wide") && Contains("/epochs"));
  REQUIRE_THAT(message("/entries/1/config=no.json"), Contains("no.json"));
  REQUIRE_THAT(message("/entries=[]"), Contains("/entries"));
  REQUIRE_THAT(message("/seeds=[]"), Contains("/seeds"));
  REQUIRE_THAT(message("/sseds=[]"), Contains("/sseds") && Contains("seeds"));
}

TEST_CASE("what is wrong with a suite is said with its file in front", "[engine]") {
  const World world;
  const TempDir dir;
  const auto message = [&](const std::string& assignment) {
    auto suite = small_suite();
    engine::set_suite(suite, assignment);
    try {
      engine::compare(suite, ".", world.catalogue(), run_options(dir / "out"), "suite.json");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  CHECK_THAT(message("/sseds=[]"), StartsWith("suite.json: /sseds: unknown key"));
  CHECK_THAT(message("/seeds=[]"), StartsWith("suite.json: /seeds: "));
  CHECK_THAT(message("/protocol=market"), StartsWith("suite.json: "));
  CHECK_THAT(message("/entries/1/experiment/epochs=0"), StartsWith("suite.json: /entries/1 (wide): /epochs"));
  CHECK_THAT(message("/entries/1/experiment=3"), StartsWith("suite.json: /entries/1 (wide): experiment must be an object"));
  CHECK_THAT(message("/entries/1/config=no.json"), StartsWith("suite.json: ./no.json: "));
  CHECK_THAT(message("/data/name=drown"), StartsWith("suite.json: "));
  // A data set that isn't there is no mistake of the suite's.
  CHECK_THAT(message("/data/root=nowhere"), StartsWith("nowhere: folder must exist"));
}

TEST_CASE("options of a part go over its name, wherever a suite gives it", "[engine]") {
  const World world;
  const TempDir dir;
  auto suite = small_suite();
  suite["seeds"] = Json::array({1});
  suite["base"]["epochs"] = 1;
  suite["base"]["schedule"] = "constant";
  suite["base"].erase("augment");
  suite["base"]["optimizer"] = "sgd";
  suite["entries"] = Json::array({Json{{"name", "a"}}, Json{{"name", "b"}, {"config", "recipe.json"}}, Json{{"name", "c"}}});
  suite["entries"][2]["experiment"] = Json{{"optimizer", "adam"}};
  write_file_atomic(dir / "recipe.json", R"({"optimizer": {"momentum": 0.5}, "sampler": "random"})");
  engine::set_suite(suite, "/base/optimizer/rate=0.25");
  engine::set_suite(suite, "/entries/1/experiment/sampler/batch=8");
  engine::set_suite(suite, "/entries/2/experiment/optimizer/rate=0.125");
  engine::compare(suite, dir.path(), world.catalogue(), run_options(dir / "out"));
  const auto stage = [&](const char* run) { return read_json_file(dir / "out/runs" / run / "config.json").at("stages").at(0); };
  CHECK(stage("a-1").at("optimizer").at("name") == "sgd");
  CHECK(stage("a-1").at("optimizer").at("rate") == 0.25);
  CHECK(stage("b-1").at("optimizer").at("name") == "sgd");
  CHECK(stage("b-1").at("optimizer").at("rate") == 0.25);
  CHECK(stage("b-1").at("optimizer").at("momentum") == 0.5);
  CHECK(stage("b-1").at("sampler").at("name") == "random");
  CHECK(stage("b-1").at("sampler").at("batch") == 8);
  CHECK(stage("c-1").at("optimizer").at("name") == "adam");
  CHECK(stage("c-1").at("optimizer").at("rate") == 0.125);
}

TEST_CASE("mistakes in an entry are found before the data set is looked for", "[engine]") {
  const World world;
  const TempDir dir;
  auto suite = small_suite();
  suite["data"]["root"] = "nowhere";
  REQUIRE_THROWS_WITH(compare(world, suite, run_options(dir / "out")), Contains("nowhere: folder must exist"));
  set_json(suite, "/entries/1/experiment/epochs=0");
  REQUIRE_THROWS_WITH(compare(world, suite, run_options(dir / "out")), Contains("wide") && Contains("/epochs"));
  suite.erase("protocol");  // the data set's own, which isn't known yet
  suite["published"] = Json::array();
  REQUIRE_THROWS_WITH(compare(world, suite, run_options(dir / "out")), Contains("wide") && Contains("/epochs"));
}
