// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/batchnorm.h>

#include <memory>
#include <optional>
#include <string>

#include "reid/losses/cross_block.hpp"
#include "reid/losses/cross_entropy.hpp"
#include "reid/losses/triplet.hpp"
#include "reid/nn/objective.hpp"

namespace reid::losses {

/// What is said of this method wherever it is named.
inline constexpr const char* kXReidClaim =
    "a reimplementation in the spirit of X-ReID (cross-instance transformer, 2023), designed from the abstract; formulas, "
    "losses, weights and recipe are ours";

/// IntraX: off, its identity supervision L_g alone, or with the transfer L_kt.
enum class IntraX { off, supervision, full };
/// InterX: off, its attention loss alone, or with the cross entropy of o.
enum class InterX { off, attention, full };
/// Which other images of its identity an anchor attends to.
enum class Partners { all, one };
/// How the identity-level feature g teaches the instance-level feature f: by logits (kl), also by the cosine of features (kl_cos)
/// or by distances, f nearer to every g of its identity than to any other (kl_triplet); by features alone (mse); not at all.
enum class Transfer { kl_cos, kl, kl_triplet, mse, none };
/// The loss on the response to the positive: -log(R_pos + 1e-6), or max(0, m - (R_pos - R_neg)).
enum class ResponseLoss { log, hinge };
/// Queries whose attention counts.
enum class Queries { cls, all };
/// InterX's cross block: IntraX's, or one of its own.
enum class InterBlock { shared, own };
/// Tokens between which blocks attend: before or after the encoder's final norm.
enum class TokenPlace { before_norm, after_norm };
/// The classifier of cross features: the base's, or one of its own.
enum class CrossClassifier { shared, own };

/// For every row the farthest other row of its label and the nearest row of another, by Euclidean distance (`ops::batch_hard`).
struct Extremes {
  torch::Tensor positive;  ///< [N] int64; meaningless where a label has one row
  torch::Tensor negative;  ///< [N] int64; meaningless where all labels are equal
};
/// @param features [N, D], labels [N] int64. No gradient. Deterministic: yes.
Extremes find_extremes(const torch::Tensor& features, const torch::Tensor& labels);

/// T^2 KL(softmax(sg[teacher]/T) || softmax(student/T)): sum over classes, mean over rows; sg: no gradient.
/// Paper: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, Sec. 2 (the factor T^2).
torch::Tensor transfer_kl(const torch::Tensor& student, const torch::Tensor& teacher, double temperature);
/// mean over rows of 1 - cos(student, sg[teacher]).
torch::Tensor transfer_cosine(const torch::Tensor& student, const torch::Tensor& teacher);

/// Training a vision transformer with cross attention between the images of a batch.
///
/// A reimplementation in the spirit of X-ReID (cross-instance transformer, 2023), designed from the abstract; formulas,
/// losses, weights and recipe are ours. Not to be confused with later methods of the same name for video.
/// Paper: Shen et al., "Cross-Instance Transformer for Identity-Level Person Re-Identification", arXiv:2302.02075.
///
///   L = L_base(f) + ramp (lambda_intra L_IntraX + lambda_inter L_InterX)
///   ramp: linear from 0 over ramp_epochs, beginning with epoch ramp_from; before it the modules aren't computed, and with
///   it blocks that start as copies of the encoder's are copied anew (a warm start: the base is trained first)
///   L_base = CE(z_f) + w triplet(f),   z_f = W neck(f),   w: `triplet_weight`; small for networks from scratch, whose features
///            batch-hard mining draws together
/// With Z the encoder's tokens of each image, X a `CrossBlock`, BN a second neck, sg no gradient:
///   IntraX   g_i = X(Z_i <- tokens of the other images of y_i)
///            L_g = CE(W BN(g)) + w triplet(g);   L_kt = T^2 KL(sg[z_g] || z_f) + mean(1 - cos(f, sg[g]))
///            (or, with kl_triplet, the batch-hard triplet loss of anchors f against targets sg[g] in place of the cosine)
///   InterX   p(i), n(i) = `find_extremes` on f;   o_i = X(Z_i <- [Z_p; Z_n]), one softmax over both
///            R_pos = attention of the CLS query to p(i), mean over heads;  R_neg to n(i)
///            L_att = mean -log(R_pos + 1e-6);   L_InterX = L_att + CE(W BN(o))
/// With `kv_includes_self` the anchor's own tokens are among the keys and R_pos is the positive's share of what goes
/// to the two others, so that R_pos + R_neg = 1 either way.
///
/// An anchor whose identity has one image in the batch takes part in L_base only; that is said once in the log.
/// Parts of the result: cross_entropy, triplet, accuracy, similarity (mean cosine between f of different identities: near 1 the
/// features have been drawn together, and the transfer's cosine says nothing); of IntraX intra_cross_entropy, intra_triplet
/// (where it is on; 0 if the anchors are of one identity), intra_accuracy, intra_kl, intra_feature (whichever there are), anchors
/// (share of the batch that takes part); of InterX inter_attention, r_pos (0.5: untrained), inter_cross_entropy.
/// Parameters, all of them training-only: classifier, classifier_cross, neck_cross, cross, cross_inter, teacher (buffers), begun
/// (buffer, with `ramp_from`: the step of the warm start).
/// @throws ConfigError for a model without transformer; InputError for a batch in which no identity has two images, or of
///         a single identity.
/// Cost: beyond the encoder about 2 of 12 products of one block, plus one row per anchor.
/// Differentiable: yes. Deterministic: yes, given the batch and the step. Devices: cpu, cuda.
class XReid : public nn::Objective {
 public:
  struct Options {
    IntraX intra = IntraX::full;
    InterX inter = InterX::full;
    double lambda_intra = 1;
    double lambda_inter = 1;
    int64_t ramp_epochs = 10;
    int64_t ramp_from = 0;
    bool intra_triplet = true;
    double triplet_weight = 1;
    Partners partners = Partners::all;
    int64_t depth = 1;
    CrossStart start = CrossStart::last_blocks;
    InterBlock inter_block = InterBlock::shared;
    TokenPlace tokens = TokenPlace::before_norm;
    bool kv_includes_self = false;
    bool detach_kv = false;
    bool detach_anchor = false;
    std::optional<double> teacher_ema;
    Transfer transfer = Transfer::kl_cos;
    double temperature = 2;
    bool compact_center = false;
    ResponseLoss response = ResponseLoss::log;
    double margin = 0.3;
    Queries queries = Queries::cls;
    CrossClassifier classifier = CrossClassifier::shared;
    double label_smoothing = 0;
    std::optional<double> triplet_margin;
    double classifier_std = 0.001;
    template <class V>
    void fields(V&& v) {
      v("intra", intra, "IntraX: off, supervision (L_g alone) or full (with the transfer)");
      v("inter", inter, "InterX: off, attention (L_att alone) or full (with the cross entropy of o)");
      v("lambda_intra", lambda_intra, "weight of IntraX", Range{0, 1e6});
      v("lambda_inter", lambda_inter, "weight of InterX", Range{0, 1e6});
      v("ramp_epochs", ramp_epochs, "epochs over which both weights grow linearly from 0", Range{0, 1e6});
      v("ramp_from", ramp_from, "epoch, from 0, with which the ramp begins; until then the base is trained alone", Range{0, 1e6});
      v("intra_triplet", intra_triplet,
        "L_g has the triplet loss of g beside its cross entropy; g of one identity share what they attend to, so that it can be "
        "met without telling identities apart");
      v("triplet_weight", triplet_weight, "weight of the triplet losses of f and g beside their cross entropies", Range{0, 1e6});
      v("partners", partners, "IntraX attends to all other images of the identity, or to one at random");
      v("depth", depth, "cross blocks one after the other", Range{1, 16});
      v("start", start,
        "last_blocks: copies of the encoder's; mean: these, but adding the mean of what is attended to; random; encoder: the "
        "encoder's own blocks, shared");
      v("inter_block", inter_block, "InterX uses IntraX's block (shared) or its own");
      v("tokens", tokens, "tokens before or after the encoder's final norm");
      v("kv_includes_self", kv_includes_self, "the anchor's own tokens join the keys");
      v("detach_kv", detach_kv, "no gradient reaches the encoder through the tokens that are attended to");
      v("detach_anchor", detach_anchor,
        "no gradient reaches the encoder through the anchors' tokens: with detach_kv the modules teach it by the transfer alone");
      v("teacher_ema", teacher_ema, "tokens come from an averaged encoder with this decay, without gradient; null: none",
        Range{0, 1});
      v("transfer", transfer,
        "how g teaches f: kl_cos (logits and cosine), kl (logits), kl_triplet (logits and distances), mse (features) or none");
      v("temperature", temperature, "T of the transfer's softmax", Range{1e-3, 1e3});
      v("compact_center", compact_center, "f learns from the mean g of its identity instead of its own g");
      v("response", response, "loss on the response to the positive: log or hinge");
      v("margin", margin, "m of the hinge", Range{0, 1});
      v("queries", queries, "queries whose attention counts: the class token (cls) or the mean over all");
      v("classifier", classifier, "cross features are classified by the base's classifier (shared) or their own");
      v("label_smoothing", label_smoothing, "share of the targets spread over all classes", Range{0, 1});
      v("triplet_margin", triplet_margin, "margin of the triplet losses; null: soft", Range{0, 1e6});
      v("classifier_std", classifier_std, "standard deviation of the classifiers' start", Range{0, 10});
    }
  };
  /// @param pointer  where the options stand, for messages.
  XReid(const Options& options, const std::string& pointer, nn::Model& model, const nn::TrainingFacts& facts);
  nn::ObjectiveResult compute(nn::Model& model, const Batch& batch, const Progress& progress) override;
  void after_step(nn::Model& model, const Progress& progress) override;

 private:
  struct Anchors;
  struct Base;
  Anchors anchors_of(const torch::Tensor& labels, const Progress& progress);
  torch::Tensor teacher_tokens(nn::Model& model, const Batch& batch);
  torch::Tensor cross_logits(const torch::Tensor& feature);
  /// The step with which the modules began; with it, blocks that depend on the encoder start anew.
  int64_t first_crossing(const nn::TransformerEncoder& encoder, const Progress& progress);
  torch::Tensor intra(const Base& base, const Anchors& anchors, const std::vector<nn::KeysValues>& source,
                      nn::ObjectiveResult& result);
  torch::Tensor inter(const Base& base, const Anchors& anchors, const std::vector<nn::KeysValues>& source,
                      nn::ObjectiveResult& result);

  Options options_;
  CrossEntropy cross_entropy_;
  Triplet triplet_;
  torch::Tensor classifier_, classifier_cross_;  // [K, D]
  torch::nn::BatchNorm1d neck_cross_{nullptr};
  std::shared_ptr<CrossBlock> cross_, cross_inter_;
  std::shared_ptr<torch::nn::Module> teacher_;
  torch::Tensor begun_;  // int64 scalar, -1: not yet
  int64_t first_crossing_ = -1;
  bool said_single_ = false;
};

}  // namespace reid::losses

template <>
struct reid::EnumNames<reid::losses::IntraX> {
  static constexpr std::array<std::pair<reid::losses::IntraX, const char*>, 3> values{
      {{reid::losses::IntraX::off, "off"},
       {reid::losses::IntraX::supervision, "supervision"},
       {reid::losses::IntraX::full, "full"}}};
};
template <>
struct reid::EnumNames<reid::losses::InterX> {
  static constexpr std::array<std::pair<reid::losses::InterX, const char*>, 3> values{
      {{reid::losses::InterX::off, "off"},
       {reid::losses::InterX::attention, "attention"},
       {reid::losses::InterX::full, "full"}}};
};
template <>
struct reid::EnumNames<reid::losses::Partners> {
  static constexpr std::array<std::pair<reid::losses::Partners, const char*>, 2> values{
      {{reid::losses::Partners::all, "all"}, {reid::losses::Partners::one, "one"}}};
};
template <>
struct reid::EnumNames<reid::losses::Transfer> {
  static constexpr std::array<std::pair<reid::losses::Transfer, const char*>, 5> values{
      {{reid::losses::Transfer::kl_cos, "kl_cos"},
       {reid::losses::Transfer::kl, "kl"},
       {reid::losses::Transfer::kl_triplet, "kl_triplet"},
       {reid::losses::Transfer::mse, "mse"},
       {reid::losses::Transfer::none, "none"}}};
};
template <>
struct reid::EnumNames<reid::losses::ResponseLoss> {
  static constexpr std::array<std::pair<reid::losses::ResponseLoss, const char*>, 2> values{
      {{reid::losses::ResponseLoss::log, "log"}, {reid::losses::ResponseLoss::hinge, "hinge"}}};
};
template <>
struct reid::EnumNames<reid::losses::Queries> {
  static constexpr std::array<std::pair<reid::losses::Queries, const char*>, 2> values{
      {{reid::losses::Queries::cls, "cls"}, {reid::losses::Queries::all, "all"}}};
};
template <>
struct reid::EnumNames<reid::losses::InterBlock> {
  static constexpr std::array<std::pair<reid::losses::InterBlock, const char*>, 2> values{
      {{reid::losses::InterBlock::shared, "shared"}, {reid::losses::InterBlock::own, "own"}}};
};
template <>
struct reid::EnumNames<reid::losses::TokenPlace> {
  static constexpr std::array<std::pair<reid::losses::TokenPlace, const char*>, 2> values{
      {{reid::losses::TokenPlace::before_norm, "before_norm"}, {reid::losses::TokenPlace::after_norm, "after_norm"}}};
};
template <>
struct reid::EnumNames<reid::losses::CrossClassifier> {
  static constexpr std::array<std::pair<reid::losses::CrossClassifier, const char*>, 2> values{
      {{reid::losses::CrossClassifier::shared, "shared"}, {reid::losses::CrossClassifier::own, "own"}}};
};
