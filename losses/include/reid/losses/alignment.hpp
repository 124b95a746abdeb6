// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <array>
#include <string>
#include <utility>

#include "reid/core/types.hpp"
#include "reid/losses/matching.hpp"
#include "reid/nn/objective.hpp"

/// What objectives of pictures and sentences share.
namespace reid::losses {

/// Which loss brings a picture and its sentence together.
enum class Matching { ranking, cmpm, sdm };

struct AlignmentOptions {
  double identity = 1;
  double classifier_std = 0.001;
  Matching matching = Matching::ranking;
  double matching_weight = 1;
  double margin = 0.2;
  Negative negative = Negative::semi_hard;
  TargetNorm target_norm = TargetNorm::l2;
  double temperature = 0.02;
  double cmpc = 0;
  template <class V>
  void fields(V&& v) {
    v("identity", identity, "weight of the cross entropy over identities, pictures plus sentences", Range{0, 1e6});
    v("classifier_std", classifier_std, "standard deviation of the classifier's start", Range{0, 10});
    v("matching", matching, "ranking, cmpm or sdm");
    v("matching_weight", matching_weight, "its weight", Range{0, 1e6});
    v("margin", margin, "ranking: cosine by which the pair must be nearer", Range{0, 2});
    v("negative", negative, "ranking: a random semi_hard negative, or the hardest");
    v("target_norm", target_norm, "cmpm: rows of the target are divided by their l2 norm (TIPCB's code) or sum");
    v("temperature", temperature, "sdm: what cosines are divided by", Range{1e-4, 100});
    v("cmpc", cmpc, "weight of the projection classification (CMPC)", Range{0, 1e6});
  }
};

/// Losses between features of pictures v and of sentences t [B, D], rows in pairs:
///   L = w_id (CE(W v + b) + CE(W t + b)) + w_m L_matching(v, t) + w_c CMPC(v, t; W)
/// One classifier for both; W starts as N(0, 0.001^2), b as 0, as in MANet (Yan et al., arXiv:2208.14365).
/// The ranking's random negatives depend on the step alone.
/// Parameters: weight [K, D], bias [K].
class Alignment final : public torch::nn::Module {
 public:
  /// @throws ConfigError if no weight is positive.
  Alignment(const AlignmentOptions& options, const std::string& pointer, int64_t width, int64_t identities);

  /// Adds the terms to `result`, their parts under `prefix`: identity, ranking (cmpm, sdm), cmpc, accuracy (of
  /// pictures, without gradient). @param factor  of all terms in the total.
  void add_to(nn::ObjectiveResult& result, const torch::Tensor& images, const torch::Tensor& texts,
              const torch::Tensor& labels, const Progress& progress, double factor = 1, const std::string& prefix = "") const;

 private:
  AlignmentOptions options_;
  torch::Tensor weight_, bias_;
};

/// Adds `value` times `weight` to the total, and `value` to the parts.
void add_term(nn::ObjectiveResult& result, const std::string& name, const torch::Tensor& value, double weight);

/// Throws ConfigError `<where>: ...` unless the batch holds sentences.
void check_sentences(const char* where, const Batch& batch);

}  // namespace reid::losses

template <>
struct reid::EnumNames<reid::losses::Matching> {
  using M = reid::losses::Matching;
  static constexpr std::array<std::pair<M, const char*>, 3> values{
      {{M::ranking, "ranking"}, {M::cmpm, "cmpm"}, {M::sdm, "sdm"}}};
};
