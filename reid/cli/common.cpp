// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <thread>

#include "catalogue.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/engine/experiment.hpp"
#include "reid/metrics/rerank.hpp"
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
  // A path's bytes needn't be UTF-8, JSON's must.
  const std::string text = result.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  if (json == "-") {
    std::cout << text;
  } else {
    write_file_atomic(json, text);
  }
}

namespace {

constexpr uint64_t kLargestSeed = 9007199254740991;  // of the configuration

/// For `check` of --seed: CLI11 would take -1 as 2^64 - 1.
CLI::Validator seed_range() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        const bool digits = !text.empty() && text.size() <= 16 && text.find_first_not_of("0123456789") == std::string::npos;
        if (digits && std::stoull(text) <= kLargestSeed) return {};
        return fmt::format("value must be a whole number from 0 to {}, got '{}'", kLargestSeed, text);
      },
      "", "");
}

/// For `check` of --json: "-" is standard output.
CLI::Validator writable_json() {
  return CLI::Validator(
      [file = writable_file()](std::string& path) -> std::string { return path == "-" ? std::string() : file(path); }, "", "");
}

}  // namespace

void add_common(CLI::App& verb, Common& common, unsigned options, const std::string& seed) {
  verb.add_flag("--quiet", common.quiet, "no progress on stderr");
  if (options & common_threads) {
    verb.add_option("--threads", common.threads, "number of threads (default: all cores)")
        ->check(CLI::Range(int64_t{1}, int64_t{1024}));
  }
  if (options & common_device) {
    verb.add_option("--device", common.device, "auto, cpu, cuda or cuda:K")->capture_default_str();
  }
  if (options & common_seed) {
    verb.add_option("--seed", common.seed, seed)->check(seed_range());
  }
  if (options & common_json) {
    verb.add_option("--json", common.json, "write the result as JSON to this file ('-': stdout)")->check(writable_json());
  }
}

void add_set(CLI::App& verb, std::vector<std::string>& assignments) {
  verb.add_option("--set", assignments, "override one value of the configuration: /json/pointer=value")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
}

std::string source_of(const std::string& file, const std::vector<std::string>& assignments) {
  return file + (assignments.empty() ? "" : " with --set");
}

void check_distinct(const char* option, const std::string& path, const char* other, const std::string& other_path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const auto place = [&](const std::string& file) { return fs::weakly_canonical(fs::absolute(file, ignored), ignored); };
  REID_CHECK(place(path) != place(other_path) || fs::is_character_file(path, ignored), InputError,
             fmt::format("{}: file must be another than that of {}, got '{}' for both", option, other, path));
}

void print_rerank_variants() {
  for (const auto& variant : metrics::rerank_variants()) {
    const std::string names =
        variant.aliases.empty() ? variant.name : fmt::format("{} ({})", variant.name, fmt::join(variant.aliases, ", "));
    std::cout << fmt::format("{:<26}  {}\n", names, variant.summary);
  }
}

CLI::Validator writable_file() {
  const auto problem = [](std::string& path) -> std::string {
    if (path == "-") return "file must be named, got '-' (standard output is for --json; a file of that name is './-')";
    if (path.empty()) return "file must be named, got an empty path";
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) return fmt::format("path must be a file to write, got the folder '{}'", path);
    // What is there is replaced in its folder; a device or a pipe is written to.
    std::filesystem::path real = std::filesystem::path(path);
    if (std::filesystem::exists(real, ignored)) real = std::filesystem::canonical(real, ignored);
    const bool special = std::filesystem::exists(real, ignored) && !std::filesystem::is_regular_file(real, ignored);
    if (special && ::access(path.c_str(), W_OK) == 0) return {};
    if (special) return fmt::format("device or pipe must be writable, got '{}' ({})", path, std::strerror(errno));
    std::filesystem::path folder = real.parent_path();
    if (folder.empty()) folder = ".";
    if (!std::filesystem::is_directory(folder, ignored)) {
      return fmt::format("file must be in a folder that exists, got '{}'", path);
    }
    if (::access(folder.c_str(), W_OK) == 0) return {};
    return fmt::format("file must be in a writable folder, got '{}' ({})", path, std::strerror(errno));
  };
  return CLI::Validator(problem, "", "");
}

CLI::Validator named_folder() {
  return CLI::Validator([](std::string& path) { return path.empty() ? "folder must be named, got an empty path" : ""; }, "", "");
}

namespace {

/// Throws for keys that no experiment has: one that is misspelt would be passed over.
void check_keys(const Json& root, const std::string& config) {
  if (!root.is_object()) return;
  std::vector<std::string> known{"stages"};
  for (const auto& field : describe_options<engine::ExperimentHead>()) known.push_back(field.name);
  for (const auto& field : describe_options<engine::StageOptions>()) known.push_back(field.name);
  for (const auto& [key, value] : root.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      throw ConfigError(fmt::format("{}: {}", config, detail::unknown_key("", key, known)));
    }
  }
}

/// Throws, naming the file, for what an experiment can't say, in parts that the verb doesn't read, too.
void check_parts(const Json& root, const std::string& config) {
  // A model that only --set will name is looked at then.
  const auto& model = root.at("model");
  if (model.is_null() || (model.is_object() && !model.contains("name"))) return;
  engine::naming(config, [&] { return engine::read_experiment(root, catalogue()); });
}

void check_assignment(const std::string& assignment, const std::vector<std::string>& used) {
  if (assignment.rfind('/', 0) != 0) return;  // refused where it is read
  const std::string part = assignment.substr(1, assignment.find_first_of("/=", 1) - 1);
  if (std::find(used.begin(), used.end(), part) != used.end()) return;
  throw ConfigError(fmt::format("--set: pointer must begin with /{}, which this verb reads, got '{}'{}", fmt::join(used, " or /"),
                                assignment, did_you_mean(part, used)));
}

}  // namespace

Json configuration(const std::string& model, const std::string& config, const std::vector<std::string>& assignments,
                   const std::vector<std::string>& used) {
  Json root = Json::object();
  if (!config.empty()) {
    root = read_config_file(config);
    check_keys(root, config);
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
  if (!config.empty()) check_parts(root, config);
  for (const auto& assignment : assignments) {
    check_assignment(assignment, used);
    engine::set_experiment(root, assignment);
  }
  if (!root.contains("model")) throw ConfigError("--model: a model must be named by --model or --config, got neither");
  return root;
}

}  // namespace reid::cli
