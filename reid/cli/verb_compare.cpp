// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "catalogue.hpp"
#include "reid/core/error.hpp"
#include "reid/engine/compare.hpp"

namespace reid::cli {
namespace {

struct Arguments {
  std::string suite, output;
  std::vector<std::string> assignments;
};

void compare(const Arguments& arguments, const Common& common) {
  std::error_code ignored;
  REID_CHECK(!std::filesystem::exists(arguments.output, ignored) || std::filesystem::is_directory(arguments.output, ignored),
             InputError, fmt::format("{}: output must be a folder, got a file", arguments.output));
  Json suite = read_config_file(arguments.suite);
  for (const auto& assignment : arguments.assignments) engine::set_suite(suite, assignment);
  if (common.seed && suite.is_object()) suite["seeds"] = Json::array({*common.seed});
  const StopOnSignal signals;
  engine::RunOptions options;
  options.output = arguments.output;
  options.runtime = runtime_of(common);
  options.progress = common.progress();
  options.stop = signals.question();
  const auto summary = engine::compare(suite, std::filesystem::path(arguments.suite).parent_path(), catalogue(), options,
                                       source_of(arguments.suite, arguments.assignments));
  common.write_json(summary.json);
  REID_CHECK(summary.finished, WorkError,
             fmt::format("compare: comparison must go to its end, got a stop (the same command continues it in {})",
                         arguments.output));
  if (common.json != "-") std::cout << summary.markdown;
}

}  // namespace

void add_compare(CLI::App& app, Common& common) {
  auto* verb = app.add_subcommand("compare", "train and evaluate every entry of a suite and write one table");
  const auto arguments = std::make_shared<Arguments>();
  verb->add_option("suite", arguments->suite, "suite file (JSON)")->required();
  verb->add_option("--output", arguments->output,
                   "folder for results.jsonl, report.md, report.html and the runs; what is done there isn't done again")
      ->required()
      ->check(named_folder());
  add_set(*verb, arguments->assignments);
  add_common(*verb, common, common_all, "the one seed of all trainings (default: the suite's)");
  verb->callback([arguments, &common] { compare(*arguments, common); });
}

}  // namespace reid::cli
