// SPDX-License-Identifier: Apache-2.0
#include "reid/losses/classify_and_rank.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>

#include "objective_entry.hpp"
#include "reid/losses/cross_entropy.hpp"
#include "reid/losses/losses.hpp"
#include "reid/ops/matmul.hpp"

namespace reid::losses {
namespace {

/// What the objective itself reads of one entry of `losses`; all other keys are the loss's own.
struct TermOptions {
  double weight = 1;
  LossTarget on = LossTarget::automatic;
  int64_t ramp_epochs = 0;
  template <class V>
  void fields(V&& v) {
    v("weight", weight, "factor of the loss in the total", Range{0, 1e6});
    v("on", on, "what the loss looks at");
    v("ramp_epochs", ramp_epochs, "epochs over which the weight grows linearly from 0", Range{0, 1e6});
  }
};

struct SplitTerm {
  TermOptions own;
  Json loss;
};

SplitTerm split_term(const Json& part, const std::string& pointer) {
  SplitTerm result;
  if (!part.is_object()) {
    result.loss = part;
    return result;
  }
  Json own = Json::object();
  result.loss = Json::object();
  const auto known = describe_options<TermOptions>();
  for (const auto& [key, value] : part.items()) {
    const bool mine = std::any_of(known.begin(), known.end(), [&k = key](const FieldInfo& f) { return f.name == k; });
    (mine ? own : result.loss)[key] = value;
  }
  result.own = read_options<TermOptions>(own, pointer);
  return result;
}

}  // namespace

ClassifyAndRank::ClassifyAndRank(const Options& options, const std::string& pointer, nn::Model& model,
                                 const nn::TrainingFacts& facts) {
  REID_CHECK(!options.losses.empty(), ConfigError,
             fmt::format("{}/losses: list must hold at least one loss, got none", pointer));
  REID_CHECK(facts.identities > 0, ConfigError,
             fmt::format("{}: training set must have at least one identity, got {}", pointer, facts.identities));
  bool needs_classifier = false;
  for (std::size_t i = 0; i < options.losses.size(); ++i) {
    const auto where = fmt::format("{}/losses/{}", pointer, i);
    auto [own, part] = split_term(options.losses[i], where);
    Term term;
    term.loss = registry().create(part, where);
    const bool on_logits = term.loss->needs_logits();
    term.weight = own.weight;
    term.ramp_epochs = own.ramp_epochs;
    term.target = own.on != LossTarget::automatic ? own.on : on_logits ? LossTarget::logits : LossTarget::embedding;
    REID_CHECK(on_logits == (term.target == LossTarget::logits), ConfigError,
               fmt::format("{}/on: value must be {}, got {}", where,
                           on_logits ? "logits for this loss" : "embedding or neck for this loss",
                           enum_name(term.target)));
    needs_classifier = needs_classifier || on_logits;
    const std::string name = part.is_string() ? part.get<std::string>() : part.at("name").get<std::string>();
    const auto same = std::count_if(terms_.begin(), terms_.end(), [&](const Term& t) {
      return t.label == name || t.label.rfind(name + "_", 0) == 0;
    });
    term.label = same == 0 ? name : fmt::format("{}_{}", name, same + 1);
    register_module(fmt::format("loss{}", i), term.loss);
    terms_.push_back(std::move(term));
  }
  for (int64_t part = 0; needs_classifier && part < model.parts(); ++part) {
    const auto width = model.embedding_size() / model.parts();
    classifiers_.push_back(register_parameter(part == 0 ? std::string("classifier") : fmt::format("classifier_{}", part),
                                              torch::empty({facts.identities, width}).normal_(0, options.classifier_std)));
  }
}

nn::ObjectiveResult ClassifyAndRank::compute(nn::Model& model, const Batch& batch, const Progress& progress) {
  const bool several = model.parts() > 1;
  auto output = model.encode_image_from(batch.images, batch.cameras,
                                        nn::want_embedding | nn::want_neck | (several ? nn::want_parts : 0U));
  if (!several) {
    output.parts = {output.embedding};
    if (output.neck.defined()) output.part_necks = {output.neck};
  }
  const auto& necks = output.part_necks.empty() ? output.parts : output.part_necks;
  std::vector<nn::LossInput> inputs(output.parts.size());
  for (std::size_t part = 0; part < inputs.size(); ++part) {
    inputs[part].labels = batch.identities;
    if (!classifiers_.empty()) inputs[part].logits = ops::linear(necks[part], classifiers_[part]);
  }
  nn::ObjectiveResult result;
  for (const auto& term : terms_) {
    std::vector<torch::Tensor> values;
    for (std::size_t part = 0; part < inputs.size(); ++part) {
      inputs[part].embeddings = term.target == LossTarget::neck ? necks[part] : output.parts[part];
      values.push_back(term.loss->forward(inputs[part]));
    }
    auto value = values.front();
    if (several) {
      values.erase(values.begin());
      value = (value + torch::stack(values).mean()) / 2;
    }
    const auto part = value * (term.weight * ramp(term.ramp_epochs, progress));
    result.total = result.total.defined() ? result.total + part : part;
    result.parts.emplace_back(term.label, value.detach());
  }
  if (!classifiers_.empty()) {
    result.parts.emplace_back("accuracy", top1_accuracy(inputs.front().logits, batch.identities));
  }
  return result;
}

}  // namespace reid::losses

namespace reid::objectives {

void register_classify_and_rank(nn::ObjectiveRegistry& registry) {
  losses::add_objective<losses::ClassifyAndRank>(
      registry, "classify_and_rank",
      {.summary = "A classifier on the feature after the neck and a weighted list of losses.",
       .paper = "Luo et al., Bag of Tricks and a Strong Baseline, CVPRW 2019, arXiv:1903.07071",
       .reference = "microsoft/Relation-Aware-Global-Attention-Networks@cdc9965",
       .claim = "faithful to the reference code"});
}

}  // namespace reid::objectives
