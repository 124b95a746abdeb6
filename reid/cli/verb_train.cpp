// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "catalogue.hpp"
#include "reid/core/error.hpp"

namespace reid::cli {
namespace {

struct Arguments {
  std::string config, output, stages_from;
  std::vector<std::string> assignments;
  bool resume = false;
};

void train(const Arguments& arguments, const Common& common) {
  std::string config = arguments.config;
  if (config.empty()) {
    const auto stored = std::filesystem::path(arguments.output) / "config.json";
    std::error_code error;
    REID_CHECK(arguments.resume, InputError, "--config: file must be given for a new run, got none");
    REID_CHECK(std::filesystem::exists(stored, error), InputError,
               fmt::format("{}: folder must hold a run to be resumed without --config, got one without config.json", arguments.output));
    config = stored.string();
  }
  Json json = read_config_file(config);
  for (const auto& assignment : arguments.assignments) engine::set_experiment(json, assignment);
  if (common.seed && json.is_object()) json["seed"] = *common.seed;
  const auto names = catalogue();
  const auto experiment =
      engine::naming(source_of(config, arguments.assignments), [&] { return engine::read_experiment(json, names); });

  const StopOnSignal signals;
  engine::RunOptions options;
  options.output = arguments.output;
  options.resume = arguments.resume;
  options.stages_from = arguments.stages_from;
  options.runtime = runtime_of(common);
  options.progress = common.progress();
  options.stop = signals.question();
  const auto summary = engine::train_experiment(experiment, names, options);
  common.write_json(summary.json);
  REID_CHECK(summary.finished, WorkError,
             fmt::format("train: run must go to its end, got a stop after {} steps (continue it with --resume --output {})",
                         summary.json.at("steps").get<int64_t>(), arguments.output));
  if (common.json != "-") {
    std::cout << (options.output / "model.safetensors").string() << "\n";
  }
}

}  // namespace

void add_train(CLI::App& app, Common& common) {
  auto* verb = app.add_subcommand("train", "train a model as an experiment file says");
  const auto arguments = std::make_shared<Arguments>();
  verb->add_option("--config", arguments->config, "experiment file (JSON); may be left out with --resume");
  add_set(*verb, arguments->assignments);
  verb->add_option("--output", arguments->output,
                   "folder of the run: config.json, environment.json, log.jsonl, checkpoint.safetensors, "
                   "model.safetensors, done.json")
      ->required()
      ->check(named_folder());
  verb->add_option("--stages-from", arguments->stages_from,
                   "another run: stages that it has ended and this experiment begins with aren't trained again");
  verb->add_flag("--resume", arguments->resume, "continue the run in --output from its checkpoint");
  add_common(*verb, common, common_all, "seed of everything random (default: the configuration's)");
  verb->callback([arguments, &common] { train(*arguments, common); });
}

}  // namespace reid::cli
