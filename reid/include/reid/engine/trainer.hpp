// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "reid/core/progress.hpp"
#include "reid/data/loader.hpp"
#include "reid/data/sampler.hpp"
#include "reid/engine/device.hpp"
#include "reid/engine/optimizer.hpp"
#include "reid/engine/schedule.hpp"
#include "reid/nn/model.hpp"
#include "reid/nn/objective.hpp"

namespace reid::engine {

/// A running average of a model's parameters and buffers, updated after each step:
///   a <- decay a + (1 - decay) w        integers (counters) are copied
/// Where a stage has one, it is what is validated and deployed.
struct EmaOptions {
  double decay = 0.999;
  template <class V>
  void fields(V&& v) {
    v("decay", decay, "share of the average that is kept at each step", Range{0, 1});
  }
};

/// How one stage trains; the parts themselves are given to the Trainer as objects.
struct LoopOptions {
  int64_t epochs = 60;
  Precision precision = Precision::fp32;
  bool channels_last = true;
  int64_t accumulate = 1;
  std::optional<double> clip_norm;
  std::optional<EmaOptions> ema;
  int64_t log_every = 0;
  template <class V>
  void fields(V&& v) {
    v("epochs", epochs, "passes over the sampler's batches", Range{1, 1e6});
    v("precision", precision, "type of products and convolutions");
    v("channels_last", channels_last, "keep weights and pictures with channels innermost");
    v("accumulate", accumulate, "batches whose gradients are averaged in one step", Range{1, 1e6});
    v("clip_norm", clip_norm, "largest norm of all gradients together; null: no clipping", Range{1e-12, 1e12});
    v("ema", ema, "running average of the weights; null: none");
    v("log_every", log_every, "steps between log lines inside an epoch; 0: one line an epoch", Range{0, 1e9});
  }
};

/// What a Trainer works with. It knows nothing else: no method, no data set, no file.
struct TrainerParts {
  std::shared_ptr<nn::Model> model;
  std::shared_ptr<nn::Objective> objective;
  std::shared_ptr<data::Sampler> sampler;
  std::shared_ptr<data::Loader> loader;
  std::shared_ptr<Optimizer> optimizer;
  std::shared_ptr<Schedule> schedule;
  std::vector<int64_t> labels;  ///< identity 0..K-1 of each training sample, as the loader has them
};

/// What a run may look at from outside. All may be empty.
struct TrainerHooks {
  std::function<void(const Json& line)> log;             ///< one object a log line
  std::function<void(int64_t epochs_done)> epoch_end;    ///< after an epoch's log line
  std::function<bool()> stop;                            ///< asked after each step: true ends the run there
  ProgressSink progress;
};

/// Trains one stage: batches in, optimizer steps out.
///
/// Position and random state are part of `state()`, so that a run that is stopped after any step and restored into
/// fresh objects goes on to the same bits as one that was never stopped (on the CPU, with the same number of
/// threads). Augmentations depend on (seed, epoch, sample) alone; LibTorch's generator, which dropout and its
/// like use, is saved.
class Trainer {
 public:
  /// Moves model and objective to the device (and memory layout) of `runtime`.
  Trainer(TrainerParts parts, const LoopOptions& options, uint64_t seed, const Runtime& runtime);

  /// Trains to the last epoch or until `hooks.stop`. @return whether the stage is complete.
  /// @throws WorkError naming step and components if the loss isn't finite, or the step if the gradients' norm isn't where
  ///         they are clipped; the optimizer has not moved then.
  ///         ConfigError if the sampler makes no batch.
  bool run(const TrainerHooks& hooks);

  /// Tensors under `model.`, `objective.`, `optimizer.`, `ema.` and `random.`; with `position()` the whole state.
  nn::StateDict state() const;
  Json position() const;
  /// @throws CheckpointError naming `source` if anything doesn't fit.
  void restore(const nn::StateDict& state, const Json& position, const std::string& source);

  /// The weights to deploy, by the model's names: the running average where there is one.
  nn::StateDict deployable() const;
  /// Puts the deployable weights into the model while `work` runs, in evaluation mode.
  void with_deployable(const std::function<void(nn::Model&)>& work);

  int64_t epochs_done() const { return epoch_; }
  int64_t steps_done() const { return step_; }

 private:
  struct Sums {
    int64_t batches = 0;
    int64_t pictures = 0;
    double total = 0;
    /// A part of the loss, summed over the batches that had it: objectives may begin with some later.
    struct Part {
      std::string name;
      double sum = 0;
      int64_t batches = 0;
    };
    std::vector<Part> parts;
  };
  void add(Sums& sums, const std::vector<std::pair<std::string, double>>& values, double total, int64_t pictures);
  std::vector<std::pair<std::string, double>> train_batch(const Batch& batch, const Progress& progress, double share,
                                                          double& total);
  void apply_step(const Progress& progress);
  Json log_line(const char* event, const Sums& sums, double rate, double seconds, double waited) const;
  double set_rates(const Progress& progress, double share_of_epoch);

  TrainerParts parts_;
  LoopOptions options_;
  uint64_t seed_;
  Runtime runtime_;
  nn::StateDict ema_;
  int64_t epoch_ = 0;  // epochs done
  int64_t batch_ = 0;  // batches done in the running epoch
  int64_t step_ = 0;   // optimizer steps done
  Sums epoch_sums_;
  Sums interval_sums_;
};

/// Parameters of model and objective that learn, named as in checkpoints.
std::vector<NamedParameter> trainable_parameters(const nn::Model& model, const nn::Objective& objective);

}  // namespace reid::engine
