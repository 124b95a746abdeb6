// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <torch/torch.h>

#include "objective_entry.hpp"
#include "reid/core/error.hpp"
#include "reid/losses/lcr2s.hpp"
#include "reid/losses/losses.hpp"

namespace reid::losses {

using torch::Tensor;

Lcr2sTeacher::Lcr2sTeacher(const Options& options, const std::string& pointer, nn::Model& model, const nn::TrainingFacts& facts)
    : options_(options) {
  const auto width = model.embedding_size();
  if (options.fusion == Fusion::attention) {
    image_fusion_ = register_module("image_fusion", std::make_shared<SupportFusion>(width, options.attention));
    text_fusion_ = register_module("text_fusion", std::make_shared<SupportFusion>(width, options.attention));
  }
  alignment_ = register_module("alignment", std::make_shared<Alignment>(options, pointer, width, facts.identities));
}

Tensor Lcr2sTeacher::fuse(SupportFusion* fusion, const Tensor& sample, const Tensor& support) const {
  if (fusion != nullptr) return fusion->forward(sample, support);
  return (sample + support.sum(1)) / static_cast<double>(support.size(1) + 1);
}

Tensor Lcr2sTeacher::fuse_images(const Tensor& sample, const Tensor& support) { return fuse(image_fusion_.get(), sample, support); }
Tensor Lcr2sTeacher::fuse_texts(const Tensor& sample, const Tensor& support) { return fuse(text_fusion_.get(), sample, support); }

Enriched Lcr2sTeacher::enrich(nn::Model& model, const Batch& batch, uint32_t want) {
  check_sentences("lcr2s_teacher", batch);
  Enriched result;
  if (!batch.support_images.defined()) {
    result.own_images = result.images = model.encode_image(batch.images, want).embedding;
    result.own_texts = result.texts = model.encode_text(batch.tokens, batch.mask, want).embedding;
    return result;
  }
  REID_CHECK(batch.support_tokens.defined(), ConfigError, "lcr2s_teacher: support must have sentences, got pictures alone");
  const auto n = batch.images.size(0), members = batch.support_images.size(1);
  const auto format = batch.images.suggest_memory_format();
  const Tensor images = batch.support_images.flatten(0, 1).contiguous(format);
  const Tensor tokens = batch.support_tokens.flatten(0, 1), mask = batch.support_mask.flatten(0, 1);
  Tensor support_images, support_texts;
  if (options_.support_no_grad) {
    {
      const torch::NoGradGuard no_grad;
      support_images = model.encode_image(images, want).embedding;
      support_texts = model.encode_text(tokens, mask, want).embedding;
    }
    result.own_images = model.encode_image(batch.images, want).embedding;
    result.own_texts = model.encode_text(batch.tokens, batch.mask, want).embedding;
  } else {
    // One pass: batch norms see the samples and their support together.
    const Tensor v = model.encode_image(torch::cat({batch.images, images}).contiguous(format), want).embedding;
    const Tensor t = model.encode_text(torch::cat({batch.tokens, tokens}), torch::cat({batch.mask, mask}), want).embedding;
    result.own_images = v.slice(0, 0, n);
    support_images = v.slice(0, n);
    result.own_texts = t.slice(0, 0, n);
    support_texts = t.slice(0, n);
  }
  result.images = fuse_images(result.own_images, support_images.view({n, members, -1}));
  result.texts = fuse_texts(result.own_texts, support_texts.view({n, members, -1}));
  return result;
}

nn::ObjectiveResult Lcr2sTeacher::compute(nn::Model& model, const Batch& batch, const Progress& progress) {
  const Enriched features = enrich(model, batch);
  nn::ObjectiveResult result;
  alignment_->add_to(result, features.images, features.texts, batch.identities, progress);
  if (options_.own > 0) {
    alignment_->add_to(result, features.own_images, features.own_texts, batch.identities, progress, options_.own, "own_");
  }
  return result;
}

}  // namespace reid::losses

namespace reid::objectives {

void register_lcr2s_teacher(nn::ObjectiveRegistry& registry) {
  losses::add_objective<losses::Lcr2sTeacher>(
      registry, "lcr2s_teacher",
      {.summary = "Pictures and sentences, each fused with others of its identity, in one space: the teacher of LCR2S.",
       .paper = "Yan et al., Learning Comprehensive Representations with Richer Self for Text-to-Image Person Re-Identification, ACM MM "
                "2023, arXiv:2310.11210",
       .reference = "none: the authors' repository holds no code",
       .claim = "structure from the paper; equations and hyper-parameters ours where marked"});
}

}  // namespace reid::objectives
