// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/core/progress.hpp"
#include "reid/data/dataset.hpp"
#include "reid/data/loader.hpp"
#include "reid/data/support.hpp"
#include "reid/engine/device.hpp"
#include "reid/engine/evaluator.hpp"
#include "reid/engine/trainer.hpp"
#include "reid/nn/model.hpp"
#include "reid/nn/objective.hpp"

namespace reid::engine {

/// What the names in an experiment mean. The engine knows no network, loss or data set by itself.
struct Catalogue {
  const nn::ModelRegistry& models;
  const nn::ObjectiveRegistry& objectives;
  const data::DataSetRegistry& datasets;
  data::Decoder decoder;
};

/// A data set on disk.
struct SourceOptions {
  std::string name;
  std::string root;
  std::string protocol;
  Json options = Json::object();
  template <class V>
  void fields(V&& v) {
    v("name", name, "registry name of the data set");
    v("root", root, "folder that holds the set's own folders");
    v("protocol", protocol, "protocol it is read for, where splits depend on it; empty: the set's own");
    v("options", options, "the reader's own options, as reid datasets info lists them");
  }
};

/// Data of an experiment: one set for both, or `train` and `eval` on their own.
struct DataOptions : SourceOptions {
  std::optional<SourceOptions> train;
  std::optional<SourceOptions> eval;
  int64_t loader_threads = 0;
  int64_t prefetch = 4;
  std::string cache;
  template <class V>
  void fields(V&& v) {
    SourceOptions::fields(v);
    v("train", train, "data set to train on instead");
    v("eval", eval, "data set to evaluate on instead");
    v("loader_threads", loader_threads, "threads that decode; 0: half of all on the CPU, all with CUDA",
      Range{0, 1024});
    v("prefetch", prefetch, "batches made ahead of the one in use", Range{1, 1024});
    v("cache", cache, "file of decoded training pictures, made where it isn't there or stale; empty: decode each time");
  }
  const SourceOptions& training() const { return train ? *train : *this; }
  const SourceOptions& evaluation() const { return eval ? *eval : *this; }
};

/// Weights to start from.
struct WeightsOptions {
  std::string file;
  std::string part;
  bool allow_missing_neck = true;
  std::vector<std::string> skip;
  template <class V>
  void fields(V&& v) {
    v("file", file, ".safetensors, .pth, .pt or .tar");
    v("part", part, "part of the model that the file is for (dual_encoder: image, text); empty: the whole");
    v("allow_missing_neck", allow_missing_neck, "start the BN neck afresh where the file has none (ImageNet weights)");
    v("skip", skip, "glob patterns of model names that may be missing or of another shape, and start afresh then");
  }
};

/// Identities of the training set that are held out to choose the best epoch. The test set never chooses.
struct ValidationOptions {
  double identities = 0.1;
  int64_t every = 1;
  std::string metric = "map";
  template <class V>
  void fields(V&& v) {
    v("identities", identities, "share of the training identities that is held out", Range{0.001, 0.9});
    v("every", every, "epochs between validations; the last epoch always is validated", Range{1, 1e6});
    v("metric", metric, "which of `metrics` decides: map, map_interpolated, minp, rank1, ...");
  }
};

/// Where a stage's model begins.
enum class StageStart {
  go_on,   ///< where the stage before ended (the first: at the experiment's weights)
  afresh,  ///< at the experiment's weights, as if there had been no stage before
};

/// Other samples of the same identity beside each sample of a batch (data/support.hpp).
struct SupportOptions {
  int64_t members = 3;
  bool redraw = true;
  data::LonelySamples lonely = data::LonelySamples::drop;
  template <class V>
  void fields(V&& v) {
    v("members", members, "other pictures, and other sentences, of the identity beside each sample", Range{1, 64});
    v("redraw", redraw, "draw them anew each epoch; false: once for all epochs");
    v("lonely", lonely, "identities with one picture: drop (from the whole run) or self (the sample is its own support)");
  }
};

/// One stage of training.
struct StageOptions : LoopOptions {
  std::string name = "train";
  StageStart start = StageStart::go_on;
  std::optional<SupportOptions> support;
  Json objective = "classify_and_rank";
  Json optimizer = "adam";
  Json schedule = "cosine";
  Json sampler = "identity_rga";
  Json augment = Json::array({"rga_crop", "flip", "random_erasing"});
  template <class V>
  void fields(V&& v) {
    v("name", name, "how the stage is called in the log");
    v("start", start, "go_on (where the stage before ended) or afresh (the experiment's own start)");
    v("support", support, "support sets; null: none");
    v("objective", objective, "objective: name, or name and options");
    v("optimizer", optimizer, "optimizer: name, or name and options");
    v("schedule", schedule, "schedule of the rate: name, or name and options");
    v("sampler", sampler, "sampler: name, or name and options");
    v("augment", augment, "list of augmentations, in order");
    LoopOptions::fields(v);
  }
};

/// An experiment without its stages.
struct ExperimentHead {
  int64_t seed = 1;
  DataOptions data;
  Json model;
  Json weights;
  std::optional<ValidationOptions> validation;
  EvaluationOptions evaluation;
  int64_t checkpoint_every = 1;
  template <class V>
  void fields(V&& v) {
    v("seed", seed, "of initial weights, sampling and augmentation", Range{0, 9007199254740991.0});
    v("data", data, "data set and loading");
    v("model", model, "network: name, or name and options");
    v("weights", weights,
      "weights to start from: a file, file and options, or a list of them (parts of a model); null: the model's own start");
    v("validation", validation, "held-out identities that choose the best epoch; null: the last epoch is deployed");
    v("evaluation", evaluation, "how the trained model is scored");
    v("checkpoint_every", checkpoint_every, "epochs between checkpoints; the last epoch always has one", Range{1, 1e6});
  }
};

/// An experiment: everything that a result depends on, besides data and machine.
///
///     {"seed": 1, "data": {...}, "model": {...}, "stages": [{"objective": ..., "epochs": 60, ...}], "evaluation": {...}}
///
/// A single stage may be written flat: its keys beside the others and no "stages".
struct Experiment : ExperimentHead {
  std::vector<StageOptions> stages;
};

/// Applies one `--set` to an experiment as its file says it. As `set_json`; beyond it, a part that the pointer leads into keeps
/// its name: one that stands as a bare name, or isn't given and has a default, becomes an object with that name first.
/// `/optimizer/rate=1e-4` makes {"name": "adam", "rate": 1e-4} of "adam". @throws ConfigError as `set_json`.
void set_experiment(Json& json, std::string_view assignment);

/// What `read` gives; what is wrong with a configuration is said with `where` in front, the file it comes from ("": nothing).
template <class Read>
auto naming(const std::string& where, Read&& read) {
  const auto named = [&](const Error& error) { return where.empty() ? std::string(error.what()) : where + ": " + error.what(); };
  try {
    return read();
  } catch (const ConfigError& error) {
    throw ConfigError(named(error));
  } catch (const RegistryError& error) {
    throw RegistryError(named(error));
  }
}

/// @param json  as `read_config_file` and `set_experiment` leave it.
/// @throws ConfigError with the JSON pointer of every problem; RegistryError for unknown names.
Experiment read_experiment(const Json& json, const Catalogue& catalogue);

/// The same with every option of every part written out; `read_experiment` reads it back.
Json resolve_experiment(const Experiment& experiment);

/// How a run is carried out; nothing of it changes what is computed.
struct RunOptions {
  std::filesystem::path output;
  bool resume = false;
  /// A run whose ended stages are taken over instead of trained, as far as this experiment begins with the same ones;
  /// empty: none. Not looked at by a run that is continued from a checkpoint of its own.
  std::filesystem::path stages_from;
  Runtime runtime;
  ProgressSink progress;
  std::function<bool()> stop;  ///< asked after each step; true: the run ends with a resumable checkpoint
};

/// What a run leaves in its folder:
///   config.json             the resolved experiment
///   files.json, model-<option>.<ending>
///                           copies of files that the model is made from besides weights (a vocabulary), and their fingerprints
///   environment.json        versions, processor, device, threads
///   log.jsonl               one line an epoch (and every `log_every` steps, and a validation)
///   checkpoint.safetensors  the last state, to be resumed from
///   best.safetensors        weights of the best epoch by validation, where there is one
///   stage-<name>.safetensors, stage-<name>.objective.safetensors
///                           what an earlier stage of several ended with: the weights, and what only trains
///   model.safetensors       the weights to deploy, with model, preprocessing and version in the metadata
///   done.json               written last, when the run is complete
struct RunSummary {
  bool finished = false;  ///< false: stopped, to be resumed
  Json json;              ///< what done.json holds, or where the run stands
};

/// Trains an experiment. Seeds LibTorch's generator, which is the process's own.
/// A run that takes stages over ends with the bits of one that trained them (same threads, same choice of products).
/// @throws InputError if `output` is a file, a folder in which another process is at work or, without `resume`, a folder
///         that isn't empty; ConfigError if the run there was begun with another experiment, or if no stage of `stages_from`
///         can be taken over; CheckpointError if the checkpoint to go on from is damaged; WorkError if the loss isn't finite
///         or the disk is full. Whatever is thrown, the last checkpoint stays.
RunSummary train_experiment(const Experiment& experiment, const Catalogue& catalogue, const RunOptions& options);

/// A model with its weights, for evaluation. @param weights  empty: the model's own start (only for benchmarks).
std::shared_ptr<nn::Model> open_model(const Json& model, const std::filesystem::path& weights,
                                      const Catalogue& catalogue);

/// The trained model of a run, made from the files that the run keeps. @throws InputError if the run isn't complete, or
/// naming a kept file that is missing or not as it was.
std::shared_ptr<nn::Model> open_run(const std::filesystem::path& run, const Catalogue& catalogue);

/// The resolved experiment of a run; its model names the files that the run keeps. @throws InputError if the folder isn't a
/// run, or naming a kept file that is missing or not as it was.
Experiment experiment_of_run(const std::filesystem::path& run, const Catalogue& catalogue);

/// Reads the part of a data set that is asked for. @throws ConfigError if name or root is empty.
data::DataSet open_dataset(const SourceOptions& source, const data::Parts& parts, const std::string& protocol,
                           const Catalogue& catalogue);

/// Splits a training list by identity into what trains and a validation set: of every held-out identity and camera
/// the first picture is a query, the others are the gallery; scored under `generic_camera` (or `generic` where no
/// camera is known). Of a set whose own protocol is `text_to_image` every sentence is a query and every picture stands
/// in the gallery, under that protocol.
struct TrainingSplit {
  std::vector<Sample> train;
  data::DataSet validation;
};
TrainingSplit hold_out(const data::DataSet& dataset, double share, uint64_t seed);

}  // namespace reid::engine

template <>
struct reid::EnumNames<reid::engine::StageStart> {
  using S = reid::engine::StageStart;
  static constexpr std::array<std::pair<S, const char*>, 2> values{{{S::go_on, "go_on"}, {S::afresh, "afresh"}}};
};
