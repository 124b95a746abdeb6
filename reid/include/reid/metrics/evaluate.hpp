// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reid/core/json.hpp"
#include "reid/core/options.hpp"
#include "reid/core/progress.hpp"
#include "reid/metrics/protocol.hpp"
#include "reid/metrics/rerank.hpp"
#include "reid/ops/distance.hpp"
#include "reid/ops/rank.hpp"

/// The one scorer of the library.
///
/// For a query, the gallery is what junk and the protocol's removal leave, ordered by (distance, gallery index). With
/// its R hits at 1-based positions r_1 < ... < r_R:
///   rank-k            1 if r_1 <= k (a gallery smaller than k: a match within what there is)
///   map               (1/R) sum_i i / r_i                                    the step AP
///   map_interpolated  (1/R) sum_i (a_i + i/r_i) / 2, a_i = (i-1)/(r_i-1), a_i = 1 where r_i = 1    the trapezoid AP
///   minp              R / r_R
/// and each is averaged over the queries that have a match. A query without one is left out of every mean and counted;
/// codes that divide by all queries get our value times (queries - unmatched) / queries.
/// Papers: Zheng et al., ICCV 2015 (Market-1501, CMC and mAP); Ye et al., TPAMI 2021, arXiv:2001.04193 (mINP).
/// Reference: torchreid's `evaluate_rank` (step AP, matched queries); the official Market-1501 code (trapezoid, all queries).
/// Differs from them: equal distances are ordered by gallery index, theirs by the accident of an unstable sort.
/// Parity: tests/metrics/parity_test.cpp, fixture evaluate_torchreid.json, 1e-6.
namespace reid::metrics {

/// Features with what is known of each row.
struct FeatureSet {
  torch::Tensor features;  ///< [N, D] float32 (float16/float64 are converted)
  torch::Tensor ids;       ///< [N] int64 or int32
  torch::Tensor cameras;   ///< [N] int64 or int32; undefined if not known
  torch::Tensor clothes;   ///< [N] int64 or int32; undefined if not known
  std::string source;      ///< names these features in messages: a file; "" is "query" or "gallery"
  /// Name the labels in messages: files of their own; "" is `source`.
  std::string ids_source, cameras_source, clothes_source;
};

/// Seed of the bootstrap and of sampled galleries unless a user asks for another: the same for every result, whatever the model
/// was trained with.
inline constexpr uint64_t kScoringSeed = 0;

/// Who comes first where distances are equal: the lower gallery index, the other items or the hits.
using Ties = ops::Ties;

struct EvaluateOptions {
  std::optional<ops::Metric> metric;  ///< the protocol's default unless set
  uint64_t seed = kScoringSeed;       ///< of the bootstrap and of sampled galleries
  int64_t resamples = 1000;           ///< of the bootstrap; at least 1
  int64_t ranking_top = 0;            ///< > 0: keep the first k gallery indices of each query
  Ties ties = Ties::stable;
  std::optional<RerankOptions> rerank;
  ops::Product product = ops::Product::automatic;
  int64_t tile_rows = 0;              ///< queries whose distances are held at a time; 0: 256, fewer where they take over 256 MiB. Results don't depend on it
  /// Devices between which the gallery is split; none: the CPU, the gallery whole. Each holds its part of the features if they fit
  /// into half of its memory, and is sent them in blocks for each tile of queries otherwise.
  std::vector<torch::Device> devices;
  int64_t device_bytes = 0;           ///< of each device's memory that tiles are planned with; 0: what is free
  ProgressSink progress;
};

/// The scores of one evaluation.
struct Result {
  /// protocol, metric, rerank, queries, queries_without_match, gallery, metrics {rank1, rank5, rank10, rank20, map,
  /// map_interpolated, minp}, ci95 {the same: [low, high]}, seconds {features, ranking}; then ties, product, devices where they were
  /// chosen, and what the protocol adds: distractors (market1501_500k), query_images and images_per_query (multi-query), draws (single
  /// gallery shot), splits and std (several splits), warning.
  Json json;
  torch::Tensor ranking;  ///< [Q, top] int64 indices into the gallery as given, -1 where there are fewer
  torch::Tensor average_precision;  ///< [Q] float64, step; NaN for unmatched queries: for paired tests
};

/// Scores queries against a gallery under a protocol in one tiled pass: no sort, no Q x G matrix.
/// Results are the same to the bit for any number of threads and any `tile_rows`; across processes with a fixed
/// `product`; on CUDA devices, whose library of products chooses by shape and free memory, up to its rounding. `ci95`: 2.5 and 97.5 percentiles of the mean over `resamples` bootstrap resamples of matched queries.
/// @throws InputError  NaN or infinite features, a zero vector under cosine, features too large for float32 distances
///                     (each naming source and row); lengths that differ; empty sets; unknown cameras or clothes where the
///                     protocol needs them; a query id <= 0 where it forbids them (naming the row, and the labels' own source);
///                     re-ranking sizes beyond what there is; with `devices`, a re-ranking variant that rounds everything to half precision
/// @throws WorkError   no query has a match
/// Cost: 2 Q G D flop for the product, O(Q G) beside it. Memory beside the features, which are neither copied nor all read at
/// once where they are mapped float32 (junk stays where it is): tile_rows x G distances; with re-ranking, a copy
/// of all N = Q + G features, 256 x N distances and some hundred numbers an item.
Result evaluate(const FeatureSet& query, const FeatureSet& gallery, const Protocol& protocol,
                const EvaluateOptions& options = {});

/// Several splits of one protocol: means over splits, "splits" (metrics of each), "std" (n - 1) and ci95 over splits
/// (bootstrap over splits, 1,000 resamples). `queries`, `queries_without_match` and `gallery` are sums over splits.
/// @throws InputError if there is no split.
Result combine_splits(const std::vector<Result>& splits, const Protocol& protocol);

/// One query for each identity and camera, in order of first appearance: mean of the L2-normalised features of its
/// rows, renormalised (multi-query). Clothes are dropped. @throws InputError as `evaluate`; cameras must be known.
FeatureSet pool_queries(const FeatureSet& images);

}  // namespace reid::metrics
