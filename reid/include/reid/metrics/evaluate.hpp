// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "reid/core/json.hpp"
#include "reid/core/progress.hpp"
#include "reid/metrics/protocol.hpp"
#include "reid/ops/distance.hpp"

namespace reid::metrics {

/// Features with what is known of each row.
struct FeatureSet {
  torch::Tensor features;  ///< [N, D] float32 (float16/float64 are converted)
  torch::Tensor ids;       ///< [N] int64
  torch::Tensor cameras;   ///< [N] int64; undefined if not known
  torch::Tensor clothes;   ///< [N] int64; undefined if not known
};

struct EvaluateOptions {
  std::optional<ops::Metric> metric;  ///< the protocol's default unless set
  uint64_t seed = 0;                  ///< of the bootstrap and of sampled galleries
  int64_t resamples = 1000;
  int64_t ranking_top = 0;            ///< > 0: keep the first k gallery indices of each query
};

/// The scores of one evaluation; `to_json` writes the contract's keys.
struct Result {
  Json json;              ///< protocol, metric, rerank, queries, ..., metrics, ci95, protocol-specific lines
  torch::Tensor ranking;  ///< [Q, top] int64 indices into the gallery as given, -1 where there are fewer
  torch::Tensor average_precision;  ///< [Q] float64, step; NaN for unmatched queries: for paired tests
};

/// Scores queries against a gallery under a protocol, in tiles: memory doesn't grow with Q x G.
/// @throws InputError for NaN or infinite features (naming the row), unequal lengths, empty sets;
///         WorkError if no query has a match.
Result evaluate(const FeatureSet& query, const FeatureSet& gallery, const Protocol& protocol,
                const EvaluateOptions& options = {});

/// Several splits: means over splits, a "splits" array, standard deviations, ci95 over splits.
Result combine_splits(const std::vector<Result>& splits, const Protocol& protocol);

}  // namespace reid::metrics
