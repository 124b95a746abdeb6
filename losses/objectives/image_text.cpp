// SPDX-License-Identifier: Apache-2.0
#include "objective_entry.hpp"
#include "reid/losses/lcr2s.hpp"
#include "reid/losses/losses.hpp"

namespace reid::losses {

ImageText::ImageText(const Options& options, const std::string& pointer, nn::Model& model, const nn::TrainingFacts& facts)
    : alignment_(register_module("alignment", std::make_shared<Alignment>(options, pointer, model.embedding_size(), facts.identities))) {}

nn::ObjectiveResult ImageText::compute(nn::Model& model, const Batch& batch, const Progress& progress) {
  check_sentences("image_text", batch);
  nn::ObjectiveResult result;
  alignment_->add_to(result, model.encode_image(batch.images).embedding, model.encode_text(batch.tokens, batch.mask).embedding,
                     batch.identities, progress);
  return result;
}

}  // namespace reid::losses

namespace reid::objectives {

void register_image_text(nn::ObjectiveRegistry& registry) {
  losses::add_objective<losses::ImageText>(
      registry, "image_text",
      {.summary = "Pictures and sentences in one space: identities by one classifier, and matching.",
       .paper = "the baseline of Yan et al. (LCR2S), ACM MM 2023, arXiv:2310.11210; with sdm the global branch of IRRA, CVPR 2023, arXiv:2303.12501",
       .reference = "none for LCR2S; anosorae/IRRA model/objectives.py for SDM",
       .claim = "structure from the papers; losses and weights ours where marked"});
}

}  // namespace reid::objectives
