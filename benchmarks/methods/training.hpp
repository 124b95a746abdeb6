// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/torch.h>

#include <memory>
#include <utility>
#include <vector>

#include "reid/nn/objective.hpp"

namespace reid::bench {

/// A model, its objective and one batch, trained on again and again.
class Training {
 public:
  /// @param optimizer  makes one for the parameters that learn
  template <class MakeOptimizer>
  Training(std::shared_ptr<nn::Model> model, std::shared_ptr<nn::Objective> objective, Batch batch, int64_t step,
           MakeOptimizer optimizer)
      : model_(std::move(model)), objective_(std::move(objective)), batch_(std::move(batch)) {
    model_->train();
    objective_->train();
    std::vector<torch::Tensor> parameters;
    for (const auto& list : {model_->parameters(), objective_->parameters()}) {
      for (const auto& parameter : list) {
        if (parameter.requires_grad()) parameters.push_back(parameter);
      }
    }
    optimizer_ = optimizer(std::move(parameters));
    progress_.steps_per_epoch = 1;
    progress_.step = step;
  }
  void step() {
    optimizer_->zero_grad();
    objective_->compute(*model_, batch_, progress_).total.backward();
    optimizer_->step();
  }

 private:
  std::shared_ptr<nn::Model> model_;
  std::shared_ptr<nn::Objective> objective_;
  Batch batch_;
  Progress progress_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
};

}  // namespace reid::bench
