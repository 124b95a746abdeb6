// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/normalization.h>

#include <memory>
#include <string>
#include <vector>

#include "reid/models/vit.hpp"

namespace reid::models {

/// The order of TransReID's jigsaw patch module: for P parts of floor(L / P) places each, which of the tokens 1 .. L (0 is the class
/// token) stand in them, part after part.
///   shifted: s, s + 1, ..., L, 1, ..., s - 1;   dealt out in turn from G equal shares of it
/// Where G doesn't divide L, the last token but one of the shifted order is put behind it once more.
/// Reference: damo-cv/TransReID model/make_model.py, shuffle_unit.
/// @param pointer  of the options, for messages.
/// @throws ConfigError if there are fewer places than parts, the shift lies beyond them, or the shares can't be made equal.
std::vector<int64_t> jigsaw_order(const JigsawOptions& options, int64_t places, const std::string& pointer);

/// Local features: a block and a norm for all parts, a neck for each.
class Jigsaw : public torch::nn::Module {
 public:
  Jigsaw(const JigsawOptions& options, const EncoderOptions& encoder, int64_t places, const std::string& pointer);
  /// @param tokens  [N, 1 + L, D] before the encoder's last block
  /// @return        [N, D] for each part
  std::vector<torch::Tensor> forward(const torch::Tensor& tokens);
  /// After the part's neck.
  torch::Tensor neck(std::size_t part, const torch::Tensor& feature) { return necks_[part](feature); }

 private:
  int64_t parts_;
  torch::Tensor order_;  ///< [P floor(L / P)] int64
  std::shared_ptr<nn::TransformerBlock> block_;
  torch::nn::LayerNorm norm_{nullptr};
  std::vector<torch::nn::BatchNorm1d> necks_;
};

}  // namespace reid::models
