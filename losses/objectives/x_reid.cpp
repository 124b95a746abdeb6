// SPDX-License-Identifier: Apache-2.0
#include "reid/losses/x_reid.hpp"

#include <ATen/autocast_mode.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <map>

#include "reid/core/error.hpp"
#include "reid/core/log.hpp"
#include "reid/core/random.hpp"
#include "objective_entry.hpp"
#include "reid/losses/losses.hpp"
#include "reid/nn/blocks.hpp"
#include "reid/ops/distance.hpp"
#include "reid/ops/matmul.hpp"
#include "reid/ops/mining.hpp"

namespace reid::losses {
namespace {

using torch::Tensor;

constexpr double kResponseFloor = 1e-6;
constexpr int64_t kNotBegun = -1;
constexpr uint64_t kPartnerStream = 0x782d72656964;  // "x-reid"

/// Half precision (autocast) to float32, in which losses are computed.
Tensor wide(const Tensor& x) {
  return x.scalar_type() == torch::kHalf || x.scalar_type() == torch::kBFloat16 ? x.to(torch::kFloat32) : x;
}

/// Registers `tensor` as a buffer of a dotted name, with the modules on the way.
void hold(torch::nn::Module& root, const std::string& name, const Tensor& tensor) {
  const auto dot = name.find('.');
  if (dot == std::string::npos) {
    root.register_buffer(name, tensor);
    return;
  }
  const auto first = name.substr(0, dot);
  const auto children = root.named_children();
  auto child = children.contains(first) ? children[first] : root.register_module(first, std::make_shared<torch::nn::Module>());
  hold(*child, name.substr(dot + 1), tensor);
}

/// While it lives, a model's parameters and buffers have other values and the model is in evaluation mode.
class BorrowedState {
 public:
  BorrowedState(nn::Model& model, const nn::StateDict& values) : model_(model), training_(model.is_training()) {
    for (auto& item : model.named_parameters()) exchange(item.value(), values.at(item.key()));
    for (auto& item : model.named_buffers()) exchange(item.value(), values.at(item.key()));
    model.eval();
    at::autocast::clear_cache();  // it knows parameters by their place, not by their values
  }
  ~BorrowedState() {
    for (auto& [own, live] : kept_) own.set_data(live);
    model_.train(training_);
    at::autocast::clear_cache();
  }
  BorrowedState(const BorrowedState&) = delete;
  BorrowedState& operator=(const BorrowedState&) = delete;

 private:
  void exchange(Tensor own, const Tensor& value) {
    kept_.emplace_back(own, own.detach());
    own.set_data(value);
  }
  nn::Model& model_;
  bool training_;
  std::vector<std::pair<Tensor, Tensor>> kept_;
};

void append(nn::ObjectiveResult& result, const char* name, const Tensor& value) {
  result.parts.emplace_back(name, value.detach());
}

/// Mean cosine between rows of different labels. No gradient.
Tensor similarity_between(const Tensor& features, const Tensor& labels) {
  const torch::NoGradGuard no_grad;
  const auto distance = ops::pairwise_distance(features, features, ops::Metric::cosine);
  const auto others = (labels.unsqueeze(0) != labels.unsqueeze(1)).to(distance.scalar_type());
  return 1 - (distance * others).sum() / others.sum();
}

}  // namespace

Extremes find_extremes(const Tensor& features, const Tensor& labels) {
  const torch::NoGradGuard no_grad;
  const auto f = features.detach();
  const auto found = ops::batch_hard(ops::pairwise_distance(f, f, ops::Metric::euclidean), labels, /*with_self=*/false);
  return {found.positive.clamp_min(0), found.negative.clamp_min(0)};
}

Tensor transfer_kl(const Tensor& student, const Tensor& teacher, double temperature) {
  const auto target = torch::log_softmax(teacher.detach() / temperature, 1);
  const auto own = torch::log_softmax(student / temperature, 1);
  return temperature * temperature * (target.exp() * (target - own)).sum(1).mean();
}

Tensor transfer_cosine(const Tensor& student, const Tensor& teacher) {
  return (1 - torch::cosine_similarity(student, teacher.detach(), 1)).mean();
}

/// Who takes part in IntraX and InterX.
struct XReid::Anchors {
  Tensor rows;      ///< [M] int64
  Tensor partners;  ///< [M, P] int64; where `mask` is false, the anchor itself
  Tensor mask;      ///< [M, P] bool; undefined if all are there
  Tensor labels;    ///< [M] int64
  int64_t identities = 0;
};

/// What the base computed of the batch.
struct XReid::Base {
  Tensor embedding;  ///< f [N, D]
  Tensor logits;     ///< z_f [N, K]
  Tensor labels;     ///< [N]
  Tensor tokens;     ///< Z [N, L, D]
};

XReid::XReid(const Options& options, const std::string& pointer, nn::Model& model, const nn::TrainingFacts& facts)
    : options_(options),
      cross_entropy_(CrossEntropy::Options{options.label_smoothing}),
      triplet_(Triplet::Options{options.triplet_margin}) {
  REID_CHECK(facts.identities > 0, ConfigError,
             fmt::format("{}: training set must have at least one identity, got {}", pointer, facts.identities));
  const auto& encoder = encoder_of(model, pointer);
  const auto blocks = static_cast<int64_t>(encoder.encoder_blocks().size());
  REID_CHECK(options.depth <= blocks, ConfigError,
             fmt::format("{}/depth: depth must be at most the encoder's number of blocks ({}), got {}", pointer, blocks,
                         options.depth));
  REID_CHECK(model.parts() == 1, ConfigError,
             fmt::format("{}: model must make one feature of a picture, got {} (jpm)", pointer, model.parts()));
  const auto width = model.embedding_size();
  const auto make_classifier = [&](const char* name) {
    return register_parameter(name, torch::empty({facts.identities, width}).normal_(0, options.classifier_std));
  };
  classifier_ = make_classifier("classifier");
  const bool crossing = options.intra != IntraX::off || options.inter != InterX::off;
  if (!crossing) return;
  cross_ = register_module("cross", std::make_shared<CrossBlock>(encoder, options.start, options.depth));
  if (options.intra != IntraX::off && options.inter != InterX::off && options.inter_block == InterBlock::own) {
    cross_inter_ = register_module("cross_inter", std::make_shared<CrossBlock>(encoder, options.start, options.depth));
  }
  if (options.intra != IntraX::off || options.inter == InterX::full) {
    neck_cross_ = register_module("neck_cross", nn::make_bn_neck(width));
    if (options.classifier == CrossClassifier::own) classifier_cross_ = make_classifier("classifier_cross");
  }
  if (options.ramp_from > 0) begun_ = register_buffer("begun", torch::full({}, kNotBegun, torch::kInt64));
  if (options.teacher_ema) {
    teacher_ = register_module("teacher", std::make_shared<torch::nn::Module>());
    for (const auto& [name, tensor] : nn::state_of(model)) hold(*teacher_, name, tensor.clone());
  }
}

Tensor XReid::teacher_tokens(nn::Model& model, const Batch& batch) {
  const torch::NoGradGuard no_grad;
  const BorrowedState borrowed(model, nn::state_of(*teacher_));
  auto tokens = model.encode_image_from(batch.images, batch.cameras, nn::want_tokens).tokens;
  return options_.tokens == TokenPlace::after_norm ? encoder_of(model, "x_reid").final_norm()->forward(tokens) : tokens;
}

void XReid::after_step(nn::Model& model, const Progress&) {
  if (!teacher_) return;
  const torch::NoGradGuard no_grad;
  const auto live = nn::state_of(model);
  for (auto& [name, average] : nn::state_of(*teacher_)) {
    if (average.is_floating_point()) {
      average.lerp_(live.at(name), 1 - *options_.teacher_ema);
    } else {
      average.copy_(live.at(name));
    }
  }
}

XReid::Anchors XReid::anchors_of(const Tensor& labels, const Progress& progress) {
  const auto on_cpu = labels.cpu();
  const auto* label = on_cpu.data_ptr<int64_t>();
  std::map<int64_t, std::vector<int64_t>> of_identity;
  for (int64_t i = 0; i < on_cpu.numel(); ++i) of_identity[label[i]].push_back(i);
  Random random{kPartnerStream, static_cast<uint64_t>(progress.step)};
  std::vector<int64_t> rows;
  std::vector<std::vector<int64_t>> partners;
  std::size_t most = 0;
  Anchors result;
  for (int64_t i = 0; i < on_cpu.numel(); ++i) {
    auto others = of_identity[label[i]];
    if (others.size() < 2) continue;
    std::erase(others, i);
    if (options_.partners == Partners::one) {
      others = {others[static_cast<std::size_t>(random.below(static_cast<int64_t>(others.size())))]};
    }
    rows.push_back(i);
    most = std::max(most, others.size());
    partners.push_back(std::move(others));
  }
  REID_CHECK(!rows.empty(), InputError,
             fmt::format("x_reid: batch must hold at least two images of an identity, got {} images of {} identities",
                         on_cpu.numel(), of_identity.size()));
  if (static_cast<int64_t>(rows.size()) < on_cpu.numel() && !said_single_) {
    said_single_ = true;
    log_warning(fmt::format("x_reid: {} of {} images are alone of their identity in a batch and take no part in IntraX and "
                            "InterX; this is said once",
                            on_cpu.numel() - static_cast<int64_t>(rows.size()), on_cpu.numel()));
  }
  const auto m = static_cast<int64_t>(rows.size()), p = static_cast<int64_t>(most);
  auto index = torch::empty({m, p}, torch::kInt64);
  auto there = torch::ones({m, p}, torch::kBool);
  bool whole = true;
  auto index_rows = index.accessor<int64_t, 2>();
  auto there_rows = there.accessor<bool, 2>();
  for (int64_t i = 0; i < m; ++i) {
    const auto& own = partners[static_cast<std::size_t>(i)];
    for (int64_t j = 0; j < p; ++j) {
      const bool real = j < static_cast<int64_t>(own.size());
      index_rows[i][j] = real ? own[static_cast<std::size_t>(j)] : rows[static_cast<std::size_t>(i)];
      there_rows[i][j] = real;
      whole = whole && real;
    }
  }
  result.rows = torch::tensor(rows, torch::kInt64).to(labels.device());
  result.partners = index.to(labels.device());
  if (!whole) result.mask = there.to(labels.device());
  result.labels = labels.index_select(0, result.rows);
  for (const auto& [identity, images] : of_identity) result.identities += images.size() > 1 ? 1 : 0;
  return result;
}

Tensor XReid::cross_logits(const Tensor& feature) {
  return wide(ops::linear(neck_cross_(feature), classifier_cross_.defined() ? classifier_cross_ : classifier_));
}

Tensor XReid::intra(const Base& base, const Anchors& anchors, const std::vector<nn::KeysValues>& source,
                    nn::ObjectiveResult& result) {
  auto images = anchors.partners;
  auto mask = anchors.mask;
  if (options_.kv_includes_self) {
    images = torch::cat({anchors.rows.unsqueeze(1), images}, 1);
    if (mask.defined()) mask = torch::cat({torch::ones_like(mask.narrow(1, 0, 1)), mask}, 1);
  }
  const auto g = wide(cross_->forward(base.tokens, source, anchors.rows, images, mask).feature);
  const auto logits = cross_logits(g);
  const auto entropy = cross_entropy_.forward({{}, logits, anchors.labels});
  auto total = entropy;
  append(result, "intra_cross_entropy", entropy);
  if (options_.intra_triplet) {
    // Anchors of one identity have no negative among them.
    const auto triplet = anchors.identities > 1 ? triplet_.forward({g, {}, anchors.labels}) : torch::zeros_like(entropy);
    total = total + options_.triplet_weight * triplet;
    append(result, "intra_triplet", triplet);
  }
  append(result, "intra_accuracy", top1_accuracy(logits, anchors.labels));
  if (options_.intra == IntraX::full && options_.transfer != Transfer::none) {
    auto target = g.detach(), target_logits = logits.detach();
    if (options_.compact_center) {
      // The mean of an identity's rows; of its logits, too, since neck and classifier are linear in a batch.
      const auto same = (anchors.labels.unsqueeze(0) == anchors.labels.unsqueeze(1)).to(target.scalar_type());
      const auto share = same / same.sum(1, true);
      target = torch::matmul(share, target);
      target_logits = torch::matmul(share, target_logits);
    }
    const auto f = base.embedding.index_select(0, anchors.rows);
    if (options_.transfer != Transfer::mse) {
      const auto kl = transfer_kl(base.logits.index_select(0, anchors.rows), target_logits, options_.temperature);
      total = total + kl;
      append(result, "intra_kl", kl);
    }
    Tensor feature;
    if (options_.transfer == Transfer::kl_cos) feature = transfer_cosine(f, target);
    if (options_.transfer == Transfer::mse) feature = torch::mse_loss(f, target);
    if (options_.transfer == Transfer::kl_triplet) {
      feature = anchors.identities > 1 ? batch_hard_triplet(f, target, anchors.labels, options_.triplet_margin)
                                       : torch::zeros_like(entropy);
    }
    if (feature.defined()) {
      total = total + feature;
      append(result, "intra_feature", feature);
    }
  }
  return total;
}

Tensor XReid::inter(const Base& base, const Anchors& anchors, const std::vector<nn::KeysValues>& source,
                    nn::ObjectiveResult& result) {
  const auto extremes = find_extremes(base.embedding, base.labels);
  auto images = torch::stack({extremes.positive, extremes.negative}, 1).index_select(0, anchors.rows);  // [M, 2]
  if (options_.kv_includes_self) images = torch::cat({images, anchors.rows.unsqueeze(1)}, 1);
  auto& block = cross_inter_ ? *cross_inter_ : *cross_;
  const auto out = block.forward(base.tokens, source, anchors.rows, images, {},
                                 options_.queries == Queries::all ? CrossBlock::Attention::all : CrossBlock::Attention::cls);
  const auto response = wide(out.response);
  auto positive = response.select(1, 0), negative = response.select(1, 1);
  if (options_.kv_includes_self) {
    const auto both = (positive + negative).clamp_min(kResponseFloor);
    positive = positive / both;
    negative = negative / both;
  }
  const auto loss = options_.response == ResponseLoss::log
                        ? -torch::log(positive + kResponseFloor).mean()
                        : (options_.margin - (positive - negative)).clamp_min(0).mean();
  append(result, "inter_attention", loss);
  append(result, "r_pos", positive.mean());
  if (options_.inter == InterX::attention) return loss;
  const auto entropy = cross_entropy_.forward({{}, cross_logits(wide(out.feature)), anchors.labels});
  append(result, "inter_cross_entropy", entropy);
  return loss + entropy;
}

int64_t XReid::first_crossing(const nn::TransformerEncoder& encoder, const Progress& progress) {
  if (options_.ramp_from == 0) return 0;
  if (first_crossing_ == kNotBegun) first_crossing_ = begun_.item<int64_t>();  // a run that goes on has begun
  if (first_crossing_ == kNotBegun) {
    first_crossing_ = progress.step;
    begun_.fill_(first_crossing_);
    cross_->restart(encoder);
    if (cross_inter_) cross_inter_->restart(encoder);
  }
  return first_crossing_;
}

nn::ObjectiveResult XReid::compute(nn::Model& model, const Batch& batch, const Progress& progress) {
  const bool crossing = cross_ != nullptr && progress.epoch >= options_.ramp_from;
  Base base;
  base.labels = batch.identities;
  if (crossing && teacher_) base.tokens = teacher_tokens(model, batch);  // before the graph of the live weights is made
  const bool own_tokens = crossing && !teacher_;
  const auto output = model.encode_image_from(batch.images, batch.cameras, nn::want_neck | (own_tokens ? nn::want_tokens : 0U));
  const auto& encoder = encoder_of(model, "x_reid");
  if (own_tokens) {
    REID_CHECK(output.tokens.defined(), ConfigError, "x_reid: model must give tokens, got none");
    base.tokens = options_.tokens == TokenPlace::after_norm ? encoder.final_norm()->forward(output.tokens) : output.tokens;
  }
  base.embedding = wide(output.embedding);
  base.logits = wide(ops::linear(output.neck.defined() ? output.neck : output.embedding, classifier_));

  nn::ObjectiveResult result;
  const auto entropy = cross_entropy_.forward({{}, base.logits, base.labels});
  const auto triplet = triplet_.forward({base.embedding, {}, base.labels});
  append(result, "cross_entropy", entropy);
  append(result, "triplet", triplet);
  append(result, "accuracy", top1_accuracy(base.logits, base.labels));
  append(result, "similarity", similarity_between(base.embedding, base.labels));
  result.total = entropy + options_.triplet_weight * triplet;
  if (!crossing) return result;

  const auto anchors = anchors_of(base.labels, progress);
  const auto share = static_cast<double>(anchors.rows.size(0)) / static_cast<double>(base.labels.size(0));
  append(result, "anchors", torch::full({}, share, base.logits.options().requires_grad(false)));
  const double share_now = ramp(options_.ramp_epochs, progress, first_crossing(encoder, progress));
  const auto tokens = options_.detach_kv ? base.tokens.detach() : base.tokens;
  const auto source = cross_->project(tokens);
  if (options_.detach_anchor) base.tokens = base.tokens.detach();
  if (options_.intra != IntraX::off) {
    result.total = result.total + share_now * options_.lambda_intra * intra(base, anchors, source, result);
  }
  if (options_.inter != InterX::off) {
    result.total = result.total + share_now * options_.lambda_inter *
                                      inter(base, anchors, cross_inter_ ? cross_inter_->project(tokens) : source, result);
  }
  return result;
}

}  // namespace reid::losses

namespace reid::objectives {

void register_x_reid(nn::ObjectiveRegistry& registry) {
  losses::add_objective<losses::XReid>(
      registry, "x_reid",
      {.summary = "Cross attention between the images of a batch teaches a vision transformer: IntraX and InterX.",
       .paper = "Shen et al., Cross-Instance Transformer for Identity-Level Person Re-Identification (X-ReID, "
                "cross-instance transformer, 2023), arXiv:2302.02075",
       .reference = "",
       .claim = losses::kXReidClaim});
}

}  // namespace reid::objectives
