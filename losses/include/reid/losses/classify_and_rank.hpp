// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "reid/nn/loss.hpp"
#include "reid/nn/objective.hpp"

namespace reid::losses {

/// Which tensor a loss of `ClassifyAndRank` looks at.
enum class LossTarget {
  automatic,  ///< logits for a loss that needs them, else the embedding
  embedding,  ///< before the BN neck
  neck,       ///< after the BN neck
  logits,     ///< of the classifier on the neck
};

/// The objective that BoT, OSNet, RGA and ViT baselines share: a linear classifier on the feature after the BN neck
/// and a weighted list of losses.
///   z = W neck(f)        L = sum_i w_i ramp_i L_i
/// By default L = CE(z) with label smoothing 0.1 + batch-hard triplet(f) with margin 0.3, weights 1 : 1.
/// Paper: Luo et al., "Bag of Tricks and a Strong Baseline", CVPRW 2019, arXiv:1903.07071, section 3.5; Zhang et
///   al., "Relation-Aware Global Attention", CVPR 2020, arXiv:1904.02998, uses the same.
/// Reference: microsoft/Relation-Aware-Global-Attention-Networks@cdc9965, scripts/main_imgreid.py.
/// Differs from it: nothing known. A model without neck has its classifier on the embedding.
/// Of a model with P parts beside the whole picture's feature (`jpm`), each has a classifier of its own, and every loss is
///   L_i = (L_i(whole) + mean_k L_i(part k)) / 2        (damo-cv/TransReID loss/make_loss.py)
/// Classifier: no bias, N(0, 0.001^2) from LibTorch's generator.
/// Parts of the result: each loss by its name (a second of the same name gets "_2"), unweighted, and "accuracy",
/// the share of the batch whose largest logit is its identity, by the whole picture's feature (no gradient).
/// @throws ConfigError for a loss that asks for a target it can't use.
class ClassifyAndRank : public nn::Objective {
 public:
  struct Options {
    std::vector<Json> losses{Json{{"name", "cross_entropy"}, {"label_smoothing", 0.1}},
                             Json{{"name", "triplet"}, {"margin", 0.3}}};
    double classifier_std = 0.001;
    template <class V>
    void fields(V&& v) {
      v("losses", losses,
        "list of losses: name, weight (1), on (auto, embedding, neck or logits), ramp_epochs (0), and the loss's options");
      v("classifier_std", classifier_std, "standard deviation of the classifier's start", Range{0, 10});
    }
  };
  ClassifyAndRank(const Options& options, const std::string& pointer, nn::Model& model,
                  const nn::TrainingFacts& facts);
  nn::ObjectiveResult compute(nn::Model& model, const Batch& batch, const Progress& progress) override;

 private:
  struct Term {
    std::string label;
    std::shared_ptr<nn::Loss> loss;
    double weight = 1;
    LossTarget target = LossTarget::automatic;
    int64_t ramp_epochs = 0;
  };
  std::vector<Term> terms_;
  std::vector<torch::Tensor> classifiers_;  // [K, D] for the whole and each part; empty if no loss needs logits
};

}  // namespace reid::losses

template <>
struct reid::EnumNames<reid::losses::LossTarget> {
  static constexpr std::array<std::pair<reid::losses::LossTarget, const char*>, 4> values{
      {{reid::losses::LossTarget::automatic, "auto"},
       {reid::losses::LossTarget::embedding, "embedding"},
       {reid::losses::LossTarget::neck, "neck"},
       {reid::losses::LossTarget::logits, "logits"}}};
};
