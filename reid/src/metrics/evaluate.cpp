// SPDX-License-Identifier: Apache-2.0
#include "reid/metrics/evaluate.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <span>

#include "distance_source.hpp"
#include "inputs.hpp"
#include "precision.hpp"
#include "reid/core/error.hpp"
#include "reid/core/random.hpp"
#include "reid/ops/parallel.hpp"
#include "reid/ops/rank.hpp"
#include "reid/ops/topk.hpp"
#include "summary.hpp"

namespace reid::metrics {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kTileBytes = int64_t{256} << 20;
constexpr int64_t kDraws = 10;                  // galleries sampled for a query under single gallery shot
constexpr uint64_t kShotStream = 0x73686f74;    // "shot"

class PlainDistances : public DistanceSource {
 public:
  PlainDistances(const torch::Tensor& query, const torch::Tensor& gallery, ops::Metric metric, ops::Product product)
      : rows_(query, gallery, metric, product) {}
  void compute(int64_t begin, int64_t end, float* out) const override { rows_.compute(begin, end, out); }
  ops::Product product() const override { return rows_.product(); }

 private:
  ops::DistanceRows rows_;
};

/// The gallery items of one query's identity, and which of them are removed for it.
struct Candidates {
  std::span<const int32_t> same_id;
  std::vector<uint8_t> removed;
};

Candidates candidates(const Inputs& in, const Protocol& protocol, std::size_t query) {
  const auto found = in.by_id.find(in.query_ids[query]);
  if (found == in.by_id.end()) return {};
  Candidates result{found->second, std::vector<uint8_t>(found->second.size(), 0)};
  if (protocol.removal == Removal::none) return result;
  for (std::size_t i = 0; i < result.same_id.size(); ++i) {
    const auto item = static_cast<std::size_t>(result.same_id[i]);
    bool removed = in.gallery_cameras[item] == in.query_cameras[query];
    if (protocol.removal == Removal::same_id_same_camera_or_clothes) {
      removed = removed || in.gallery_clothes[item] == in.query_clothes[query];
    }
    result.removed[i] = removed ? 1 : 0;
  }
  return result;
}

/// Single gallery shot: shares of draws in which the one picture kept of the query's identity stands within each rank.
std::array<double, kRanks.size()> sampled_ranks(std::span<const float> distances,
                                                const std::vector<const std::vector<int32_t>*>& identities,
                                                const Candidates& own, Ties ties, uint64_t seed, std::size_t query) {
  std::vector<int32_t> hits;
  for (std::size_t i = 0; i < own.same_id.size(); ++i) {
    if (!own.removed[i]) hits.push_back(own.same_id[i]);
  }
  Random random{seed, kShotStream, query};
  std::array<double, kRanks.size()> shares{};
  for (int64_t draw = 0; draw < kDraws; ++draw) {
    const auto pick = [&](std::span<const int32_t> list) {
      return list[static_cast<std::size_t>(random.below(static_cast<int64_t>(list.size())))];
    };
    const int32_t hit = pick(hits);
    const float hit_distance = distances[static_cast<std::size_t>(hit)];
    int64_t rank = 1;
    for (const auto* list : identities) {
      if (list->data() == own.same_id.data()) continue;
      const int32_t item = pick(*list);
      const float distance = distances[static_cast<std::size_t>(item)];
      const bool tie_first = ties == Ties::worst || (ties == Ties::stable && item < hit);
      rank += distance < hit_distance || (distance == hit_distance && tie_first);
    }
    for (std::size_t k = 0; k < kRanks.size(); ++k) shares[k] += rank <= kRanks[k];
  }
  for (auto& share : shares) share /= static_cast<double>(kDraws);
  return shares;
}

/// The first `top` kept gallery items by (distance, index), as rows of the gallery as given. `line` is changed.
void write_ranking(std::span<float> line, const Inputs& in, const Candidates& own, int64_t top, int64_t* out) {
  constexpr float kOut = std::numeric_limits<float>::infinity();  // where junk is already
  auto kept = static_cast<int64_t>(in.gallery_rows.size());
  for (std::size_t i = 0; i < own.same_id.size(); ++i) {
    if (!own.removed[i]) continue;
    line[static_cast<std::size_t>(own.same_id[i])] = kOut;
    --kept;
  }
  const auto count = static_cast<std::size_t>(std::min(kept, top));
  std::vector<int32_t> order(count);
  std::vector<float> distances(count);
  ops::smallest(line, order, distances);
  for (std::size_t k = 0; k < count; ++k) out[k] = in.given_row(order[k]);
}

/// Queries of a tile: those asked for, or `kRows`, halved until their distances take at most kTileBytes. A power of two up to
/// kRows, or a multiple of kRows: where blocks of products are cut depends on the gallery's size alone.
int64_t tile_rows(const EvaluateOptions& options, int64_t queries, int64_t gallery) {
  int64_t grid = ops::DistanceRows::kRows;
  while (grid > 1 && grid * gallery * int64_t{sizeof(float)} > kTileBytes) grid /= 2;
  return std::min(std::max<int64_t>(1, options.tile_rows / grid) * grid, queries);
}

}  // namespace

std::unique_ptr<DistanceSource> plain_distances(const torch::Tensor& query, const torch::Tensor& gallery,
                                                ops::Metric metric, ops::Product product) {
  return std::make_unique<PlainDistances>(query, gallery, metric, product);
}

Result evaluate(const FeatureSet& query, const FeatureSet& gallery, const Protocol& protocol,
                const EvaluateOptions& options) {
  REID_CHECK(options.resamples >= 1, InputError,
             fmt::format("evaluate: resamples must be at least 1, got {}", options.resamples));
  REID_CHECK(options.ranking_top >= 0, InputError,
             fmt::format("evaluate: ranking_top must not be negative, got {}", options.ranking_top));
  const int64_t top_limit =
      std::max<int64_t>(1000, gallery.features.defined() && gallery.features.dim() == 2 ? gallery.features.size(0) : 0);
  REID_CHECK(options.ranking_top <= top_limit, InputError,
             fmt::format("evaluate: ranking_top must be at most {}, got {}", top_limit, options.ranking_top));
  const torch::NoGradGuard no_gradient;
  const auto start = Clock::now();
  const auto metric = options.metric.value_or(protocol.metric);
  std::optional<RerankOptions> reranking;
  if (options.rerank) reranking = resolve(*options.rerank);
  Inputs in = check_inputs(query, gallery, protocol, metric);
  if (reranking) in.drop_junk();  // which must not be anybody's neighbour
  const int64_t q = in.query.size(0), g = in.gallery.size(0);
  const auto source = reranking ? reranked_distances(in.query, in.gallery, metric, options.product, *reranking,
                                                     options.progress)
                                : plain_distances(in.query, in.gallery, metric, options.product);

  Result result;
  result.average_precision =
      torch::full({q}, std::numeric_limits<double>::quiet_NaN(), torch::dtype(torch::kFloat64));
  if (options.ranking_top > 0) result.ranking = torch::full({q, options.ranking_top}, -1, torch::dtype(torch::kInt64));
  double* precisions = result.average_precision.data_ptr<double>();
  int64_t* ranking = options.ranking_top > 0 ? result.ranking.data_ptr<int64_t>() : nullptr;
  std::vector<const std::vector<int32_t>*> identities;  // ascending by first item: a fixed order for the draws
  for (const auto& [id, items] : in.by_id) identities.push_back(&items);
  std::sort(identities.begin(), identities.end(), [](const auto* a, const auto* b) { return a->front() < b->front(); });

  std::vector<Scores> scores(static_cast<std::size_t>(q));
  std::vector<uint8_t> matched(static_cast<std::size_t>(q), 0);
  const auto score_query = [&](std::span<const float> line, const Candidates& own, std::span<const int64_t> ranks,
                               std::size_t row) {
    matched[row] = 1;
    const auto p = precision(ranks);
    auto& score = scores[row];
    for (std::size_t k = 0; k < kRanks.size(); ++k) score[k] = ranks.front() <= kRanks[k] ? 1.0 : 0.0;
    if (protocol.single_gallery_shot) {
      const auto shares = sampled_ranks(line, identities, own, options.ties, options.seed, row);
      std::copy(shares.begin(), shares.end(), score.begin());
    }
    score[4] = p.step;
    score[5] = p.trapezoid;
    score[6] = p.inverse_penalty;
    precisions[row] = p.step;
  };
  const int64_t rows = tile_rows(options, q, g);
  const torch::Tensor tile = torch::empty({rows, g});
  float* distances = tile.data_ptr<float>();
  for (int64_t begin = 0; begin < q; begin += rows) {
    const int64_t end = std::min(begin + rows, q);
    source->compute(begin, end, distances);
    ops::parallel_for(begin, end, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const auto row = static_cast<std::size_t>(i);
        const std::span<float> line(distances + (i - begin) * g, static_cast<std::size_t>(g));
        for (const int32_t junk : in.junk) line[static_cast<std::size_t>(junk)] = std::numeric_limits<float>::infinity();
        const Candidates own = candidates(in, protocol, row);
        std::vector<int64_t> ranks(own.same_id.size());
        ops::rank_hits(line, own.same_id, own.removed, options.ties, ranks);
        ranks.erase(std::remove(ranks.begin(), ranks.end(), 0), ranks.end());
        std::sort(ranks.begin(), ranks.end());
        if (!ranks.empty()) score_query(line, own, ranks, row);
        if (ranking != nullptr) write_ranking(line, in, own, options.ranking_top, ranking + i * options.ranking_top);
      }
    });
    if (options.progress) options.progress({"ranking", end, q, ""});
  }
  std::vector<Scores> counted;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (matched[i]) counted.push_back(scores[i]);
  }
  REID_CHECK(!counted.empty(), WorkError,
             fmt::format("evaluate: at least one query must have a match in the gallery under protocol {}, got none of {}",
                         protocol.name, q));
  const auto unmatched = q - static_cast<int64_t>(counted.size());
  Json& json = result.json;
  json["protocol"] = protocol.name;
  json["metric"] = enum_name(metric);
  json["rerank"] = reranking ? rerank_json(*reranking) : Json(nullptr);
  json["queries"] = q;
  json["queries_without_match"] = unmatched;
  json["gallery"] = in.gallery_rows.size();
  json["metrics"] = to_json(mean_of(counted));
  json["ci95"] = to_json(bootstrap(counted, options.resamples, options.seed));
  json["seconds"] = Json{{"features", 0.0}, {"ranking", std::chrono::duration<double>(Clock::now() - start).count()}};
  json["ties"] = enum_name(options.ties);
  json["product"] = enum_name(source->product());
  if (protocol.name == "market1501_500k") {
    const auto found = in.by_id.find(0);
    json["distractors"] = found == in.by_id.end() ? std::size_t{0} : found->second.size();
  }
  if (protocol.multi_query) {
    json["query_images"] = in.query_images;
    json["images_per_query"] = static_cast<double>(in.query_images) / static_cast<double>(q);
  }
  if (protocol.single_gallery_shot) json["draws"] = kDraws;
  if (!protocol.warning.empty()) json["warning"] = protocol.warning;
  return result;
}

}  // namespace reid::metrics
