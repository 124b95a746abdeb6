// SPDX-License-Identifier: Apache-2.0
#include "reid/metrics/evaluate.hpp"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include "metrics/naive.hpp"
#include "reid/core/error.hpp"
#include "support/catch.hpp"

using namespace reid::metrics;
using Catch::Matchers::Contains;
using reid::ops::Metric;
using reid::test::naive_scores;
using torch::Tensor;

namespace {

Tensor ids_of(const std::vector<int64_t>& values) { return torch::tensor(values, torch::kInt64); }

/// One-dimensional features: squared distances are read off.
FeatureSet set_of(const std::vector<float>& places, const std::vector<int64_t>& ids, const std::vector<int64_t>& cameras = {}) {
  FeatureSet set;
  set.features = torch::tensor(places).view({-1, 1});
  set.ids = ids_of(ids);
  if (!cameras.empty()) set.cameras = ids_of(cameras);
  return set;
}

EvaluateOptions euclidean() {
  EvaluateOptions options;
  options.metric = Metric::euclidean;
  return options;
}

double metric(const Result& result, const char* name) { return result.json.at("metrics").at(name).get<double>(); }

/// Features drawn from few values, so that distances tie; identities drawn from few.
FeatureSet random_set(int64_t n, int64_t identities, int64_t columns, int64_t values) {
  FeatureSet set;
  set.features = torch::randint(0, values, {n, columns}).to(torch::kFloat32);
  set.ids = torch::randint(0, identities, {n}, torch::kInt64);
  set.cameras = torch::randint(0, 3, {n}, torch::kInt64);
  return set;
}

}  // namespace

TEST_CASE("two hits at places 1 and 3", "[metrics][evaluate]") {
  // Query at 0. Gallery distances 1, 4, 9, 16: hits at 1 and 3 (indices 0, 2).
  // step (1 + 2/3)/2 = 0.8333; trapezoid (1 + (1/2 + 2/3)/2)/2 = 0.7917; mINP 2/3.
  const auto result = evaluate(set_of({0}, {7}), set_of({1, 2, 3, 4}, {7, 8, 7, 9}), protocol("generic"), euclidean());
  REQUIRE(metric(result, "rank1") == 1);
  REQUIRE(metric(result, "map") == Approx(5.0 / 6).epsilon(1e-12));
  REQUIRE(metric(result, "map_interpolated") == Approx(19.0 / 24).epsilon(1e-12));
  REQUIRE(metric(result, "minp") == Approx(2.0 / 3).epsilon(1e-12));
  REQUIRE(result.average_precision[0].item<double>() == metric(result, "map"));
}

TEST_CASE("one query, three hits, one of them of its own camera", "[metrics][evaluate]") {
  // Order by distance: index 3 (same id, same camera: removed), 0 other, 1 hit, 4 other, 2 hit.
  // Left: other, hit, other, hit: places 2 and 4. step (1/2 + 2/4)/2 = 0.5;
  // trapezoid ((0/1 + 1/2)/2 + (1/3 + 2/4)/2)/2 = (0.25 + 0.41667)/2 = 0.33333; mINP 2/4; rank-1 0, rank-5 1.
  const auto query = set_of({0}, {5}, {1});
  const auto gallery = set_of({2, 3, 5, 1, 4}, {9, 5, 5, 5, 8}, {1, 2, 3, 1, 1});
  auto options = euclidean();
  options.ranking_top = 6;
  const auto result = evaluate(query, gallery, protocol("generic_camera"), options);
  REQUIRE(metric(result, "rank1") == 0);
  REQUIRE(metric(result, "rank5") == 1);
  REQUIRE(metric(result, "map") == Approx(0.5));
  REQUIRE(metric(result, "map_interpolated") == Approx(1.0 / 3));
  REQUIRE(metric(result, "minp") == Approx(0.5));
  REQUIRE(result.ranking.equal(ids_of({0, 1, 4, 2, -1, -1}).view({1, 6})));
  REQUIRE(result.json.at("gallery") == 5);
}

TEST_CASE("equal distances are ordered by gallery index unless told otherwise", "[metrics][evaluate]") {
  // All four at distance 1: stable puts the hits (indices 1, 3) at 2 and 4, worst at 3 and 4, best at 1 and 2.
  const auto query = set_of({0}, {1}), gallery = set_of({1, -1, 1, -1}, {2, 1, 2, 1});
  auto options = euclidean();
  REQUIRE(metric(evaluate(query, gallery, protocol("generic"), options), "map") == Approx((1.0 / 2 + 2.0 / 4) / 2));
  options.ties = Ties::worst;
  REQUIRE(metric(evaluate(query, gallery, protocol("generic"), options), "map") == Approx((1.0 / 3 + 2.0 / 4) / 2));
  options.ties = Ties::best;
  REQUIRE(metric(evaluate(query, gallery, protocol("generic"), options), "map") == 1);
}

TEST_CASE("unmatched queries are counted and left out of every mean", "[metrics][evaluate]") {
  const auto gallery = set_of({1, 2, 3}, {1, 2, 2});
  const auto result = evaluate(set_of({0, 0, 0}, {1, 4, 2}), gallery, protocol("generic"), euclidean());
  REQUIRE(result.json.at("queries") == 3);
  REQUIRE(result.json.at("queries_without_match") == 1);
  REQUIRE(metric(result, "rank1") == 0.5);
  REQUIRE(std::isnan(result.average_precision[1].item<double>()));
  REQUIRE_THROWS_AS(evaluate(set_of({0}, {4}), gallery, protocol("generic"), euclidean()), reid::WorkError);
}

TEST_CASE("scores equal sorting and walking, for any ties, sizes, tiles and threads", "[metrics][evaluate]") {
  torch::manual_seed(11);
  const int threads = at::get_num_threads();
  struct Case {
    int64_t queries, gallery, identities, columns, values;
  };
  for (const auto& c : std::vector<Case>{{1, 1, 1, 2, 4},     {1, 40, 4, 3, 3},    {30, 1, 2, 3, 4},   {17, 12, 3, 2, 3},
                                         {50, 300, 9, 3, 4},  {20, 700, 1, 2, 30}, {9, 30, 5, 1, 1},   {300, 600, 60, 8, 50},
                                         {10, 900, 2, 3, 50}, {540, 77, 7, 3, 9}}) {
    const auto query = random_set(c.queries, c.identities + 1, c.columns, c.values);
    const auto gallery = random_set(c.gallery, c.identities, c.columns, c.values);
    const Tensor d = reid::ops::pairwise_distance(query.features, gallery.features, Metric::euclidean, reid::ops::Product::aten);
    const auto qi = query.ids.accessor<int64_t, 1>(), gi = gallery.ids.accessor<int64_t, 1>();
    const auto qc = query.cameras.accessor<int64_t, 1>(), gc = gallery.cameras.accessor<int64_t, 1>();
    for (const auto ties : {Ties::stable, Ties::worst, Ties::best}) {
      const auto naive = naive_scores(
          d, [&](int64_t q, int64_t g) { return qi[q] == gi[g] && qc[q] == gc[g]; },
          [&](int64_t q, int64_t g) { return qi[q] == gi[g]; }, ties);
      double count = 0, rank1 = 0, rank10 = 0, step = 0, trapezoid = 0, minp = 0;
      for (const auto& one : naive) {
        if (!one.matched) continue;
        count += 1;
        rank1 += one.ranks[0] <= 1;
        rank10 += one.ranks[0] <= 10;
        step += one.step;
        trapezoid += one.trapezoid;
        minp += one.minp;
      }
      auto options = euclidean();
      options.ties = ties;
      options.product = reid::ops::Product::aten;
      options.resamples = 20;
      if (count == 0) {
        REQUIRE_THROWS_AS(evaluate(query, gallery, protocol("generic_camera"), options), reid::WorkError);
        continue;
      }
      at::set_num_threads(1);
      const auto result = evaluate(query, gallery, protocol("generic_camera"), options);
      INFO(c.queries << " x " << c.gallery << ", " << c.identities << " identities, ties " << reid::enum_name(ties));
      REQUIRE(result.json.at("queries_without_match").get<int64_t>() == c.queries - static_cast<int64_t>(count));
      REQUIRE(metric(result, "rank1") == Approx(rank1 / count).epsilon(1e-12));
      REQUIRE(metric(result, "rank10") == Approx(rank10 / count).epsilon(1e-12));
      REQUIRE(metric(result, "map") == Approx(step / count).epsilon(1e-12));
      REQUIRE(metric(result, "map_interpolated") == Approx(trapezoid / count).epsilon(1e-12));
      REQUIRE(metric(result, "minp") == Approx(minp / count).epsilon(1e-12));
      for (const int64_t tile : {1, 256, 100000}) {
        at::set_num_threads(tile == 1 ? 3 : 2);
        options.tile_rows = tile;
        const auto again = evaluate(query, gallery, protocol("generic_camera"), options);
        REQUIRE(again.json.at("metrics") == result.json.at("metrics"));
        REQUIRE(again.json.at("ci95") == result.json.at("ci95"));
        REQUIRE(again.average_precision.nan_to_num(-1).equal(result.average_precision.nan_to_num(-1)));
      }
    }
  }
  at::set_num_threads(threads);
}

TEST_CASE("real-valued features score the same to the bit for any tiles and threads", "[metrics][evaluate]") {
  torch::manual_seed(12);
  FeatureSet query, gallery;
  query.features = torch::randn({600, 96});
  gallery.features = torch::randn({1100, 96});
  query.ids = torch::randint(0, 50, {600}, torch::kInt64);
  gallery.ids = torch::randint(0, 50, {1100}, torch::kInt64);
  const int threads = at::get_num_threads();
  EvaluateOptions options;
  options.ranking_top = 5;
  at::set_num_threads(1);
  const auto one = evaluate(query, gallery, protocol("generic"), options);
  for (const int64_t tile : {256, 512}) {
    at::set_num_threads(2);
    options.tile_rows = tile;
    const auto two = evaluate(query, gallery, protocol("generic"), options);
    REQUIRE(two.average_precision.equal(one.average_precision));
    REQUIRE(two.ranking.equal(one.ranking));
    REQUIRE(two.json.at("ci95") == one.json.at("ci95"));
  }
  at::set_num_threads(threads);
}

TEST_CASE("a gallery split between devices scores the same to the bit", "[metrics][evaluate]") {
  torch::manual_seed(14);
  auto query = random_set(300, 40, 12, 9), gallery = random_set(1700, 42, 12, 9);
  query.ids = query.ids + 1;
  gallery.ids = gallery.ids - 1;  // with junk
  for (const auto& [name, metric] : {std::pair{"market1501", Metric::euclidean}, {"cuhk03_classic_labeled", Metric::cosine}}) {
    for (const int64_t top : {0, 7}) {
      EvaluateOptions options;
      options.metric = metric;
      options.ranking_top = top;
      options.product = reid::ops::Product::aten;
      for (const auto ties : {Ties::stable, Ties::worst, Ties::best}) {
        options.ties = ties;
        options.devices = {};
        const auto whole = evaluate(query, gallery, protocol(name), options);
        CHECK_FALSE(whole.json.contains("devices"));
        options.devices = {torch::kCPU, torch::kCPU, torch::kCPU};
        for (const int64_t bytes : {0, 400000}) {
          options.device_bytes = bytes;
          const auto parted = evaluate(query, gallery, protocol(name), options);
          INFO(name << " top " << top << " ties " << reid::enum_name(ties) << " bytes " << bytes);
          CHECK(parted.average_precision.equal(whole.average_precision));
          CHECK(parted.json.at("metrics") == whole.json.at("metrics"));
          CHECK(parted.json.at("ci95") == whole.json.at("ci95"));
          CHECK(parted.json.at("devices").size() == 3);
          if (top > 0) CHECK(parted.ranking.equal(whole.ranking));
        }
      }
    }
  }
}

TEST_CASE("dropping junk first and masking it for every query give the same scores", "[metrics][evaluate]") {
  torch::manual_seed(13);
  auto query = random_set(40, 6, 3, 20), gallery = random_set(200, 7, 3, 20);
  query.ids = query.ids + 1;
  gallery.ids = gallery.ids - 1;  // -1 junk, 0 distractors
  const auto dropped = evaluate(query, gallery, protocol("market1501"), euclidean());
  const Tensor d = reid::ops::pairwise_distance(query.features, gallery.features, Metric::euclidean);
  const auto qi = query.ids.accessor<int64_t, 1>(), gi = gallery.ids.accessor<int64_t, 1>();
  const auto qc = query.cameras.accessor<int64_t, 1>(), gc = gallery.cameras.accessor<int64_t, 1>();
  const auto masked = naive_scores(
      d, [&](int64_t q, int64_t g) { return gi[g] == -1 || (qi[q] == gi[g] && qc[q] == gc[g]); },
      [&](int64_t q, int64_t g) { return qi[q] == gi[g]; });
  double step = 0, count = 0;
  for (const auto& one : masked) {
    step += one.step;
    count += one.matched;
  }
  REQUIRE(metric(dropped, "map") == Approx(step / count).epsilon(1e-12));
  REQUIRE(dropped.json.at("gallery").get<int64_t>() == 200 - (gallery.ids == -1).sum().item<int64_t>());
}

TEST_CASE("the interval holds the mean, repeats with the seed and narrows with more queries", "[metrics][evaluate]") {
  torch::manual_seed(14);
  const auto gallery = random_set(300, 12, 4, 9);
  const auto interval = [&](int64_t queries, uint64_t seed) {
    torch::manual_seed(15);
    const auto query = random_set(queries, 12, 4, 9);
    auto options = euclidean();
    options.seed = seed;
    const auto json = evaluate(query, gallery, protocol("generic_camera"), options).json;
    const double low = json["ci95"]["map"][0], high = json["ci95"]["map"][1], mean = json["metrics"]["map"];
    REQUIRE(low < mean);
    REQUIRE(mean < high);
    return std::pair{low, high};
  };
  const auto small = interval(50, 0), again = interval(50, 0), other = interval(50, 1), large = interval(800, 0);
  REQUIRE(small == again);
  REQUIRE(small != other);
  REQUIRE(large.second - large.first < (small.second - small.first) / 2);
}

TEST_CASE("the interval is about 1.96 standard errors wide each way", "[metrics][evaluate]") {
  // 400 queries, rank-1 of 0 or 1 by halves: standard error 0.5 / 20 = 0.025. The ends of 1,000 resamples have a standard
  // error of their own, sqrt(0.025 0.975 / 1000) / 0.0584 = 0.085 of it, and steps of 1 / 400.
  std::vector<float> places;
  std::vector<int64_t> ids;
  for (int i = 0; i < 400; ++i) {
    places.push_back(0);
    ids.push_back(i % 2 + 1);
  }
  const auto json = evaluate(set_of(places, ids), set_of({1, 2}, {1, 2}), protocol("generic"), euclidean()).json;
  REQUIRE(json["metrics"]["rank1"].get<double>() == 0.5);
  REQUIRE(json["ci95"]["rank1"][0].get<double>() == Approx(0.5 - 1.96 * 0.025).margin(0.01));
  REQUIRE(json["ci95"]["rank1"][1].get<double>() == Approx(0.5 + 1.96 * 0.025).margin(0.01));
}

TEST_CASE("rows that can't be scored are named", "[metrics][evaluate]") {
  const auto query = set_of({0, 1}, {1, 2}, {1, 1}), gallery = set_of({1, 2, 3}, {1, 2, 2}, {2, 2, 2});
  const auto& generic = protocol("generic");
  auto bad = query;
  bad.source = "q.npy";
  bad.features = torch::tensor({{1.f, 2.f}, {3.f, NAN}});
  REQUIRE_THROWS_WITH(evaluate(bad, gallery, generic), Contains("columns like q.npy"));
  auto wide = gallery;
  wide.features = torch::ones({3, 2});
  REQUIRE_THROWS_WITH(evaluate(bad, wide, generic), "q.npy: features must be finite, got nan in row 1, column 1");
  bad.features = torch::tensor({{1.f, 2.f}, {3.f, 4.f}});
  wide.features[2][0] = -INFINITY;
  REQUIRE_THROWS_WITH(evaluate(bad, wide, generic), "gallery: features must be finite, got -inf in row 2, column 0");
  REQUIRE_THROWS_WITH(evaluate(query, gallery, generic),  // cosine, and the first query is at 0
                      "query: features must not be zero vectors under cosine, got one in row 0");
  auto large = gallery;
  large.features = torch::tensor({{1e18f}, {1e19f}, {3e19f}});
  REQUIRE_THROWS_WITH(evaluate(query, large, generic, euclidean()), Contains("squared norms below") && Contains("row 1"));
  auto zero_id = query;
  zero_id.ids = ids_of({1, 0});
  REQUIRE_THROWS_WITH(evaluate(zero_id, gallery, protocol("market1501"), euclidean()),
                      "query: query ids must be positive under protocol market1501, got 0 in row 1");
  // Labels with a source of their own are named by it; without labels there is no such source.
  zero_id.source = "q.npy";
  zero_id.ids_source = "qi.npy";
  REQUIRE_THROWS_WITH(evaluate(zero_id, gallery, protocol("market1501"), euclidean()),
                      "qi.npy: query ids must be positive under protocol market1501, got 0 in row 1");
  auto named = gallery;
  named.source = "g.npy";
  named.cameras_source = "gc.npy";
  named.cameras = ids_of({1, 2});
  REQUIRE_THROWS_WITH(evaluate(query, named, generic, euclidean()),
                      "gc.npy: cameras must be [3] int64, one for each row of features, got [2] int64 on cpu");
  named.cameras = torch::Tensor();
  REQUIRE_THROWS_WITH(evaluate(query, named, protocol("msmt17_v1"), euclidean()),
                      "g.npy: cameras must be known under protocol msmt17_v1, got none");
  auto short_ids = gallery;
  short_ids.ids = ids_of({1, 2});
  REQUIRE_THROWS_WITH(evaluate(query, short_ids, generic, euclidean()), Contains("ids must be [3] int64, one for each row"));
  short_ids.ids = torch::tensor({1.f, 2.f, 2.f});
  REQUIRE_THROWS_AS(evaluate(query, short_ids, generic, euclidean()), reid::InputError);
  auto blind = gallery;
  blind.cameras = torch::Tensor();
  REQUIRE_THROWS_WITH(evaluate(query, blind, protocol("msmt17_v1"), euclidean()),
                      "gallery: cameras must be known under protocol msmt17_v1, got none");
  REQUIRE_THROWS_WITH(evaluate(query, gallery, protocol("ltcc_cloth_changing"), euclidean()), Contains("clothes must be known"));
  auto none = gallery;
  none.features = torch::zeros({0, 1});
  REQUIRE_THROWS_WITH(evaluate(query, none, generic, euclidean()), Contains("at least one row"));
  auto junk = gallery;
  junk.ids = ids_of({-1, -1, -1});
  REQUIRE_THROWS_WITH(evaluate(query, junk, protocol("market1501"), euclidean()), Contains("more than junk"));
  auto options = euclidean();
  options.ranking_top = 5000;
  REQUIRE_THROWS_AS(evaluate(query, gallery, generic, options), reid::InputError);
}

TEST_CASE("int32 labels and half or double features are taken", "[metrics][evaluate]") {
  torch::manual_seed(16);
  auto query = random_set(20, 5, 3, 9), gallery = random_set(60, 5, 3, 9);
  const auto expected = evaluate(query, gallery, protocol("generic_camera"), euclidean()).json["metrics"];
  query.ids = query.ids.to(torch::kInt32);
  gallery.cameras = gallery.cameras.to(torch::kInt32);
  query.features = query.features.to(torch::kFloat64);
  gallery.features = gallery.features.to(torch::kFloat16);
  REQUIRE(evaluate(query, gallery, protocol("generic_camera"), euclidean()).json["metrics"] == expected);
}

TEST_CASE("junk inside the gallery moves no place and is never ranked", "[metrics][evaluate]") {
  torch::manual_seed(17);
  auto query = random_set(30, 5, 3, 12), gallery = random_set(400, 7, 3, 12);
  query.ids = query.ids + 1;
  gallery.ids = gallery.ids - 1;
  const Tensor rows = (gallery.ids != -1).nonzero().view(-1);
  FeatureSet clean;
  clean.features = gallery.features.index_select(0, rows);
  clean.ids = gallery.ids.index_select(0, rows);
  clean.cameras = gallery.cameras.index_select(0, rows);
  for (const auto ties : {Ties::stable, Ties::worst, Ties::best}) {
    auto options = euclidean();
    options.ties = ties;
    options.ranking_top = 400;
    const auto with = evaluate(query, gallery, protocol("market1501"), options);
    options.ranking_top = rows.size(0);
    const auto without = evaluate(query, clean, protocol("market1501"), options);
    REQUIRE(with.json["metrics"] == without.json["metrics"]);
    REQUIRE(with.json["gallery"] == rows.size(0));
    for (int64_t q = 0; q < 30; ++q) {
      for (int64_t k = 0; k < 400; ++k) {
        const int64_t expected = k < rows.size(0) ? without.ranking[q][k].item<int64_t>() : -1;
        REQUIRE(with.ranking[q][k].item<int64_t>() == (expected < 0 ? -1 : rows[expected].item<int64_t>()));
      }
    }
  }
}

TEST_CASE("features of any length that float32 holds score the same under cosine", "[metrics][evaluate]") {
  torch::manual_seed(18);
  auto query = random_set(40, 6, 8, 1000), gallery = random_set(200, 6, 8, 1000);
  const auto plain = evaluate(query, gallery, protocol("generic_camera")).json["metrics"];
  for (const double scale : {1e-30, 1e30}) {  // products of two would vanish or overflow
    auto scaled_query = query, scaled_gallery = gallery;
    scaled_query.features = query.features * scale;
    scaled_gallery.features = gallery.features * scale;
    const auto scores = evaluate(scaled_query, scaled_gallery, protocol("generic_camera")).json["metrics"];
    REQUIRE(scores["map"].get<double>() == Approx(plain["map"].get<double>()).epsilon(1e-3));
    REQUIRE(scores["rank1"].get<double>() == Approx(plain["rank1"].get<double>()).epsilon(1e-3));
  }
}

TEST_CASE("bad sets are refused one by one", "[metrics][evaluate]") {
  const auto query = set_of({0, 1}, {1, 2}), gallery = set_of({1, 2, 3}, {1, 2, 2});
  const auto& generic = protocol("generic");
  auto empty = query;
  empty.features = torch::zeros({0, 1});
  empty.ids = torch::zeros({0}, torch::kInt64);
  REQUIRE_THROWS_WITH(evaluate(empty, gallery, generic, euclidean()), "query: features must have at least one row, got none");
  auto none = query;
  none.features = Tensor();
  REQUIRE_THROWS_WITH(evaluate(none, gallery, generic, euclidean()), "query: features must be [N, D] float, got none");
  auto whole = query;
  whole.features = torch::zeros({2, 1}, torch::kInt64);
  REQUIRE_THROWS_AS(evaluate(whole, gallery, generic, euclidean()), reid::InputError);
  auto zero = gallery;
  zero.features = torch::tensor({{1.f}, {0.f}, {3.f}});
  auto one = query;
  one.features = torch::tensor({{1.f}, {2.f}});
  REQUIRE_THROWS_WITH(evaluate(one, zero, generic), "gallery: features must not be zero vectors under cosine, got one in row 1");
  auto options = euclidean();
  options.rerank = RerankOptions{};
  options.rerank->k1 = 5;  // 5 + 1 > 2 + 3
  REQUIRE_THROWS_WITH(evaluate(query, gallery, generic, options),
                      "rerank zhong_ranklist: k1 + 1 must be at most queries + gallery = 5, got 6");
  options = euclidean();
  options.resamples = 0;
  REQUIRE_THROWS_AS(evaluate(query, gallery, generic, options), reid::InputError);
  options = euclidean();
  options.ranking_top = -1;
  REQUIRE_THROWS_AS(evaluate(query, gallery, generic, options), reid::InputError);
  options = euclidean();
  options.tile_rows = -1;
  REQUIRE_THROWS_WITH(evaluate(query, gallery, generic, options), "evaluate: tile_rows must not be negative, got -1");
  options = euclidean();
  options.device_bytes = -1;
  REQUIRE_THROWS_WITH(evaluate(query, gallery, generic, options), "evaluate: device_bytes must not be negative, got -1");
  auto two = gallery;
  two.cameras = ids_of({1, 2});
  REQUIRE_THROWS_WITH(evaluate(query, two, generic, euclidean()), Contains("cameras must be [3] int64"));
}

TEST_CASE("a query and a gallery whose pairs are more than 2^31 are scored", "[.nightly][metrics][evaluate]") {
  // 47,000 x 47,000 pairs of whole numbers below 2,800: float32 holds sums of two squares. Hits are at distance 0, others behind.
  FeatureSet query, gallery;
  query.ids = torch::arange(47000, torch::kInt64).remainder(2800);
  query.features = query.ids.to(torch::kFloat32).view({-1, 1});
  gallery = query;
  const auto result = evaluate(query, gallery, protocol("generic"), euclidean());
  REQUIRE(metric(result, "rank1") == 1);
  REQUIRE(metric(result, "minp") == 1);
}
