// SPDX-License-Identifier: Apache-2.0
#include "reid/metrics/rerank.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "reid/core/error.hpp"
#include "rerank_spec.hpp"

namespace reid::metrics {
namespace {

constexpr auto kZhongPaper = "Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017";

std::vector<RerankSpec> make_specs() {
  const auto k_reciprocal = [](const char* name, std::vector<std::string> aliases, const char* summary,
                               const char* reference) {
    RerankSpec spec;
    spec.variant = {name, std::move(aliases), summary, reference};
    return spec;
  };
  std::vector<RerankSpec> list;
  auto matlab = k_reciprocal("zhong_matlab", {}, "squared euclidean of unit rows; half sets of round((k1+1)/2) items",
                             "zhunzhong07/person-re-ranking, MATLAB");
  matlab.unit_rows = true;
  matlab.base = BaseDistance::euclidean;
  matlab.matlab_half = true;
  list.push_back(matlab);

  auto features = k_reciprocal("zhong_features", {}, "squared euclidean of the features as given",
                               "zhunzhong07/person-re-ranking, Python from features");
  features.base = BaseDistance::euclidean;
  features.half = HalfArrays::all;
  list.push_back(features);

  auto ranklist = k_reciprocal("zhong_ranklist", {"zhong"}, "the metric's distance, squared",
                               "zhunzhong07/person-re-ranking, ranklist version; torchreid; fast-reid rerank.py");
  ranklist.transform = Transform::square;
  list.push_back(ranklist);

  auto layumi = k_reciprocal("layumi", {}, "(2 - 2s)^2 of cosine similarities s", "layumi/Person_reID_baseline_pytorch");
  layumi.base = BaseDistance::cosine;
  layumi.transform = Transform::square;  // the factor 4 vanishes when rows are divided by their maximum
  list.push_back(layumi);

  auto bot = k_reciprocal("bot", {}, "squared euclidean of unit rows", "BoT, TransReID, CLIP-ReID, SOLIDER");
  bot.unit_rows = true;
  bot.base = BaseDistance::euclidean;
  bot.half = HalfArrays::encoding;
  list.push_back(bot);

  auto openunreid = k_reciprocal("openunreid", {"fastreid"},
                                 "lists of k1 items, softmax of -squared euclidean, J not below 0, distance unscaled",
                                 "open-mmlab/OpenUnReID; fast-reid's live path");
  openunreid.base = BaseDistance::euclidean;
  openunreid.unit_rows_under_cosine = true;
  openunreid.scale_rows = false;
  openunreid.list_without_extra = true;
  openunreid.clip_jaccard = true;
  list.push_back(openunreid);

  auto boxmot = k_reciprocal("boxmot", {}, "1 - cosine unscaled; k2 + 1 items averaged; J from minima over maxima",
                             "mikel-brostrom/boxmot");
  boxmot.base = BaseDistance::cosine;
  boxmot.scale_rows = false;
  boxmot.expand_one_more = true;
  boxmot.jaccard_of_maxima = true;
  list.push_back(boxmot);

  RerankSpec gnn;
  gnn.variant = {"gnn", {}, "graph propagation over nearest neighbours, then inner products",
                 "Zhang et al., Understanding Image Retrieval Re-Ranking, arXiv:2012.07620; layumi; torchreid"};
  gnn.kind = RerankKind::gnn;
  gnn.k1 = 26;
  gnn.k2 = 7;
  gnn.lambda = std::nullopt;
  list.push_back(gnn);

  RerankSpec aqe;
  aqe.variant = {"aqe_fastreid", {}, "mean of the k1 nearest raw features weighted by s^alpha, then the metric",
                 "JDAI-CV/fast-reid fastreid/evaluation/query_expansion.py"};
  aqe.kind = RerankKind::aqe;
  aqe.k1 = 5;
  aqe.k2 = std::nullopt;
  aqe.lambda = std::nullopt;
  aqe.alpha = 3;
  aqe.times = 1;
  list.push_back(aqe);
  aqe.variant = {"aqe", {}, "aqe_fastreid on unit rows with negative similarities set to 0",
                 "Radenovic et al., TPAMI 2018, arXiv:1711.02512 (alpha query expansion)"};
  aqe.unit_rows = true;
  list.push_back(aqe);

  for (auto& spec : list) {
    if (spec.kind == RerankKind::k_reciprocal) spec.variant.reference += std::string("; ") + kZhongPaper;
  }
  std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.variant.name < b.variant.name; });
  return list;
}

const std::vector<RerankSpec>& specs() {
  static const std::vector<RerankSpec> list = make_specs();
  return list;
}

/// Takes the variant's default for an unset parameter; refuses one that the variant hasn't or that is out of range.
template <class T>
void settle(std::optional<T>& value, const std::optional<T>& standard, const std::string& variant, const char* name,
            const Range& range) {
  if (!standard) {
    REID_CHECK(!value, ConfigError,
               fmt::format("rerank: {} must not be given for {}, which has none, got {}", name, variant, *value));
    return;
  }
  if (!value) value = standard;
  const auto number = static_cast<double>(*value);
  REID_CHECK(number >= range.min && number <= range.max && std::isfinite(number), ConfigError,
             std::isinf(range.max)
                 ? fmt::format("rerank: {} must be finite and at least {}, got {}", name, range.min, *value)
                 : fmt::format("rerank: {} must be between {} and {}, got {}", name, range.min, range.max, *value));
}

}  // namespace

const RerankSpec& rerank_spec(const std::string& name) {
  std::vector<std::string> known;
  for (const auto& spec : specs()) {
    const auto& aliases = spec.variant.aliases;
    if (spec.variant.name == name || std::find(aliases.begin(), aliases.end(), name) != aliases.end()) return spec;
    known.push_back(spec.variant.name);
    known.insert(known.end(), aliases.begin(), aliases.end());
  }
  throw RegistryError(
      fmt::format("rerank: variant must be one of {}, got '{}'{}", fmt::join(known, ", "), name, did_you_mean(name, known)));
}

const std::vector<RerankVariant>& rerank_variants() {
  static const std::vector<RerankVariant> list = [] {
    std::vector<RerankVariant> made;
    for (const auto& spec : specs()) made.push_back(spec.variant);
    return made;
  }();
  return list;
}

RerankOptions resolve(const RerankOptions& options) {
  const RerankSpec& spec = rerank_spec(options.variant);
  RerankOptions resolved = options;
  resolved.variant = spec.variant.name;
  settle(resolved.k1, spec.k1, resolved.variant, "k1", {.min = 1});
  settle(resolved.k2, spec.k2, resolved.variant, "k2", {.min = 1});
  settle(resolved.lambda, spec.lambda, resolved.variant, "lambda", {.min = 0, .max = 1});
  settle(resolved.alpha, spec.alpha, resolved.variant, "alpha", {.min = 0});
  settle(resolved.times, spec.times, resolved.variant, "times", {.min = 1});
  REID_CHECK(!resolved.emulate_half || spec.half != HalfArrays::none, ConfigError,
             fmt::format("rerank: emulate_half must be false for {}, whose original has no half arrays, got true",
                         resolved.variant));
  return resolved;
}

Json rerank_json(const RerankOptions& resolved) {
  Json json{{"variant", resolved.variant}};
  if (resolved.k1) json["k1"] = *resolved.k1;
  if (resolved.k2) json["k2"] = *resolved.k2;
  if (resolved.lambda) json["lambda"] = *resolved.lambda;
  if (resolved.alpha) json["alpha"] = *resolved.alpha;
  if (resolved.times) json["times"] = *resolved.times;
  json["precision"] = resolved.emulate_half ? "half, emulated" : "float32";
  return json;
}

}  // namespace reid::metrics
