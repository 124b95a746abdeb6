// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "reid/core/types.hpp"
#include "reid/nn/model.hpp"

namespace reid::nn {

/// Facts of the training set that an objective may need to build its heads.
struct TrainingFacts {
  int64_t identities = 0;
  int64_t cameras = 0;
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
};

/// Factories are given the model (to size their heads) and the facts of the training set.
using ObjectiveRegistry = Registry<Objective, Model&, const TrainingFacts&>;

}  // namespace reid::nn
