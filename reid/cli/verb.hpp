// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reid/core/json.hpp"
#include "reid/core/progress.hpp"

namespace reid::cli {

/// Options that every verb understands where they make sense.
struct Common {
  int64_t threads = 0;         ///< 0: all cores
  std::string device = "auto"; ///< auto, cpu, cuda, cuda:K
  std::optional<uint64_t> seed;
  bool quiet = false;
  std::string json;            ///< file for the result; "" for none, "-" for stdout

  /// Progress on stderr, or nothing with --quiet.
  ProgressSink progress() const;
  /// Applies `threads` to this process and returns the number in force.
  int64_t apply_threads() const;
  /// Writes a result to `--json FILE` (atomically) if one was asked for.
  void write_json(const Json& result) const;
};

/// Which of the common options a verb takes.
enum CommonOption : unsigned {
  common_threads = 1,
  common_device = 2,
  common_seed = 4,
  common_json = 8,
  common_all = 15,  ///< --quiet is always there
};

/// @param seed  with common_seed: what --seed decides, and what holds without it.
void add_common(CLI::App& verb, Common& common, unsigned options, const std::string& seed = "");

/// What --seed of a verb that scores decides.
inline constexpr auto kSeedOfScores = "seed of the intervals' bootstrap and of sampled galleries (default: 0)";

/// Adds `--set /json/pointer=value` (repeatable).
void add_set(CLI::App& verb, std::vector<std::string>& assignments);
/// How a configuration is called in messages: its file, and whether `--set` changed it.
std::string source_of(const std::string& file, const std::vector<std::string>& assignments);

/// For `check` of an option that names a file to write: what can't be written is refused before the work is done. `-`,
/// stdout, is taken by --json alone.
CLI::Validator writable_file();
/// Throws InputError if two files to write are one, which isn't a device: "<option>: file must be another than that of <other>".
void check_distinct(const char* option, const std::string& path, const char* other, const std::string& other_path);
/// The answer to `--rerank list`: names, aliases and what each variant is.
void print_rerank_variants();
/// For `check` of an option that names a folder: not empty.
CLI::Validator named_folder();

/// The configuration that `--model NAME`, `--config FILE` (an experiment, or only {"model": ...}) and `--set` make
/// together. It has a "model".
/// @param used  the parts that the verb reads: no other may be set.
/// @throws ConfigError if none names a model or two name different ones; for keys that an experiment doesn't have; for
///   `--set` of another part.
Json configuration(const std::string& model, const std::string& config, const std::vector<std::string>& assignments,
                   const std::vector<std::string>& used = {"data", "evaluation", "model"});

/// Adds every verb of the list in CMakeLists.txt, each by its function `void add_<name>(CLI::App&, Common&)`
/// in verb_<name>.cpp.
void add_verbs(CLI::App& app, Common& common);

}  // namespace reid::cli
