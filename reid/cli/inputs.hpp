// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "reid/engine/experiment.hpp"

namespace reid::cli {

/// The pictures of a folder and of the folders below it, or the lines of a list file, sorted by path.
/// @throws InputError if there is none, or naming the list's line that isn't a picture's path.
std::vector<std::string> pictures_of(const std::string& input);

/// Which model: `--run`, or `--model`, `--config`, `--set` and `--weights`.
struct ModelArguments {
  std::string run, model, config, weights;
  std::vector<std::string> assignments;

  void add(CLI::App& verb);
  /// @throws InputError unless it is one or the other.
  void check() const;
  std::shared_ptr<nn::Model> open(const engine::Catalogue& names) const;
  /// `evaluation` of `--config` and `--set`; empty for a run.
  Json evaluation() const;
};

/// How features are made: `--feature`, `--batch`, `--flip`.
struct FeatureArguments {
  std::string feature;
  int64_t batch = 0;
  bool flip = false;

  void add(CLI::App& verb);
  /// @param evaluation  what holds where an option isn't given.
  engine::ExtractOptions options(const Json& evaluation) const;
};

}  // namespace reid::cli
