// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>

#include "reid/losses/alignment.hpp"
#include "reid/losses/support_fusion.hpp"
#include "reid/nn/objective.hpp"

namespace reid::losses {

/// The dual-encoder baseline: features of pictures and sentences, aligned (see `Alignment`). Objective `image_text`.
/// It is LCR2S without support and teacher; with SDM it is the global branch of IRRA.
/// @throws ConfigError for a training set without sentences or a model without text encoder.
class ImageText final : public nn::Objective {
 public:
  using Options = AlignmentOptions;
  ImageText(const Options& options, const std::string& pointer, nn::Model& model, const nn::TrainingFacts& facts);
  nn::ObjectiveResult compute(nn::Model& model, const Batch& batch, const Progress& progress) override;

 private:
  std::shared_ptr<Alignment> alignment_;
};

/// How a teacher fuses a sample with its support.
enum class Fusion {
  attention,  ///< MHAF, `SupportFusion`
  mean,       ///< mean of sample and support: the simplest rival
};

/// Features of a sample enriched by its support.
struct Enriched {
  torch::Tensor images, texts;          ///< r_v, r_t [B, D]
  torch::Tensor own_images, own_texts;  ///< x_0 of each [B, D]
};

/// LCR2S's teacher: each picture (sentence) is fused with other pictures (sentences) of its identity, and what comes
/// of it is aligned. Objective `lcr2s_teacher`.
///   r_v = MHAF_v(v_0; v_1 .. v_M)    r_t = MHAF_t(t_0; t_1 .. t_M)    L = L_align(r_v, r_t) + w_o L_align(v_0, t_0)
/// Without support in the batch (M = 0) r is x_0, and the teacher is the baseline.
/// Paper: Yan et al., "Learning Comprehensive Representations with Richer Self for Text-to-Image Person Re-Identification",
/// ACM MM 2023, arXiv:2310.11210: support sets, attentional fusion for each modality, alignment of what is fused.
/// Equations, losses and hyper-parameters are this library's reading (docs/methods/lcr2s.md).
/// Cost: (1 + M) passes of both encoders.
/// Parameters: image_fusion.*, text_fusion.* (see `SupportFusion`), alignment.{weight,bias}.
class Lcr2sTeacher final : public nn::Objective {
 public:
  struct Options : AlignmentOptions {
    Fusion fusion = Fusion::attention;
    SupportFusionOptions attention;
    double own = 0;
    bool support_no_grad = false;
    template <class V>
    void fields(V&& v) {
      AlignmentOptions::fields(v);
      v("fusion", fusion, "attention (MHAF) or mean");
      v("attention", attention, "options of the MHAF");
      v("own", own, "weight of the same losses on the features before the fusion", Range{0, 1e6});
      v("support_no_grad", support_no_grad, "the support's features carry no gradient: less memory and time");
    }
  };
  Lcr2sTeacher(const Options& options, const std::string& pointer, nn::Model& model, const nn::TrainingFacts& facts);
  nn::ObjectiveResult compute(nn::Model& model, const Batch& batch, const Progress& progress) override;

  /// Features of a batch with its support, in whatever mode model and objective are.
  /// @param want  of the model's `encode_image` and `encode_text`
  Enriched enrich(nn::Model& model, const Batch& batch, uint32_t want = nn::want_embedding);

  torch::Tensor fuse_images(const torch::Tensor& sample, const torch::Tensor& support) override;
  torch::Tensor fuse_texts(const torch::Tensor& sample, const torch::Tensor& support) override;

 private:
  torch::Tensor fuse(SupportFusion* fusion, const torch::Tensor& sample, const torch::Tensor& support) const;

  Options options_;
  std::shared_ptr<SupportFusion> image_fusion_, text_fusion_;
  std::shared_ptr<Alignment> alignment_;
};

/// LCR2S's student: one picture or one sentence a sample, taught by the frozen teacher of the stage before. Objective
/// `lcr2s_student`.
///   L = L_align(s) + w1 (MSE(s_v, r_v) + MSE(s_t, r_t)) + w2 |R_S - R_T|_F^2 / B^2
/// with r the teacher's enriched features of the same batch and its support, without gradient, and R the cosines between
/// pictures and sentences of the batch.
/// Paper: as `Lcr2sTeacher`; the kinds of loss are second-hand, their scale and weights this library's reading.
/// The teacher runs in evaluation mode; neither its weights nor its batch statistics change.
/// Parameters: alignment.{weight,bias}; without gradient teacher.*, teacher_model.*; with `cache_teacher` the buffers
/// cached_images, cached_texts [samples, D] float16 and cached [samples] bool.
/// @throws ConfigError unless the stage before had the objective `lcr2s_teacher`, and unless both stages have support or
///   neither has: a teacher of enriched features would silently teach plain ones.
class Lcr2sStudent final : public nn::Objective {
 public:
  struct Options : AlignmentOptions {
    double feature_weight = 1;
    double relation_weight = 1;
    bool feat_norm = false;
    RelationLoss rel = RelationLoss::frobenius;
    bool use_gt_losses = true;
    bool cache_teacher = false;
    template <class V>
    void fields(V&& v) {
      AlignmentOptions::fields(v);
      v("feature_weight", feature_weight, "w1: weight of the squared distance to the teacher's features", Range{0, 1e6});
      v("relation_weight", relation_weight, "w2: weight of the distance between the relations", Range{0, 1e6});
      v("feat_norm", feat_norm, "features are divided by their length before their distance is taken");
      v("rel", rel, "how relations are compared: frobenius, or kl of softmax rows");
      v("use_gt_losses", use_gt_losses, "keep the alignment by labels; false: the teacher alone teaches");
      v("cache_teacher", cache_teacher,
        "keep the teacher's features of a sample from its first visit on; support that is drawn anew later isn't looked at");
    }
  };
  Lcr2sStudent(const Options& options, const std::string& pointer, nn::Model& model, const nn::TrainingFacts& facts);
  nn::ObjectiveResult compute(nn::Model& model, const Batch& batch, const Progress& progress) override;
  /// The teacher stays in evaluation mode.
  void train(bool on = true) override;

 private:
  Enriched taught(const Batch& batch);

  Options options_;
  std::shared_ptr<nn::Model> teacher_model_;
  std::shared_ptr<Lcr2sTeacher> teacher_;
  std::shared_ptr<Alignment> alignment_;
  torch::Tensor cached_images_, cached_texts_, cached_;
};

}  // namespace reid::losses

template <>
struct reid::EnumNames<reid::losses::Fusion> {
  using F = reid::losses::Fusion;
  static constexpr std::array<std::pair<F, const char*>, 2> values{{{F::attention, "attention"}, {F::mean, "mean"}}};
};
