// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "reid/engine/experiment.hpp"

namespace reid::engine {

/// `"weights"` of an experiment: a file's name, an object, a list of them, or null. @throws ConfigError for anything else.
std::vector<WeightsOptions> weights_of(const Experiment& experiment);

/// The values of a file that holds one a line. @throws ConfigError naming file and line for anything that isn't JSON.
std::vector<Json> read_json_lines(const std::filesystem::path& path);

/// What an earlier stage of several leaves in the run's folder.
struct StageFiles {
  std::filesystem::path model, objective;
};
StageFiles stage_files(const std::filesystem::path& run, const std::string& stage);

/// With how many stages that `run` has ended, and left on the disk, an experiment begins too: all but the last of either
/// at most. 0 if data, model, start or seed are others, or if there is no run.
std::size_t stages_in_common(const Experiment& experiment, const std::filesystem::path& run, const Catalogue& catalogue);

}  // namespace reid::engine
