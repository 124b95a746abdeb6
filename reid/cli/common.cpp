// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <iostream>
#include <thread>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "verb.hpp"

namespace reid::cli {

ProgressSink Common::progress() const { return quiet ? ProgressSink() : stderr_progress(); }

int64_t Common::apply_threads() const {
  const int64_t count = threads > 0 ? threads : std::max<int64_t>(1, std::thread::hardware_concurrency());
  at::set_num_threads(static_cast<int>(count));
  return count;
}

void Common::write_json(const Json& result) const {
  if (json.empty()) return;
  const std::string text = result.dump(2) + "\n";
  if (json == "-") {
    std::cout << text;
  } else {
    write_file_atomic(json, text);
  }
}

void add_common(CLI::App& verb, Common& common, unsigned options) {
  verb.add_flag("--quiet", common.quiet, "no progress on stderr");
  if (options & common_threads) {
    verb.add_option("--threads", common.threads, "number of threads (default: all cores)")
        ->check(CLI::Range(int64_t{1}, int64_t{1024}));
  }
  if (options & common_device) {
    verb.add_option("--device", common.device, "auto, cpu, cuda or cuda:K")->capture_default_str();
  }
  if (options & common_seed) verb.add_option("--seed", common.seed, "seed of everything random");
  if (options & common_json) {
    verb.add_option("--json", common.json, "write the result as JSON to this file ('-': stdout)");
  }
}

void add_set(CLI::App& verb, std::vector<std::string>& assignments) {
  verb.add_option("--set", assignments, "override one value of the configuration: /json/pointer=value")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
}

Json model_part(const std::string& model, const std::string& config, const std::vector<std::string>& assignments) {
  Json root = Json::object();
  if (!config.empty()) {
    root = read_config_file(config);
    if (!root.is_object() || !root.contains("model")) {
      throw ConfigError(fmt::format("{}: configuration must have \"model\", got {}", config,
                                    root.is_object() ? "none" : json_type_name(root)));
    }
  }
  if (!model.empty()) {
    const Json named = root.contains("model") ? root["model"] : Json();
    const std::string other = named.is_string() ? named.get<std::string>()
                              : named.is_object() && named.contains("name") && named["name"].is_string()
                                  ? named["name"].get<std::string>()
                                  : "";
    if (!other.empty() && other != model) {
      throw ConfigError(fmt::format("--model: name must be the one that {} says ('{}'), got '{}'", config, other, model));
    }
    if (!named.is_object()) root["model"] = Json{{"name", model}};
    if (named.is_object() && other.empty()) root["model"]["name"] = model;
  }
  if (root.contains("model") && root["model"].is_string()) root["model"] = Json{{"name", root["model"]}};
  for (const auto& assignment : assignments) set_json(root, assignment);
  if (!root.contains("model")) throw ConfigError("--model: a model must be named by --model or --config, got neither");
  return root["model"];
}

}  // namespace reid::cli
