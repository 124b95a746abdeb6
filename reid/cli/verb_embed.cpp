// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "catalogue.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/datasets/files.hpp"
#include "reid/metrics/npy.hpp"

namespace reid::cli {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::string run, model, config, weights, input, output, paths, feature;
  std::vector<std::string> assignments;
  int64_t batch = 0;
  bool flip = false;
};

/// The pictures of a folder and of the folders below it, or the lines of a list file, sorted by path.
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

void embed(const Arguments& arguments, const Common& common) {
  const auto names = catalogue();
  const bool from_run = !arguments.run.empty();
  REID_CHECK(!from_run || (arguments.config.empty() && arguments.model.empty() && arguments.weights.empty() &&
                           arguments.assignments.empty()),
             InputError, "--run: option must stand without --config, --model, --weights and --set, got both");
  REID_CHECK(from_run || !arguments.weights.empty(), InputError, "--weights: file must be given without --run, got none");
  engine::ExtractOptions options;
  if (!arguments.feature.empty()) options.feature = parse_enum<engine::FeatureChoice>("--feature", arguments.feature);
  options.flip = arguments.flip;
  options.batch = arguments.batch;
  const auto paths = pictures_of(arguments.input);
  const auto runtime = runtime_of(common);
  const auto model = from_run ? engine::open_run(arguments.run, names)
                              : engine::open_model(model_part(arguments.model, arguments.config, arguments.assignments),
                                                   arguments.weights, names);
  engine::prepare_for_inference(*model, options, runtime);
  const auto features = engine::extract_features(*model, paths, names.decoder, options, runtime, common.progress());
  metrics::write_npy(arguments.output, features);
  if (!arguments.paths.empty()) {
    std::string text;
    for (const auto& path : paths) text += path + "\n";
    write_file_atomic(arguments.paths, text);
  }
}

}  // namespace

void add_embed(CLI::App& app, Common& common) {
  auto* verb = app.add_subcommand("embed", "write the features of pictures, one row each, in sorted path order");
  const auto arguments = std::make_shared<Arguments>();
  verb->add_option("--run", arguments->run, "folder of a complete training run");
  verb->add_option("--model", arguments->model, "network by name, with its default options");
  verb->add_option("--config", arguments->config, "experiment file, or one with only {\"model\": ...}");
  verb->add_option("--weights", arguments->weights, "weight file");
  verb->add_option("--input", arguments->input, "folder of pictures (with those below it), or a text file with a path a line")->required();
  verb->add_option("--output", arguments->output, "features, .npy [N, D] float32, not normalised")->required();
  verb->add_option("--paths", arguments->paths, "text file for the paths, a line for each row");
  verb->add_option("--feature", arguments->feature, "deployed, before_neck or after_neck (default: deployed)");
  verb->add_option("--batch", arguments->batch, "pictures in one pass (default: 16 a thread on the CPU, 128 on CUDA)")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}));
  verb->add_flag("--flip", arguments->flip, "mean of the features of a picture and its mirror image");
  add_set(*verb, arguments->assignments);
  add_common(*verb, common, common_threads | common_device);
  verb->callback([arguments, &common] { embed(*arguments, common); });
}

}  // namespace reid::cli
