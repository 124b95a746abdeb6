// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include "reid/core/registry.hpp"

namespace reid::nn {

/// What a loss may look at. A loss says which members it needs and throws ShapeError if one is missing.
struct LossInput {
  torch::Tensor embeddings;  ///< [N, D]
  torch::Tensor logits;      ///< [N, K]; undefined if there is no classifier
  torch::Tensor labels;      ///< [N] int64, 0..K-1
};

/// A term of the training loss: a function of tensors, with few parameters of its own or none.
class Loss : public torch::nn::Module {
 public:
  /// A scalar, differentiable in embeddings and logits.
  virtual torch::Tensor forward(const LossInput& input) = 0;
  virtual bool needs_logits() const { return false; }
};

using LossRegistry = Registry<Loss>;

}  // namespace reid::nn
