// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/oracle.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <unordered_map>

#include "evaluator_parts.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/engine/checkpoint.hpp"
#include "run_parts.hpp"

namespace reid::engine {
namespace fs = std::filesystem;

namespace {

/// Pictures of a split with the rows of their sentences.
struct Views {
  std::vector<int64_t> identities;
  std::vector<std::vector<int64_t>> sentences;  ///< of each picture: rows of the side of sentences
};

Views views_of(const std::vector<Sample>& pictures, const std::vector<Sample>& sentences) {
  Views views;
  std::unordered_map<std::string, std::size_t> picture_of;
  for (const auto& sample : pictures) {
    picture_of.emplace(sample.path, views.identities.size());
    views.identities.push_back(sample.identity);
  }
  views.sentences.resize(pictures.size());
  for (std::size_t row = 0; row < sentences.size(); ++row) {
    const auto it = picture_of.find(sentences[row].path);
    REID_CHECK(it != picture_of.end(), DatasetError,
               fmt::format("{}: picture of a sentence must be among the pictures of its split, got none", sentences[row].path));
    views.sentences[it->second].push_back(static_cast<int64_t>(row));
  }
  return views;
}

/// Fuses both sides of a split.
void fuse(nn::Objective& objective, const SupportOptions& options, uint64_t seed, const std::vector<Sample>& pictures,
          torch::Tensor& picture_features, const std::vector<Sample>& sentences, torch::Tensor& sentence_features) {
  const c10::InferenceMode inference;
  const auto views = views_of(pictures, sentences);
  std::vector<int64_t> counts;
  for (const auto& list : views.sentences) counts.push_back(std::max<int64_t>(1, static_cast<int64_t>(list.size())));
  const data::SupportSets sets(views.identities, counts, data::LonelySamples::self);
  std::vector<int64_t> of_pictures, of_sentences(sentences.size() * static_cast<std::size_t>(options.members));
  for (std::size_t p = 0; p < pictures.size(); ++p) {
    const auto& own = views.sentences[p];
    for (std::size_t s = 0; s < std::max<std::size_t>(1, own.size()); ++s) {
      const auto support = sets.draw({static_cast<int64_t>(p), static_cast<int64_t>(s)}, options.members, seed, 0);
      if (s == 0) of_pictures.insert(of_pictures.end(), support.pictures.begin(), support.pictures.end());
      if (own.empty()) continue;
      auto* out = of_sentences.data() + own[s] * options.members;
      for (const auto& member : support.sentences) {
        const auto& list = views.sentences[static_cast<std::size_t>(member.picture)];
        REID_CHECK(!list.empty(), DatasetError,
                   fmt::format("{}: picture must have a sentence to support others, got none",
                               pictures[static_cast<std::size_t>(member.picture)].path));
        *out++ = list[static_cast<std::size_t>(member.sentence)];
      }
    }
  }
  const auto gathered = [&](const torch::Tensor& features, const std::vector<int64_t>& rows) {
    return features.index_select(0, torch::tensor(rows, torch::kInt64)).view({features.size(0), options.members, -1});
  };
  const auto images = objective.fuse_images(picture_features, gathered(picture_features, of_pictures));
  const auto texts = objective.fuse_texts(sentence_features, gathered(sentence_features, of_sentences));
  picture_features = images;
  sentence_features = texts;
}

}  // namespace

metrics::Result evaluate_oracle(const fs::path& run, const std::string& stage, const data::DataSet& dataset,
                                const EvaluationOptions& options, const Catalogue& catalogue, const Runtime& runtime,
                                uint64_t seed, const ProgressSink& progress) {
  const auto experiment = experiment_of_run(run, catalogue);
  const auto& stages = experiment.stages;
  const auto it = std::find_if(stages.begin(), stages.end(), [&](const StageOptions& s) { return s.name == stage; });
  const auto files = stage_files(run, stage);
  std::error_code error;
  REID_CHECK(it != stages.end() && fs::exists(files.model, error) && fs::exists(files.objective, error), InputError,
             fmt::format("{}: run must have ended an earlier stage '{}', got none of that name", run.string(), stage));
  REID_CHECK(it->support.has_value(), ConfigError,
             fmt::format("oracle: stage must have been trained with support, got '{}' without", stage));
  const auto& protocol = metrics::protocol(options.protocol.empty() ? dataset.default_protocol : options.protocol);
  REID_CHECK(protocol.query_text != protocol.gallery_text, ConfigError,
             fmt::format("oracle: protocol must be between sentences and pictures, got {}", protocol.name));

  const auto model = open_model(experiment.model, files.model, catalogue);
  const auto tensors = nn::read_weights(files.objective).tensors;
  nn::TrainingFacts facts;
  const auto classifier = tensors.find("alignment.weight");
  facts.identities = classifier == tensors.end() ? 1 : classifier->second.size(0);
  const auto objective = catalogue.objectives.create(it->objective, "/objective", *model, facts);
  restore_module(*objective, tensors, files.objective.string());
  objective->eval();

  auto result = evaluate_enriched(
      *model, dataset, options, catalogue.decoder, runtime, seed, progress, false,
      [&](const std::vector<Sample>& query, torch::Tensor& query_features, const std::vector<Sample>& gallery,
          torch::Tensor& gallery_features) {
        if (protocol.query_text) {
          fuse(*objective, *it->support, seed, gallery, gallery_features, query, query_features);
        } else {
          fuse(*objective, *it->support, seed, query, query_features, gallery, gallery_features);
        }
      });
  result.json["oracle"] = Json{{"stage", stage}, {"support", it->support->members}};
  result.json["notes"].push_back(fmt::format(
      "an oracle, not a result: every sentence and picture was fused with {} others of its own identity", it->support->members));
  return result;
}

}  // namespace reid::engine
