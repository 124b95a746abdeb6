// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "reid/core/types.hpp"
#include "reid/nn/model.hpp"

namespace reid::nn {

class Objective;

/// What an earlier stage of training leaves: its model, as it would be deployed, its objective, and how many members the
/// support sets had that it was trained with (0: none).
struct StageResult {
  std::shared_ptr<Model> model;
  std::shared_ptr<Objective> objective;
  int64_t support = 0;
};

/// Facts of the training set and of the run that an objective may need to build its heads.
struct TrainingFacts {
  int64_t identities = 0;
  int64_t cameras = 0;
  int64_t samples = 0;
  /// Members of the support set beside each sample of a batch; 0: none.
  int64_t support = 0;
  /// The stage before this one; empty in the first. Where a run is resumed, its weights come with the checkpoint,
  /// after the objective is made.
  std::function<StageResult()> previous = {};
};

/// The total and its named parts (unweighted), all scalars.
struct ObjectiveResult {
  torch::Tensor total;
  std::vector<std::pair<std::string, torch::Tensor>> parts;
};

/// Everything that only trains: classifiers, training-only branches, frozen teachers, and the losses with their
/// weights. It sees a whole batch and the model; the trainer sees only this interface. Its parameters are saved in
/// checkpoints, marked training-only, and never deployed.
class Objective : public torch::nn::Module {
 public:
  virtual ObjectiveResult compute(Model& model, const Batch& batch, const Progress& progress) = 0;
  /// Called after each optimizer step: averaged teachers and the like.
  virtual void after_step(Model&, const Progress&) {}

  /// For objectives that fuse a sample with its support: features [N, D] and those of the support [N, M, D] to enriched
  /// ones [N, D]. Whoever calls them at test time knows the identities: an oracle, never a result.
  /// @throws ConfigError for an objective without fusion.
  virtual torch::Tensor fuse_images(const torch::Tensor& sample, const torch::Tensor& support);
  virtual torch::Tensor fuse_texts(const torch::Tensor& sample, const torch::Tensor& support);
};

/// Factories are given the model (to size their heads) and the facts of the training set.
using ObjectiveRegistry = Registry<Objective, Model&, const TrainingFacts&>;

}  // namespace reid::nn
