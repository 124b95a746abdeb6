// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reid/engine/experiment.hpp"

namespace reid::engine {

/// The steps of the pointer that an assignment begins with, as they are written.
std::vector<std::string> pointer_steps(std::string_view assignment);

/// What `step` leads to in an object or a list; null if there is nothing.
Json* child(Json* json, const std::string& step);

/// Makes objects of the bare names of parts that `steps` lead into. @param defaults  whether of default ones that aren't given, too.
void open_parts(Json* experiment, std::span<const std::string> steps, bool defaults);

/// Merges `over`, an experiment or what is changed in one, into `base`. As `merge_json`; beyond it, options of a part without its
/// name go over the bare name, or over the default, that the part has in `base`.
void merge_experiment(Json& base, const Json& over);

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
