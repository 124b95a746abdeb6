// SPDX-License-Identifier: Apache-2.0
// Published scorers and re-ranking codes on inputs made by a formula (tests/reference/evaluate_torchreid.py, rerank.py).
#include <torch/torch.h>

#include "distance_source.hpp"
#include "reid/core/json.hpp"
#include "reid/metrics/evaluate.hpp"
#include "support/catch.hpp"

using namespace reid::metrics;
using torch::Tensor;

namespace {

/// SplitMix64 from `seed`, each output modulo `below`.
Tensor numbers(uint64_t seed, int64_t count, uint64_t below) {
  Tensor out = torch::empty({count}, torch::kInt64);
  uint64_t state = seed;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t z = state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    out.data_ptr<int64_t>()[i] = static_cast<int64_t>((z ^ (z >> 31)) % below);
  }
  return out;
}

}  // namespace

TEST_CASE("scores equal torchreid's", "[metrics][parity]") {
  const auto fixture = reid::read_json_file(REID_FIXTURES "/evaluate_torchreid.json");
  REQUIRE(fixture.at("cases").size() == 8);
  for (const auto& one : fixture.at("cases")) {
    const auto seed = one.at("seed").get<uint64_t>();
    const auto q = one.at("queries").get<int64_t>(), g = one.at("gallery").get<int64_t>();
    const auto identities = one.at("identities").get<uint64_t>(), cameras = one.at("cameras").get<uint64_t>();
    FeatureSet query, gallery;
    const uint64_t largest = one.at("ties").get<bool>() ? 5 : 2048;
    const bool junk = one.at("junk").get<bool>();
    query.features = numbers(seed, q * 4, largest).view({q, 4}).to(torch::kFloat32);
    gallery.features = numbers(seed + 1, g * 4, largest).view({g, 4}).to(torch::kFloat32);
    query.ids = numbers(seed + 2, q, identities) + (junk ? 1 : 0);
    gallery.ids = numbers(seed + 3, g, identities + (junk ? 2 : 0)) - (junk ? 1 : 0);
    query.cameras = numbers(seed + 4, q, cameras);
    gallery.cameras = numbers(seed + 5, g, cameras);
    EvaluateOptions options;
    options.metric = reid::ops::Metric::euclidean;
    options.resamples = 1;
    const auto result = evaluate(query, gallery, protocol(junk ? "market1501" : "generic_camera"), options);
    REQUIRE(result.json.at("queries_without_match") == one.at("unmatched"));
    for (const auto* name : {"rank1", "rank5", "rank10", "rank20", "map"}) {
      INFO("seed " << seed << " " << name);
      REQUIRE(result.json.at("metrics").at(name).get<double>() == Approx(one.at(name).get<double>()).margin(1e-6).epsilon(0));
    }
  }
}

TEST_CASE("re-ranked distances and scores equal those of the published codes", "[metrics][parity][rerank]") {
  constexpr int64_t kColumns = 6;
  const auto fixture = reid::read_json_file(REID_FIXTURES "/rerank.json");
  REQUIRE(fixture.at("cases").size() == 25);
  for (const auto& one : fixture.at("cases")) {
    const auto seed = one.at("seed").get<uint64_t>(), identities = one.at("identities").get<uint64_t>();
    const auto q = one.at("queries").get<int64_t>(), g = one.at("gallery").get<int64_t>();
    const auto cameras = one.at("cameras").get<uint64_t>();
    FeatureSet query, gallery;
    query.ids = numbers(seed + 2, q, identities + 1) + 1;  // the last is in no gallery
    gallery.ids = numbers(seed + 3, g, identities + 2) - 1;  // junk, distractors, identities
    const Tensor centres = numbers(seed + 6, static_cast<int64_t>(identities + 3) * kColumns, 700).view({-1, kColumns});
    const auto features = [&](uint64_t from, const Tensor& ids) {
      const Tensor noise = numbers(from, ids.size(0) * kColumns, 500).view({-1, kColumns});
      return (centres.index_select(0, ids + 1) + noise).to(torch::kFloat32);
    };
    query.features = features(seed, query.ids);
    gallery.features = features(seed + 1, gallery.ids);
    query.cameras = numbers(seed + 4, q, cameras);
    gallery.cameras = numbers(seed + 5, g, cameras);
    const auto variant = one.at("variant").get<std::string>();
    EvaluateOptions options;
    options.metric = reid::parse_enum<reid::ops::Metric>("metric", one.at("metric").get<std::string>());
    options.resamples = 1;
    options.rerank = RerankOptions{};
    options.rerank->variant = variant;
    options.rerank->k1 = one.at("k1").get<int64_t>();
    if (variant != "aqe_fastreid") {
      options.rerank->k2 = one.at("k2").get<int64_t>();
      options.rerank->lambda = one.at("lambda").get<double>();
    }
    options.rerank->emulate_half = one.at("emulate_half").get<bool>();
    INFO(one.at("code").get<std::string>() << " seed " << seed);
    const Tensor kept = gallery.features.index_select(0, (gallery.ids != -1).nonzero().view(-1));
    const auto source = reranked_distances(query.features, kept, *options.metric, {.product = reid::ops::Product::aten},
                                           resolve(*options.rerank), {});
    const Tensor distances = source->compute(0, q).front().distances;
    const double margin = options.rerank->emulate_half ? 1e-3 : 2e-6;  // the steps of half in [0.5, 1]: 5e-4
    const auto& row = one.at("first_row");
    for (std::size_t i = 0; i < row.size(); ++i) {
      REQUIRE(distances[0][static_cast<int64_t>(i)].item<double>() == Approx(row[i].get<double>()).margin(margin).epsilon(0));
    }
    REQUIRE(distances.to(torch::kFloat64).mean().item<double>() ==
            Approx(one.at("mean").get<double>()).margin(margin).epsilon(0));
    const auto json = evaluate(query, gallery, protocol("market1501"), options).json;
    for (const auto* name : {"rank1", "rank5", "map"}) {
      REQUIRE(json.at("metrics").at(name).get<double>() == Approx(one.at(name).get<double>()).margin(1e-4).epsilon(0));
    }
  }
}
