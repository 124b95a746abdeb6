// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "catalogue.hpp"
#include "reid/core/error.hpp"
#include "reid/engine/oracle.hpp"

namespace reid::cli {
namespace {

struct Arguments {
  std::string run, config, model, weights, dataset, root, protocol, metric, feature, rerank, oracle;
  std::vector<std::string> assignments;
  std::optional<int64_t> k1, k2;
  std::optional<double> lambda;
  int64_t batch = 0;
  bool flip = false;
};

/// Which of a run's checkpoints was scored: the last one, or the best on held-out training identities.
void add_selection(Json& result, const std::string& run) {
  const Json done = read_json_file(std::filesystem::path(run) / "done.json");
  if (done.contains("selected")) result["selected"] = done["selected"];
}

void print(const Json& result) {
  std::cout << fmt::format("{} on {}: {} queries ({} without match), gallery {}, metric {}, feature {}{}{}\n",
                           result.at("protocol").get<std::string>(), result.at("dataset").get<std::string>(),
                           result.at("queries").dump(), result.at("queries_without_match").dump(),
                           result.at("gallery").dump(), result.at("metric").get<std::string>(),
                           result.at("feature").get<std::string>(), result.at("flip").get<bool>() ? ", flip" : "",
                           result.contains("selected") ? ", checkpoint " + result["selected"].get<std::string>() : "");
  if (!result.at("rerank").is_null()) std::cout << "re-ranked: " << result.at("rerank").dump() << "\n";
  for (const auto& [name, value] : result.at("metrics").items()) {
    if (!value.is_number()) continue;
    std::string line = fmt::format("{:<18}{:>7.2f}", name, 100 * value.get<double>());
    const auto& intervals = result.at("ci95");
    if (intervals.contains(name)) {
      line += fmt::format("   [{:.2f}, {:.2f}]", 100 * intervals[name].at(0).get<double>(),
                          100 * intervals[name].at(1).get<double>());
    }
    std::cout << line << "\n";
  }
  for (const auto& note : result.at("notes")) std::cout << "note: " << note.get<std::string>() << "\n";
}

void evaluate(const Arguments& arguments, const Common& common) {
  if (arguments.rerank == "list") {
    print_rerank_variants();
    return;
  }
  const auto names = catalogue();
  if (!arguments.dataset.empty()) names.datasets.at(arguments.dataset, "--dataset");
  const bool from_run = !arguments.run.empty();
  REID_CHECK(!from_run || (arguments.config.empty() && arguments.model.empty() && arguments.weights.empty()), InputError,
             "--run: option must stand without --config, --model and --weights, got both");
  REID_CHECK(from_run || !arguments.weights.empty(), InputError, "--weights: file must be given without --run, got none");

  // The experiment's own data and evaluation are the defaults, where there is one.
  engine::SourceOptions source;
  Json evaluation = Json::object();
  Json model_json;
  if (from_run) {
    const auto experiment = engine::experiment_of_run(arguments.run, names);
    source = experiment.data.evaluation();
    evaluation = write_options(experiment.evaluation);
    Json root{{"evaluation", evaluation}, {"data", write_options(source)}};
    for (const auto& assignment : arguments.assignments) {
      REID_CHECK(assignment.rfind("/evaluation/", 0) == 0 || assignment.rfind("/data/", 0) == 0, ConfigError,
                 fmt::format("--set: pointer must be below /evaluation or /data for a trained run, got '{}'", assignment));
      set_json(root, assignment);
    }
    evaluation = root.at("evaluation");
    source = read_options<engine::SourceOptions>(root.at("data"), "/data");
  } else {
    Json root = configuration(arguments.model, arguments.config, arguments.assignments);
    model_json = root["model"];
    if (root.contains("evaluation")) evaluation = root["evaluation"];
    if (root.contains("data")) source = read_options<engine::DataOptions>(root["data"], "/data").evaluation();
  }
  auto options = read_options<engine::EvaluationOptions>(evaluation, "/evaluation");
  if (!arguments.dataset.empty()) source.name = arguments.dataset;
  if (!arguments.root.empty()) source.root = arguments.root;
  REID_CHECK(!source.name.empty(), InputError, "--dataset: name must be given, got none");
  REID_CHECK(!source.root.empty(), InputError, "--root: folder must be given, got none");
  if (!arguments.protocol.empty()) options.protocol = arguments.protocol;
  if (!arguments.metric.empty()) options.metric = parse_enum<ops::Metric>("--metric", arguments.metric);
  if (!arguments.feature.empty()) options.feature = parse_enum<engine::FeatureChoice>("--feature", arguments.feature);
  if (arguments.batch > 0) options.batch = arguments.batch;
  options.flip = options.flip || arguments.flip;
  if (!arguments.rerank.empty()) {
    options.rerank.emplace();
    options.rerank->variant = arguments.rerank;
  }
  const bool parameters = arguments.k1 || arguments.k2 || arguments.lambda;
  REID_CHECK(options.rerank || !parameters, InputError, "--k1, --k2, --lambda: options must stand with --rerank, got none");
  if (arguments.k1) options.rerank->k1 = arguments.k1;
  if (arguments.k2) options.rerank->k2 = arguments.k2;
  if (arguments.lambda) options.rerank->lambda = arguments.lambda;
  if (options.rerank) metrics::resolve(*options.rerank);
  if (!options.protocol.empty()) metrics::protocol(options.protocol);

  const auto runtime = runtime_of(common);
  const auto seed = common.seed.value_or(metrics::kScoringSeed);
  const auto dataset = engine::open_dataset(source, {.train = false, .evaluation = true}, options.protocol, names);
  if (!arguments.oracle.empty()) {
    REID_CHECK(from_run, InputError, "--oracle: option must stand with --run, got none");
    const auto result = engine::evaluate_oracle(arguments.run, arguments.oracle, dataset, options, names, runtime,
                                                seed, common.progress());
    common.write_json(result.json);
    if (common.json != "-") print(result.json);
    return;
  }
  const auto model = from_run ? engine::open_run(arguments.run, names)
                              : engine::open_model(model_json, arguments.weights, names);
  auto result = engine::evaluate_model(*model, dataset, options, names.decoder, runtime, seed, common.progress());
  if (from_run) add_selection(result.json, arguments.run);
  common.write_json(result.json);
  if (common.json != "-") print(result.json);
}

}  // namespace

void add_evaluate(CLI::App& app, Common& common) {
  auto* verb = app.add_subcommand("evaluate", "score a model on a data set under a named protocol");
  const auto arguments = std::make_shared<Arguments>();
  verb->add_option("--run", arguments->run, "folder of a complete training run");
  verb->add_option("--config", arguments->config, "experiment file, or one with only {\"model\": ...}");
  verb->add_option("--model", arguments->model, "network by name, with its default options");
  verb->add_option("--weights", arguments->weights, "weight file");
  verb->add_option("--dataset", arguments->dataset, "data set by name (default: the experiment's)");
  verb->add_option("--root", arguments->root, "folder that holds the set's own folders (default: the experiment's)");
  verb->add_option("--protocol", arguments->protocol, "protocol by name (default: the data set's own)");
  verb->add_option("--metric", arguments->metric, "cosine or euclidean (default: the protocol's)");
  verb->add_option("--feature", arguments->feature, "deployed, before_neck or after_neck (default: deployed)");
  verb->add_option("--batch", arguments->batch, "pictures in one pass (default: 16 a thread on the CPU, 128 on CUDA)")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}));
  verb->add_option("--rerank", arguments->rerank, "re-ranking variant; 'list' prints them (default: none)");
  verb->add_option("--k1", arguments->k1, "re-ranking: neighbours (default: the variant's)");
  verb->add_option("--k2", arguments->k2, "re-ranking: neighbours in query expansion (default: the variant's)");
  verb->add_option("--lambda", arguments->lambda, "re-ranking: weight of the original distance (default: the variant's)");
  verb->add_flag("--flip", arguments->flip, "mean of the features of a picture and its mirror image");
  verb->add_option("--oracle", arguments->oracle,
                   "an earlier stage of the run that fuses samples with their support, by name: what it sees if it is told the "
                   "identities; never a result");
  add_set(*verb, arguments->assignments);
  add_common(*verb, common, common_all, kSeedOfScores);
  verb->callback([arguments, &common] { evaluate(*arguments, common); });
}

}  // namespace reid::cli
