// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <torch/torch.h>

#include "objective_entry.hpp"
#include "reid/core/error.hpp"
#include "reid/losses/lcr2s.hpp"
#include "reid/losses/losses.hpp"

namespace reid::losses {

using torch::Tensor;

namespace {
/// The teacher is frozen and sees the same sentences in every epoch.
constexpr uint32_t kWant = nn::want_embedding | nn::want_cached;
}  // namespace

Lcr2sStudent::Lcr2sStudent(const Options& options, const std::string& pointer, nn::Model& model, const nn::TrainingFacts& facts)
    : options_(options) {
  const auto name = pointer.empty() ? std::string("lcr2s_student") : pointer;
  REID_CHECK(options.feature_weight > 0 || options.relation_weight > 0, ConfigError,
             fmt::format("{}: one of feature_weight and relation_weight must be positive, got none", name));
  REID_CHECK(facts.previous != nullptr, ConfigError,
             fmt::format("{}: stage before must be an lcr2s_teacher's, got the first stage", name));
  const auto before = facts.previous();
  teacher_ = std::dynamic_pointer_cast<Lcr2sTeacher>(before.objective);
  REID_CHECK(teacher_ != nullptr, ConfigError, fmt::format("{}: stage before must be an lcr2s_teacher's, got another objective's", name));
  REID_CHECK((facts.support > 0) == (before.support > 0), ConfigError,
             fmt::format("{}: support of this stage must be there exactly if the teacher was trained with it ({} members), got {}", name,
                         before.support, facts.support));
  teacher_model_ = before.model;
  const auto width = model.embedding_size();
  REID_CHECK(teacher_model_->embedding_size() == width, ConfigError,
             fmt::format("{}: student must be as wide as its teacher ({}), got {}", name, teacher_model_->embedding_size(), width));
  register_module("teacher", teacher_);
  register_module("teacher_model", teacher_model_);
  for (auto& parameter : teacher_->parameters()) parameter.set_requires_grad(false);
  for (auto& parameter : teacher_model_->parameters()) parameter.set_requires_grad(false);
  if (options.use_gt_losses) {
    alignment_ = register_module("alignment", std::make_shared<Alignment>(options, pointer, width, facts.identities));
  }
  if (options.cache_teacher) {
    const auto half = torch::TensorOptions().dtype(torch::kFloat16);
    cached_images_ = register_buffer("cached_images", torch::zeros({facts.samples, width}, half));
    cached_texts_ = register_buffer("cached_texts", torch::zeros({facts.samples, width}, half));
    cached_ = register_buffer("cached", torch::zeros({facts.samples}, torch::kBool));
  }
  train();
}

void Lcr2sStudent::train(bool on) {
  nn::Objective::train(on);
  teacher_->eval();
  teacher_model_->eval();
}

Enriched Lcr2sStudent::taught(const Batch& batch) {
  const torch::NoGradGuard no_grad;
  if (!cached_.defined()) return teacher_->enrich(*teacher_model_, batch, kWant);
  const Tensor& index = batch.index;
  const Tensor missing = cached_.index_select(0, index).logical_not().nonzero().flatten();
  if (missing.numel() > 0) {
    Batch part;
    const auto pick = [&](const Tensor& rows) { return rows.defined() ? rows.index_select(0, missing) : rows; };
    part.images = pick(batch.images).contiguous(batch.images.suggest_memory_format());
    part.tokens = pick(batch.tokens);
    part.mask = pick(batch.mask);
    part.support_images = pick(batch.support_images);
    part.support_tokens = pick(batch.support_tokens);
    part.support_mask = pick(batch.support_mask);
    const auto features = teacher_->enrich(*teacher_model_, part, kWant);
    const Tensor rows = index.index_select(0, missing);
    cached_images_.index_copy_(0, rows, features.images.to(torch::kFloat16));
    cached_texts_.index_copy_(0, rows, features.texts.to(torch::kFloat16));
    cached_.index_fill_(0, rows, true);
  }
  Enriched result;
  result.images = cached_images_.index_select(0, index).to(torch::kFloat32);
  result.texts = cached_texts_.index_select(0, index).to(torch::kFloat32);
  return result;
}

nn::ObjectiveResult Lcr2sStudent::compute(nn::Model& model, const Batch& batch, const Progress& progress) {
  check_sentences("lcr2s_student", batch);
  const Tensor images = model.encode_image(batch.images).embedding;
  const Tensor texts = model.encode_text(batch.tokens, batch.mask).embedding;
  const Enriched teacher = taught(batch);
  nn::ObjectiveResult result;
  if (alignment_) alignment_->add_to(result, images, texts, batch.identities, progress);
  add_term(result, "feature",
           feature_distillation(images, teacher.images, options_.feat_norm) + feature_distillation(texts, teacher.texts, options_.feat_norm),
           options_.feature_weight);
  add_term(result, "relation", relation_distillation(images, texts, teacher.images, teacher.texts, options_.rel),
           options_.relation_weight);
  return result;
}

}  // namespace reid::losses

namespace reid::objectives {

void register_lcr2s_student(nn::ObjectiveRegistry& registry) {
  losses::add_objective<losses::Lcr2sStudent>(
      registry, "lcr2s_student",
      {.summary = "One picture, one sentence, taught by the features and relations of a frozen lcr2s_teacher: what LCR2S deploys.",
       .paper = "Yan et al., Learning Comprehensive Representations with Richer Self for Text-to-Image Person Re-Identification, ACM MM "
                "2023, arXiv:2310.11210",
       .reference = "none: the authors' repository holds no code",
       .claim = "structure from the paper; equations and hyper-parameters ours where marked"});
}

}  // namespace reid::objectives
