// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/experiment.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/data/sampler.hpp"
#include "reid/data/transforms.hpp"
#include "run_parts.hpp"

namespace reid::engine {
namespace {

/// The file as it may be written: stages as a list, or one stage flat.
struct StagedFile : ExperimentHead {
  std::vector<StageOptions> stages;
  template <class V>
  void fields(V&& v) {
    ExperimentHead::fields(v);
    v("stages", stages, "stages of training, in order");
  }
};
struct FlatFile : ExperimentHead {
  StageOptions stage;
  template <class V>
  void fields(V&& v) {
    ExperimentHead::fields(v);
    stage.fields(v);
  }
};

/// Stages give their names to files.
void check_stage_names(const std::vector<StageOptions>& stages) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const auto& name = stages[i].name;
    const bool plain = !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == std::string::npos;
    REID_CHECK(plain, ConfigError,
               fmt::format("/stages/{}/name: value must be of letters, digits, '_' and '-', got '{}'", i, name));
    REID_CHECK(names.insert(name).second, ConfigError, fmt::format("/stages/{}/name: value must be new, got '{}' again", i, name));
  }
}

std::string stage_pointer(const Experiment& experiment, std::size_t index) {
  return experiment.stages.size() == 1 ? "" : fmt::format("/stages/{}", index);
}

/// The key that says of a part, written as an object, what its bare name says; "" for what isn't a part.
std::string name_key(const std::string& part) {
  static const std::set<std::string> parts{"model", "objective", "optimizer", "schedule", "sampler", "augment"};
  return parts.count(part) != 0 ? "name" : part == "weights" ? "file" : "";
}

/// Writes a part's default out where the part isn't given.
void fill_default(Json& owner, const std::string& part) {
  static const Json defaults = write_options(StageOptions{});
  if (!owner.contains(part) && defaults.contains(part)) owner[part] = defaults.at(part);
}

void open_name(Json& part, const std::string& key) {
  if (part.is_string()) part = Json{{key, part}};
}

void check_head(const Experiment& experiment) {
  REID_CHECK(!experiment.model.is_null(), ConfigError, "/model: value must name a model, got none");
  weights_of(experiment);
}

}  // namespace

std::vector<std::string> pointer_steps(std::string_view assignment) {
  std::string_view rest = assignment.substr(0, assignment.find('='));
  std::vector<std::string> steps;
  while (!rest.empty() && rest.front() == '/') {
    rest.remove_prefix(1);
    steps.emplace_back(rest.substr(0, rest.find('/')));
    rest.remove_prefix(steps.back().size());
  }
  return steps;
}

Json* child(Json* json, const std::string& step) {
  if (json == nullptr) return nullptr;
  if (json->is_object()) return json->contains(step) ? &(*json)[step] : nullptr;
  std::size_t index = 0;
  const auto [end, error] = std::from_chars(step.data(), step.data() + step.size(), index);
  const bool inside = json->is_array() && error == std::errc() && end == step.data() + step.size() && index < json->size();
  return inside ? &(*json)[index] : nullptr;
}

void open_parts(Json* experiment, std::span<const std::string> steps, bool defaults) {
  Json* at = experiment;
  if (steps.size() > 2 && steps[0] == "stages") {
    at = child(child(at, steps[0]), steps[1]);
    steps = steps.subspan(2);
  }
  if (at == nullptr || !at->is_object() || steps.size() < 2) return;
  const auto key = name_key(steps[0]);
  if (key.empty()) return;
  if (defaults) fill_default(*at, steps[0]);
  for (const auto& step : steps.first(steps.size() - 1)) {
    at = child(at, step);
    if (at == nullptr) return;
    open_name(*at, key);
  }
}

void merge_experiment(Json& base, const Json& over) {
  if (base.is_object() && over.is_object()) {
    for (const auto& [part, value] : over.items()) {
      const auto key = name_key(part);
      if (key.empty() || !value.is_object() || value.contains(key)) continue;
      fill_default(base, part);
      if (base.contains(part)) open_name(base[part], key);
    }
  }
  merge_json(base, over);
}

void set_experiment(Json& json, std::string_view assignment) {
  open_parts(&json, pointer_steps(assignment), true);
  set_json(json, assignment);
}

std::vector<WeightsOptions> weights_of(const Experiment& experiment) {
  const auto read = [](const Json& json, const std::string& pointer) {
    WeightsOptions options;
    if (json.is_string()) {
      options.file = json.get<std::string>();
    } else {
      options = read_options<WeightsOptions>(json, pointer);
    }
    REID_CHECK(!options.file.empty(), ConfigError, fmt::format("{}: value must name a file, got an empty name", pointer));
    return options;
  };
  const auto& json = experiment.weights;
  if (json.is_null()) return {};
  if (!json.is_array()) return {read(json, "/weights")};
  std::vector<WeightsOptions> list;
  for (std::size_t i = 0; i < json.size(); ++i) list.push_back(read(json[i], fmt::format("/weights/{}", i)));
  return list;
}

Experiment read_experiment(const Json& json, const Catalogue& catalogue) {
  REID_CHECK(json.is_object(), ConfigError,
             fmt::format("/: experiment must be an object, got {}", json_type_name(json)));
  Experiment experiment;
  if (json.contains("stages")) {
    std::set<std::string> stage_keys;
    for (const auto& field : describe_options<StageOptions>()) stage_keys.insert(field.name);
    for (const auto& [key, value] : json.items()) {
      REID_CHECK(stage_keys.count(key) == 0, ConfigError,
                 fmt::format("/{}: key must be inside a stage where there is \"stages\", got it beside", key));
    }
    auto file = read_options<StagedFile>(json);
    static_cast<ExperimentHead&>(experiment) = file;
    experiment.stages = std::move(file.stages);
    REID_CHECK(!experiment.stages.empty(), ConfigError, "/stages: list must hold at least one stage, got none");
  } else {
    auto file = read_options<FlatFile>(json);
    static_cast<ExperimentHead&>(experiment) = file;
    experiment.stages.push_back(std::move(file.stage));
  }
  check_head(experiment);
  experiment.model = catalogue.models.expand(experiment.model, "/model");
  for (std::size_t i = 0; i < experiment.stages.size(); ++i) {
    auto& stage = experiment.stages[i];
    const auto at = stage_pointer(experiment, i);
    stage.objective = catalogue.objectives.expand(stage.objective, at + "/objective");
    stage.optimizer = optimizers().expand(stage.optimizer, at + "/optimizer");
    stage.schedule = schedules().expand(stage.schedule, at + "/schedule");
    stage.sampler = data::samplers().expand(stage.sampler, at + "/sampler");
    schedules().create(stage.schedule, at + "/schedule");
    data::samplers().create(stage.sampler, at + "/sampler");
    stage.augment = data::resolve_augment(stage.augment, at + "/augment");
  }
  if (experiment.stages.size() > 1) check_stage_names(experiment.stages);
  return experiment;
}

Json resolve_experiment(const Experiment& experiment) {
  Json json = write_options(static_cast<const ExperimentHead&>(experiment));
  json["stages"] = Json::array();
  for (const auto& stage : experiment.stages) json["stages"].push_back(write_options(stage));
  return json;
}

data::DataSet open_dataset(const SourceOptions& source, const data::Parts& parts, const std::string& protocol,
                           const Catalogue& catalogue) {
  REID_CHECK(!source.name.empty(), ConfigError, "/data/name: value must name a data set, got none");
  REID_CHECK(!source.root.empty(), ConfigError, "/data/root: value must be the data set's folder, got none");
  REID_CHECK(source.options.is_object() && !source.options.contains("name"), ConfigError,
             fmt::format("/data/options: value must be an object of the reader's options, got {}", source.options.dump()));
  const auto reader = catalogue.datasets.at(source.name, "/data/name").make(source.options, "/data/options");
  return reader->read(source.root, parts, protocol.empty() ? source.protocol : protocol);
}

TrainingSplit hold_out(const data::DataSet& dataset, double share, uint64_t seed) {
  std::set<int64_t> unique;
  for (const auto& sample : dataset.train) unique.insert(sample.identity);
  std::vector<int64_t> identities(unique.begin(), unique.end());
  REID_CHECK(identities.size() >= 4, DatasetError,
             fmt::format("{}: training set must have at least 4 identities to hold some out, got {}", dataset.name,
                         identities.size()));
  Random random{seed, 0x76616c6964ULL};
  random.shuffle(identities);
  const auto wanted = std::llround(share * static_cast<double>(identities.size()));
  const auto count = std::clamp<int64_t>(wanted, 2, static_cast<int64_t>(identities.size()) - 2);
  const std::set<int64_t> held(identities.begin(), identities.begin() + count);

  TrainingSplit result;
  result.validation.name = dataset.name + " (held-out training identities)";
  data::EvaluationSplit split;
  if (dataset.default_protocol == "text_to_image") {
    for (const auto& sample : dataset.train) {
      if (held.count(sample.identity) == 0) {
        result.train.push_back(sample);
        continue;
      }
      split.gallery.push_back(sample);
      for (const auto& caption : sample.captions) split.query.emplace_back(sample).captions = {caption};
    }
    result.validation.splits.push_back(std::move(split));
    result.validation.default_protocol = dataset.default_protocol;
    return result;
  }
  std::set<std::pair<int64_t, int64_t>> seen;
  bool cameras = true;
  for (const auto& sample : dataset.train) {
    if (held.count(sample.identity) == 0) {
      result.train.push_back(sample);
      continue;
    }
    cameras = cameras && sample.camera >= 0;
    const bool first = seen.insert({sample.identity, sample.camera}).second;
    (first ? split.query : split.gallery).push_back(sample);
  }
  REID_CHECK(!split.gallery.empty(), DatasetError,
             fmt::format("{}: held-out identities must have several pictures of a camera, got one of each", dataset.name));
  result.validation.splits.push_back(std::move(split));
  result.validation.default_protocol = cameras ? "generic_camera" : "generic";
  return result;
}

}  // namespace reid::engine
