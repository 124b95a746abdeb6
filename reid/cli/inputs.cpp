// SPDX-License-Identifier: Apache-2.0
#include "inputs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/datasets/files.hpp"
#include "verb.hpp"

namespace reid::cli {

namespace fs = std::filesystem;

std::vector<std::string> pictures_of(const std::string& input) {
  std::vector<std::string> paths;
  std::error_code error;
  if (fs::is_directory(input, error)) {
    for (const auto& name : datasets::list_pictures(input, /*recursive=*/true).names) {
      paths.push_back((fs::path(input) / name).string());
    }
  } else {
    std::istringstream lines(read_file(input));
    int64_t number = 0;
    for (std::string line; std::getline(lines, line);) {
      ++number;
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (line.empty()) continue;
      REID_CHECK(line.find('\0') == std::string::npos, InputError,
                 fmt::format("{}, line {}: line must be a path, got binary data (a list is a text file of paths)", input, number));
      REID_CHECK(fs::exists(line, error), InputError, fmt::format("{}, line {}: picture must exist, got '{}'", input, number, line));
      paths.push_back(line);
    }
  }
  REID_CHECK(!paths.empty(), InputError, fmt::format("{}: input must hold pictures, got none", input));
  std::sort(paths.begin(), paths.end());
  return paths;
}

void ModelArguments::add(CLI::App& verb) {
  verb.add_option("--run", run, "folder of a complete training run");
  verb.add_option("--model", model, "network by name, with its default options");
  verb.add_option("--config", config, "experiment file, or one with only {\"model\": ...}");
  verb.add_option("--weights", weights, "weight file");
  add_set(verb, assignments);
}

void ModelArguments::check() const {
  const bool alone = config.empty() && model.empty() && weights.empty() && assignments.empty();
  REID_CHECK(run.empty() || alone, InputError,
             "--run: option must stand without --config, --model, --weights and --set, got both");
  REID_CHECK(!run.empty() || !weights.empty(), InputError, "--weights: file must be given without --run, got none");
}

std::shared_ptr<nn::Model> ModelArguments::open(const engine::Catalogue& names) const {
  check();
  if (!run.empty()) return engine::open_run(run, names);
  return engine::open_model(configuration(model, config, assignments, {"evaluation", "model"})["model"], weights, names);
}

Json ModelArguments::evaluation() const {
  if (!run.empty()) return Json::object();
  const Json root = configuration(model, config, assignments, {"evaluation", "model"});
  return root.contains("evaluation") ? root["evaluation"] : Json::object();
}

void FeatureArguments::add(CLI::App& verb) {
  verb.add_option("--feature", feature, "of pictures: deployed, before_neck or after_neck (default: deployed)");
  verb.add_option("--batch", batch, "pictures in one pass (default: 16 a thread on the CPU, 128 on CUDA)")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}));
  verb.add_flag("--flip", flip, "mean of the features of a picture and its mirror image");
}

engine::ExtractOptions FeatureArguments::options(const Json& evaluation) const {
  engine::ExtractOptions options = read_options<engine::EvaluationOptions>(evaluation, "/evaluation");
  if (!feature.empty()) options.feature = parse_enum<engine::FeatureChoice>("--feature", feature);
  options.flip = options.flip || flip;
  if (batch > 0) options.batch = batch;
  return options;
}

}  // namespace reid::cli
