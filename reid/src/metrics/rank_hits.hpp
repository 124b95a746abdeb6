// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "reid/metrics/evaluate.hpp"

namespace reid::metrics {

/// Where the hits of one query stand among its kept gallery, without sorting the gallery.
/// @param distances  to all `gallery` items
/// @param same_id    gallery indices of the query's identity, ascending
/// @param removed    for each of `same_id`, whether it is removed for this query; the others are the hits
/// @return           1-based positions of the hits, ascending; empty if there is none
/// Cost: O(gallery x hits) simple comparisons, O(gallery log hits) from `kManyHits` on.
std::vector<int64_t> rank_hits(std::span<const float> distances, std::span<const int32_t> same_id,
                               std::span<const uint8_t> removed, Ties ties);

/// From this number of hits on, items look for their place among the sorted hits, not hits for theirs.
inline constexpr std::size_t kManyHits = 256;

/// Step and trapezoid average precision and inverse penalty of ascending 1-based positions of all hits.
struct Precision {
  double step = 0, trapezoid = 0, inverse_penalty = 0;
};
Precision precision(std::span<const int64_t> ranks);

}  // namespace reid::metrics
