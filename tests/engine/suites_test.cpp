// SPDX-License-Identifier: Apache-2.0
// The repository's own suites and recipes: every option exists, every name is known. What they train on need not be there.
#include <filesystem>
#include <set>

#include "reid/core/error.hpp"
#include "reid/core/json.hpp"
#include "reid/datasets/registry.hpp"
#include "reid/engine/compare.hpp"
#include "reid/losses/losses.hpp"
#include "reid/models/registry.hpp"
#include "support/catch.hpp"

using namespace reid;
namespace fs = std::filesystem;

namespace {

const fs::path kSuites = fs::path(REID_SOURCE_DIR) / "benchmarks/suites";

engine::Catalogue catalogue() { return {models::registry(), losses::objectives(), datasets::registry(), {}}; }

std::vector<fs::path> json_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  return files;
}

}  // namespace

TEST_CASE("every recipe is an experiment of this version", "[engine][suites]") {
  const auto files = json_files(kSuites / "recipes");
  REQUIRE(files.size() > 10);
  for (const auto& file : files) {
    INFO(file.string());
    CHECK_NOTHROW(engine::read_experiment(read_config_file(file), catalogue()));
  }
}

TEST_CASE("every suite's entries are experiments of one protocol, and its published lines are marked with it", "[engine][suites]") {
  const auto files = json_files(kSuites);
  REQUIRE(files.size() > 5);
  for (const auto& file : files) {
    INFO(file.string());
    const auto suite = read_options<engine::Suite>(read_config_file(file));
    std::set<std::string> names;
    for (const auto& entry : suite.entries) {
      INFO(entry.name);
      CHECK(names.insert(entry.name).second);
      if (entry.oracle) {
        CHECK(names.count(entry.oracle->of) == 1);
        continue;
      }
      Json json = suite.base;
      if (!entry.config.empty()) merge_json(json, read_config_file(kSuites / entry.config));
      merge_json(json, entry.experiment);
      if (!json.contains("data")) json["data"] = {{"name", suite.data.name}, {"root", suite.data.root}};
      engine::Experiment experiment;
      REQUIRE_NOTHROW(experiment = engine::read_experiment(json, catalogue()));
      CHECK(experiment.data.name == suite.data.name);
    }
    for (const auto& line : suite.published) {
      CHECK(line.protocol == suite.protocol);
      CHECK_FALSE(line.source.empty());
      for (const auto& [name, value] : line.metrics.items()) {
        CHECK(value.get<double>() > 0);
        CHECK(value.get<double>() < 1);
      }
    }
  }
}
