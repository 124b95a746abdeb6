// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/evaluator.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <chrono>
#include <filesystem>
#include <set>
#include <unordered_map>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "evaluator_parts.hpp"
#include "reid/engine/checkpoint.hpp"
#include "reid/text/tokenizer.hpp"

namespace reid::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The pictures of all splits, each once, in order of first use.
class PictureIndex {
 public:
  torch::Tensor add(const std::vector<Sample>& samples) {
    auto rows = torch::empty({static_cast<int64_t>(samples.size())}, torch::kInt64);
    auto* row = rows.data_ptr<int64_t>();
    for (const auto& sample : samples) {
      const auto [it, is_new] = row_of_.emplace(sample.path, static_cast<int64_t>(paths_.size()));
      if (is_new) {
        paths_.push_back(sample.path);
        cameras_.push_back(sample.camera);
      }
      *row++ = it->second;
    }
    return rows;
  }
  const std::vector<std::string>& paths() const { return paths_; }
  const std::vector<int64_t>& cameras() const { return cameras_; }

 private:
  std::unordered_map<std::string, int64_t> row_of_;
  std::vector<std::string> paths_;
  std::vector<int64_t> cameras_;
};

/// Sentences of all splits, one row each.
class SentenceIndex {
 public:
  torch::Tensor add(const std::vector<Sample>& samples) {
    const auto first = static_cast<int64_t>(sentences_.size());
    for (const auto& sample : samples) {
      REID_CHECK(sample.captions.size() == 1, DatasetError,
                 fmt::format("{}: entry of a protocol with sentences must have one, got {}", sample.path, sample.captions.size()));
      text::check_utf8(sample.captions.front(), sample.path);
      sentences_.push_back(sample.captions.front());
    }
    return torch::arange(first, static_cast<int64_t>(sentences_.size()));
  }
  const std::vector<std::string>& sentences() const { return sentences_; }

 private:
  std::vector<std::string> sentences_;
};

metrics::FeatureSet labelled(const std::vector<Sample>& samples, torch::Tensor features) {
  const auto count = static_cast<int64_t>(samples.size());
  metrics::FeatureSet set;
  set.features = std::move(features);
  set.ids = torch::empty({count}, torch::kInt64);
  set.cameras = torch::empty({count}, torch::kInt64);
  set.clothes = torch::empty({count}, torch::kInt64);
  bool clothes = count > 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto& sample = samples[static_cast<std::size_t>(i)];
    set.ids.data_ptr<int64_t>()[i] = sample.identity;
    set.cameras.data_ptr<int64_t>()[i] = sample.camera;
    set.clothes.data_ptr<int64_t>()[i] = sample.clothes;
    clothes = clothes && sample.clothes >= 0;
  }
  if (!clothes) set.clothes = torch::Tensor();
  return set;
}

/// Junk goes before anything is computed of it.
std::vector<Sample> without_junk(const std::vector<Sample>& samples, const metrics::Protocol& protocol) {
  if (!protocol.junk) return samples;
  std::vector<Sample> kept;
  for (const auto& sample : samples) {
    if (sample.identity != -1) kept.push_back(sample);
  }
  return kept;
}

/// The pictures of `pictures` whose identity and camera a query has; `metrics::evaluate` averages them.
std::vector<Sample> multiple_queries(const std::vector<Sample>& query, const std::vector<Sample>& pictures) {
  std::set<std::pair<int64_t, int64_t>> wanted, found;
  for (const auto& sample : query) wanted.emplace(sample.identity, sample.camera);
  std::vector<Sample> result;
  for (const auto& sample : pictures) {
    if (wanted.count({sample.identity, sample.camera}) == 0) continue;
    found.emplace(sample.identity, sample.camera);
    result.push_back(sample);
  }
  for (const auto& sample : query) {
    REID_CHECK(found.count(std::pair(sample.identity, sample.camera)) != 0, DatasetError,
               fmt::format("{}: query must have pictures of its identity and camera in gt_bbox, got none", sample.path));
  }
  return result;
}

std::string data_fingerprint(const data::DataSet& dataset) {
  uint64_t hash = fingerprint(dataset.name);
  const auto add = [&](const std::vector<Sample>& samples) {
    for (const auto& s : samples) {
      const auto name = std::filesystem::path(s.path).filename().string();
      hash = fingerprint(fmt::format("{}|{}|{}|{};", name, s.identity, s.camera, s.clothes), hash);
      for (const auto& caption : s.captions) hash = fingerprint(caption, hash);
    }
  };
  for (const auto& split : dataset.splits) {
    add(split.query);
    add(split.gallery);
  }
  add(dataset.multi_query);
  return fmt::format("fnv1a64:{:016x}", hash);
}

/// What is printed beside the scores of this protocol: the feature that was scored, in words.
std::string feature_name(const nn::Model& model, FeatureChoice choice) {
  const bool after = choice == FeatureChoice::after_neck ||
                     (choice == FeatureChoice::deployed && model.feature() == nn::Feature::after_neck);
  return after ? "after BN neck" : "before BN neck";
}

}  // namespace

metrics::Result evaluate_model(nn::Model& model, const data::DataSet& dataset, const EvaluationOptions& options,
                               const data::Decoder& decoder, const Runtime& runtime, uint64_t seed,
                               const ProgressSink& progress, bool prepared) {
  return evaluate_enriched(model, dataset, options, decoder, runtime, seed, progress, prepared, {});
}

metrics::Result evaluate_enriched(nn::Model& model, const data::DataSet& dataset, const EvaluationOptions& options,
                                  const data::Decoder& decoder, const Runtime& runtime, uint64_t seed,
                                  const ProgressSink& progress, bool prepared, const Enrich& enrich) {
  const auto name = options.protocol.empty() ? dataset.default_protocol : options.protocol;
  REID_CHECK(!name.empty(), ConfigError,
             fmt::format("protocol: a name must be given for {}, which has no default, got none", dataset.name));
  const auto& protocol = metrics::protocol(name);
  if (options.rerank) metrics::resolve(*options.rerank);
  REID_CHECK(!dataset.splits.empty(), DatasetError,
             fmt::format("{}: data set must have query and gallery, got none", dataset.name));
  REID_CHECK(!protocol.multi_query || !dataset.multi_query.empty(), DatasetError,
             fmt::format("{}: pictures for multiple queries (gt_bbox) must be there for {}, got none", dataset.name, name));
  REID_CHECK(!(protocol.query_text || protocol.gallery_text) || model.tokenizer() != nullptr, ConfigError,
             fmt::format("protocol: model must have a text encoder and its vocabulary (text.tokenizer.vocab) for {}, got none", name));
  const auto weights = fingerprint_of(nn::state_of(model));
  if (!prepared) prepare_for_inference(model, options, runtime);

  struct Split {
    std::vector<Sample> query, gallery;
    torch::Tensor query_rows, gallery_rows;
  };
  PictureIndex index;
  SentenceIndex sentence_index;
  const auto rows_of = [&](const std::vector<Sample>& samples, bool text) {
    return text ? sentence_index.add(samples) : index.add(samples);
  };
  std::vector<Split> splits;
  for (const auto& split : dataset.splits) {
    Split s{protocol.multi_query ? multiple_queries(split.query, dataset.multi_query) : split.query,
            without_junk(split.gallery, protocol), {}, {}};
    s.query_rows = rows_of(s.query, protocol.query_text);
    s.gallery_rows = rows_of(s.gallery, protocol.gallery_text);
    splits.push_back(std::move(s));
  }

  auto clock = Clock::now();
  const auto features = extract_features(model, index.paths(), decoder, options, runtime, progress, index.cameras());
  const bool with_text = protocol.query_text || protocol.gallery_text;
  const auto sentences =
      with_text ? extract_sentence_features(model, sentence_index.sentences(), options, runtime, progress) : torch::Tensor();
  const double feature_seconds = seconds_since(clock);
  clock = Clock::now();

  metrics::EvaluateOptions scoring;
  scoring.metric = options.metric;
  scoring.seed = seed;
  scoring.resamples = options.resamples;
  scoring.rerank = options.rerank;
  if (!runtime.device.is_cpu()) scoring.devices = {runtime.device};
  std::vector<metrics::Result> results;
  for (const auto& split : splits) {
    auto query = (protocol.query_text ? sentences : features).index_select(0, split.query_rows);
    auto gallery = (protocol.gallery_text ? sentences : features).index_select(0, split.gallery_rows);
    if (enrich) enrich(split.query, query, split.gallery, gallery);
    results.push_back(metrics::evaluate(labelled(split.query, std::move(query)), labelled(split.gallery, std::move(gallery)),
                                        protocol, scoring));
  }
  auto result = protocol.several_splits ? metrics::combine_splits(results, protocol) : std::move(results.front());

  auto& json = result.json;
  json["dataset"] = dataset.name;
  json["data_fingerprint"] = data_fingerprint(dataset);
  Json notes = Json::array();
  if (!protocol.warning.empty()) notes.push_back(protocol.warning);
  for (const auto& note : dataset.notes) notes.push_back(note);
  json["notes"] = notes;
  json["model"] = model.spec();
  json["feature"] = feature_name(model, options.feature);
  json["flip"] = options.flip;
  json["fold"] = options.fold;
  json["precision"] = enum_name(options.precision);
  json["seed"] = seed;
  json["weights_fingerprint"] = weights;
  json["environment"] = environment(runtime);
  json["pictures"] = index.paths().size();
  if (with_text) json["sentences"] = sentence_index.sentences().size();
  json["seconds"] = Json{{"features", feature_seconds}, {"ranking", seconds_since(clock)}};
  return result;
}

}  // namespace reid::engine
