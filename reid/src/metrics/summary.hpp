// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "reid/core/json.hpp"

namespace reid::metrics {

inline constexpr std::array<const char*, 7> kMetricNames{"rank1", "rank5", "rank10", "rank20",
                                                         "map",   "map_interpolated", "minp"};
inline constexpr std::array<int64_t, 4> kRanks{1, 5, 10, 20};

/// The seven values of one query (or of one split), in the order of `kMetricNames`.
using Scores = std::array<double, kMetricNames.size()>;

Scores mean_of(const std::vector<Scores>& scores);

/// 2.5 and 97.5 percentiles (linear between neighbours) of the mean over `resamples` resamples with replacement, for
/// each metric on the same draws. Every resample has its own stream of (seed, number): any number of threads.
std::array<std::array<double, 2>, kMetricNames.size()> bootstrap(const std::vector<Scores>& scores, int64_t resamples,
                                                                 uint64_t seed);

Json to_json(const Scores& scores);
Json to_json(const std::array<std::array<double, 2>, kMetricNames.size()>& intervals);

}  // namespace reid::metrics
