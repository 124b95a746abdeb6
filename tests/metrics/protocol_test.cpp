// SPDX-License-Identifier: Apache-2.0
#include "reid/metrics/protocol.hpp"

#include <torch/torch.h>

#include <cmath>
#include <map>
#include <set>

#include "reid/core/error.hpp"
#include "reid/metrics/evaluate.hpp"
#include "support/catch.hpp"

using namespace reid::metrics;
using Catch::Matchers::Contains;
using reid::Json;

namespace {

/// Three queries and a gallery with junk, a distractor, same-camera, same-clothes and unmatched cases, on a line.
struct Tree {
  FeatureSet query, gallery;
  Tree() {
    query.features = torch::tensor({0.f, 100.f, 200.f}).view({3, 1});
    query.ids = torch::tensor({1, 2, 3}, torch::kInt64);
    query.cameras = torch::tensor({1, 1, 1}, torch::kInt64);
    query.clothes = torch::tensor({10, 20, 30}, torch::kInt64);
    gallery.features = torch::tensor({1.f, 2.f, 3.f, 4.f, 5.f, 101.f, 103.f}).view({7, 1});
    gallery.ids = torch::tensor({-1, 1, 1, 0, 1, 2, 9}, torch::kInt64);
    gallery.cameras = torch::tensor({2, 1, 2, 2, 2, 2, 3}, torch::kInt64);
    gallery.clothes = torch::tensor({0, 10, 10, 0, 11, 20, 90}, torch::kInt64);
  }
};

struct Expected {
  int64_t gallery, unmatched;
  double rank1, rank5, map, map_interpolated, minp;
};

// Query 2 has no match anywhere; query 1 has its one match at place 1 wherever it is kept. Query 0:
// junk dropped, camera rule: hit 3, distractor 4, hit 5: places 1, 3: step 5/6, trapezoid 19/24, mINP 2/3.
const Expected kJunk{6, 1, 1.0, 1.0, 11.0 / 12, 43.0 / 48, 5.0 / 6};
// camera rule, -1 an identity like others: 1 other, 3 hit, 4 other, 5 hit: places 2, 4: 1/2, 1/3, 1/2.
const Expected kCamera{7, 1, 0.5, 1.0, 0.75, 2.0 / 3, 0.75};
// nothing removed: hits at places 2, 3, 5: step (1/2 + 2/3 + 3/5)/3 = 53/90, trapezoid (1/4 + 7/12 + 11/20)/3 = 83/180, 3/5.
const Expected kNone{7, 1, 0.5, 1.0, (53.0 / 90 + 1) / 2, (83.0 / 180 + 1) / 2, 0.8};
// same clothes removed, too: only 5 is left of id 1, at place 3: 1/3, (0 + 1/3)/2, 1/3; query 1 loses its match.
const Expected kClothes{7, 2, 0.0, 1.0, 1.0 / 3, 1.0 / 6, 1.0 / 3};

const std::map<std::string, Expected> kExpected{
    {"market1501", kJunk},           {"market1501_500k", kJunk},
    {"msmt17_v1", kCamera},          {"msmt17_v2", kCamera},
    {"cuhk03_np_labeled", kCamera},  {"cuhk03_np_detected", kCamera},
    {"cuhk03_classic_labeled", kCamera}, {"cuhk03_classic_detected", kCamera},
    {"dukemtmc_reid", kCamera},      {"occluded_duke", kCamera},
    {"occluded_reid", kNone},        {"partial_reid", kNone},
    {"partial_ilids", kNone},        {"ltcc_standard", kCamera},
    {"ltcc_cloth_changing", kClothes}, {"viper", kNone},
    {"grid", kNone},                 {"prid2011_single_shot", kNone},
    {"ilids", kNone},                {"cuhk01", kNone},
    {"text_to_image", kNone},        {"image_to_text", kNone},
    {"generic_camera", kCamera},     {"generic", kNone}};

EvaluateOptions euclidean() {
  EvaluateOptions options;
  options.metric = reid::ops::Metric::euclidean;
  return options;
}

}  // namespace

TEST_CASE("every protocol scores a tiny tree exactly as its rule says", "[metrics][protocol]") {
  const Tree tree;
  std::set<std::string> seen;
  for (const auto& entry : protocols()) {
    if (entry.name == "market1501_multi_query") continue;  // below: it pools queries
    INFO(entry.name);
    REQUIRE(!entry.summary.empty());
    REQUIRE(kExpected.count(entry.name) == 1);
    seen.insert(entry.name);
    const auto& expected = kExpected.at(entry.name);
    const auto json = evaluate(tree.query, tree.gallery, entry, euclidean()).json;
    std::vector<std::string> keys;
    for (const auto& [key, value] : json.items()) keys.push_back(key);
    keys.resize(9);
    REQUIRE(keys == std::vector<std::string>{"protocol", "metric", "rerank", "queries", "queries_without_match", "gallery",
                                             "metrics", "ci95", "seconds"});
    REQUIRE(json["protocol"] == entry.name);
    REQUIRE(json["metric"] == "euclidean");
    REQUIRE(json["rerank"].is_null());
    REQUIRE(json["queries"] == 3);
    REQUIRE(json["queries_without_match"] == expected.unmatched);
    REQUIRE(json["gallery"] == expected.gallery);
    const auto value = [&](const char* name) { return json["metrics"][name].get<double>(); };
    REQUIRE(value("rank1") == Approx(expected.rank1));
    REQUIRE(value("rank5") == Approx(expected.rank5));
    REQUIRE(value("rank10") == 1);
    REQUIRE(value("rank20") == 1);
    REQUIRE(value("map") == Approx(expected.map));
    REQUIRE(value("map_interpolated") == Approx(expected.map_interpolated));
    REQUIRE(value("minp") == Approx(expected.minp));
    REQUIRE(json.contains("warning") == (entry.name == "dukemtmc_reid" || entry.name == "occluded_duke"));
    REQUIRE(json.contains("distractors") == (entry.name == "market1501_500k"));
    REQUIRE(json.contains("draws") == entry.single_gallery_shot);
  }
  REQUIRE(seen.size() == kExpected.size());
  REQUIRE(evaluate(tree.query, tree.gallery, protocol("market1501_500k"), euclidean()).json["distractors"] == 1);
}

TEST_CASE("an unknown protocol is answered with the nearest name and the list", "[metrics][protocol]") {
  REQUIRE_THROWS_AS(protocol("market-1501"), reid::RegistryError);
  REQUIRE_THROWS_WITH(protocol("market150"), Contains("did you mean 'market1501'?") && Contains("ltcc_cloth_changing"));
}

TEST_CASE("multi-query pools the rows of an identity and camera", "[metrics][protocol]") {
  FeatureSet query;
  query.features = torch::tensor({{3.f, 0.f}, {-1.f, 0.f}, {0.f, 5.f}, {1.f, 0.f}});
  query.ids = torch::tensor({1, 2, 1, 1}, torch::kInt64);
  query.cameras = torch::tensor({1, 1, 1, 2}, torch::kInt64);
  const auto pooled = pool_queries(query);
  // (1, 1): mean of (1, 0) and (0, 1), renormalised; (2, 1); (1, 2).
  const float h = std::sqrt(0.5f);
  REQUIRE(pooled.features.allclose(torch::tensor({{h, h}, {-1.f, 0.f}, {1.f, 0.f}}), 0, 1e-6));
  REQUIRE(pooled.ids.equal(torch::tensor({1, 2, 1}, torch::kInt64)));
  REQUIRE(pooled.cameras.equal(torch::tensor({1, 1, 2}, torch::kInt64)));
  FeatureSet gallery;
  gallery.features = torch::tensor({{1.f, 1.f}, {-1.f, 0.1f}, {1.f, 0.f}});
  gallery.ids = torch::tensor({1, 2, 0}, torch::kInt64);
  gallery.cameras = torch::tensor({3, 3, 3}, torch::kInt64);
  const auto json = evaluate(query, gallery, protocol("market1501_multi_query")).json;
  REQUIRE(json["queries"] == 3);
  REQUIRE(json["query_images"] == 4);
  REQUIRE(json["images_per_query"].get<double>() == Approx(4.0 / 3));
  REQUIRE(json["metrics"]["rank1"].get<double>() == Approx(2.0 / 3));  // (1, 2) meets the distractor first
  auto distractor = query;
  distractor.ids = torch::tensor({1, 2, 1, 0}, torch::kInt64);
  REQUIRE_THROWS_WITH(evaluate(distractor, gallery, protocol("market1501_multi_query")),  // the row as given, not as pooled
                      "query: query ids must be positive under protocol market1501_multi_query, got 0 in row 3");
  distractor.ids_source = "qi.npy";
  REQUIRE_THROWS_WITH(evaluate(distractor, gallery, protocol("market1501_multi_query")),
                      "qi.npy: query ids must be positive under protocol market1501_multi_query, got 0 in row 3");
  FeatureSet opposite;
  opposite.features = torch::tensor({{2.f, 0.f}, {-1.f, 0.f}});
  opposite.ids = opposite.cameras = torch::ones({2}, torch::kInt64);
  REQUIRE_THROWS_WITH(pool_queries(opposite),
                      "query: mean of the unit features of identity 1 in camera 1 must not be a zero vector, got one");
}

TEST_CASE("single gallery shot averages draws of one picture an identity", "[metrics][protocol]") {
  // Query at 0, id 1. Gallery: id 1 at 1 and at 3, id 2 at 2: one of two pictures of id 1 is drawn, so rank-1 is the share
  // of draws that took the near one. 300 equal queries: 3,000 draws, standard error 0.009.
  FeatureSet query, gallery;
  query.features = torch::zeros({300, 1});
  query.ids = torch::ones({300}, torch::kInt64);
  query.cameras = torch::ones({300}, torch::kInt64);
  gallery.features = torch::tensor({1.f, 3.f, 2.f}).view({3, 1});
  gallery.ids = torch::tensor({1, 1, 2}, torch::kInt64);
  gallery.cameras = torch::tensor({2, 2, 2}, torch::kInt64);
  auto options = euclidean();
  const auto first = evaluate(query, gallery, protocol("cuhk03_classic_labeled"), options).json;
  REQUIRE(first["metrics"]["rank1"].get<double>() == Approx(0.5).margin(0.04));
  REQUIRE(first["metrics"]["rank5"] == 1.0);
  REQUIRE(first["metrics"]["map"].get<double>() == Approx((1 + 2.0 / 3) / 2));  // of the whole ranking
  REQUIRE(evaluate(query, gallery, protocol("cuhk03_classic_labeled"), options).json["metrics"] == first["metrics"]);
  options.seed = 5;
  REQUIRE(evaluate(query, gallery, protocol("cuhk03_classic_labeled"), options).json["metrics"]["rank1"] !=
          first["metrics"]["rank1"]);
}

TEST_CASE("splits are combined to means, deviations and an interval over splits", "[metrics][protocol]") {
  const Tree tree;
  const auto one = evaluate(tree.query, tree.gallery, protocol("viper"), euclidean());
  auto two = one, three = one;
  two.json["metrics"]["map"] = 0.5;
  three.json["metrics"]["map"] = 0.9;
  const auto both = combine_splits({two, three, two}, protocol("viper"));
  REQUIRE(both.json["metrics"]["map"].get<double>() == Approx(1.9 / 3));
  REQUIRE(both.json["std"]["map"].get<double>() == Approx(0.4 / std::sqrt(3.0)));
  REQUIRE(both.json["std"]["rank1"] == 0.0);
  REQUIRE(both.json["splits"].size() == 3);
  REQUIRE(both.json["splits"][1]["map"] == 0.9);
  REQUIRE(both.json["queries"] == 9);
  REQUIRE(both.json["ci95"]["map"][0].get<double>() >= 0.5);
  REQUIRE(both.json["ci95"]["map"][1].get<double>() <= 0.9);
  REQUIRE(both.average_precision.size(0) == 9);
  REQUIRE_THROWS_AS(combine_splits({}, protocol("viper")), reid::InputError);
}
