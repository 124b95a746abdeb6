// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <array>
#include <cstdint>
#include <utility>

#include "reid/core/options.hpp"
#include "reid/core/random.hpp"

/// Losses between the features of pictures v [B, D] and of sentences t [B, D], row i of both from one sample, with labels y
/// [B] int64. All are scalars, differentiable in v and t, and symmetric: picture to sentence plus sentence to picture.
/// All throw ShapeError if sizes or types don't fit.
namespace reid::losses {

enum class Negative {
  semi_hard,  ///< one at random among those that violate the margin by less than the margin itself
  hardest,    ///< the one of greatest similarity
};

/// Cross-modal ranking:  S_ij = cos(v_i, t_j);   L = sum_i max(0, S_in - S_ii + m) + sum_i max(0, S_n'i - S_ii + m)
/// with n a negative (y_n != y_i) for which 0 < S_in - S_ii + m < m, drawn at random, or the hardest of all; a row
/// without a candidate gives 0. Similarities that choose carry no gradient.
/// Paper: Yan et al. (MANet), TNNLS 2023, arXiv:2208.14365; Faghri et al., "VSE++", BMVC 2018 (hardest).
/// @param random  chooses among semi-hard negatives; not used by `hardest`.
/// Cost: O(B^2 D); one copy of S to the CPU.
torch::Tensor cross_modal_ranking(const torch::Tensor& images, const torch::Tensor& texts, const torch::Tensor& labels,
                                  double margin, Negative negative, Random& random);

/// By what a row of [y_i = y_j] is divided to make it a target.
enum class TargetNorm {
  sum,  ///< the definition
  l2,   ///< TIPCB's code
};

/// Cross-modal projection matching (CMPM):
///   p_ij = softmax_j(v_i . t_j / |t_j|)   q_ij = [y_i = y_j] / norm_i   L = mean_i sum_j p_ij (log p_ij - log(q_ij + 1e-8))
/// plus the same with v and t exchanged.
/// Paper: Zhang and Lu, "Deep Cross-Modal Projection Learning for Image-Text Matching", ECCV 2018, eq. 2-6.
torch::Tensor cmpm(const torch::Tensor& images, const torch::Tensor& texts, const torch::Tensor& labels,
                   TargetNorm norm = TargetNorm::l2);

/// Cross-modal projection classification (CMPC): cross entropy of w_k . v'_i / |w_k| with v'_i = (v_i . t_i/|t_i|) t_i/|t_i|,
/// plus the same with v and t exchanged. Means over the batch.
/// Paper: as `cmpm`, eq. 7-10.
/// @param weight  [K, D], the classifier's; labels are 0..K-1.
torch::Tensor cmpc(const torch::Tensor& images, const torch::Tensor& texts, const torch::Tensor& labels, const torch::Tensor& weight);

/// Similarity distribution matching (SDM): as `cmpm` with p_ij = softmax_j(cos(v_i, t_j) / temperature) and rows of the
/// target divided by their sum.
/// Paper: Jiang and Ye, "Cross-Modal Implicit Relation Reasoning and Aligning for Text-to-Image Person Retrieval" (IRRA), CVPR
/// 2023, arXiv:2303.12501, eq. 6-8. Reference: anosorae/IRRA model/objectives.py.
torch::Tensor sdm(const torch::Tensor& images, const torch::Tensor& texts, const torch::Tensor& labels, double temperature = 0.02);

/// How two relation matrices are compared.
enum class RelationLoss {
  frobenius,  ///< |R_S - R_T|_F^2 / B^2
  kl,         ///< mean_i KL(softmax_j R_T[i, :] || softmax_j R_S[i, :])
};

/// Distance of a student's relation of pictures and sentences, R_S[i, j] = cos(s_v_i, s_t_j), from its teacher's; no
/// gradient reaches the teacher's features. 0 for equal relations, and the scale of a feature has no influence.
/// Paper: Yan et al. (LCR2S), ACM MM 2023, arXiv:2310.11210: that a Frobenius loss compares the relations. Cosine, squaring
/// and scale are this library's reading.
torch::Tensor relation_distillation(const torch::Tensor& student_images, const torch::Tensor& student_texts,
                                    const torch::Tensor& teacher_images, const torch::Tensor& teacher_texts,
                                    RelationLoss kind = RelationLoss::frobenius);

/// Mean over batch and channels of (student - teacher)^2; no gradient reaches the teacher.
/// @param normalise  rows are divided by their length first.
torch::Tensor feature_distillation(const torch::Tensor& student, const torch::Tensor& teacher, bool normalise = false);

}  // namespace reid::losses

template <>
struct reid::EnumNames<reid::losses::Negative> {
  using N = reid::losses::Negative;
  static constexpr std::array<std::pair<N, const char*>, 2> values{{{N::semi_hard, "semi_hard"}, {N::hardest, "hardest"}}};
};
template <>
struct reid::EnumNames<reid::losses::TargetNorm> {
  using N = reid::losses::TargetNorm;
  static constexpr std::array<std::pair<N, const char*>, 2> values{{{N::sum, "sum"}, {N::l2, "l2"}}};
};
template <>
struct reid::EnumNames<reid::losses::RelationLoss> {
  using N = reid::losses::RelationLoss;
  static constexpr std::array<std::pair<N, const char*>, 2> values{{{N::frobenius, "frobenius"}, {N::kl, "kl"}}};
};
