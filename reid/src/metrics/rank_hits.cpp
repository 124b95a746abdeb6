// SPDX-License-Identifier: Apache-2.0
#include "rank_hits.hpp"

#include <algorithm>

namespace reid::metrics {
namespace {

struct Hit {
  float distance;
  int32_t index;
};

/// Whether an item that isn't a hit stands before a hit.
bool before(float distance, int32_t index, const Hit& hit, Ties ties) {
  switch (ties) {
    case Ties::stable:
      return distance < hit.distance || (distance == hit.distance && index < hit.index);
    case Ties::worst:
      return distance <= hit.distance;
    case Ties::best:
      return distance < hit.distance;
  }
  return false;
}

int32_t count_below(const float* begin, const float* end, float limit) {
  int32_t count = 0;
  for (const float* d = begin; d < end; ++d) count += *d < limit;
  return count;
}

int32_t count_up_to(const float* begin, const float* end, float limit) {
  int32_t count = 0;
  for (const float* d = begin; d < end; ++d) count += *d <= limit;
  return count;
}

/// Items of every kind before each hit, a piece of the gallery that stays in the cache at a time.
void count_all(std::span<const float> distances, const std::vector<Hit>& hits, Ties ties, std::vector<int64_t>& counts) {
  constexpr std::size_t kPiece = 4096;
  const float* data = distances.data();
  for (std::size_t begin = 0; begin < distances.size(); begin += kPiece) {
    const std::size_t end = std::min(begin + kPiece, distances.size());
    for (std::size_t h = 0; h < hits.size(); ++h) {
      std::size_t ties_end = begin;  // items before this index precede the hit when they are as far
      if (ties == Ties::worst) ties_end = end;
      if (ties == Ties::stable) ties_end = std::clamp(static_cast<std::size_t>(hits[h].index), begin, end);
      counts[h] += count_up_to(data + begin, data + ties_end, hits[h].distance) +
                   count_below(data + ties_end, data + end, hits[h].distance);
    }
  }
}

}  // namespace

std::vector<int64_t> rank_hits(std::span<const float> distances, std::span<const int32_t> same_id,
                               std::span<const uint8_t> removed, Ties ties) {
  std::vector<Hit> hits;
  for (std::size_t i = 0; i < same_id.size(); ++i) {
    if (!removed[i]) hits.push_back({distances[static_cast<std::size_t>(same_id[i])], same_id[i]});
  }
  std::sort(hits.begin(), hits.end(), [](const Hit& a, const Hit& b) {
    return a.distance < b.distance || (a.distance == b.distance && a.index < b.index);
  });
  std::vector<int64_t> ranks(hits.size(), 0);
  if (hits.empty()) return ranks;
  if (hits.size() < kManyHits) {
    count_all(distances, hits, ties, ranks);
    for (std::size_t h = 0; h < hits.size(); ++h) {  // hits and removed items were counted as well
      for (const int32_t index : same_id) {
        ranks[h] -= before(distances[static_cast<std::size_t>(index)], index, hits[h], ties);
      }
    }
  } else {
    std::size_t next = 0;
    for (std::size_t j = 0; j < distances.size(); ++j) {
      const auto index = static_cast<int32_t>(j);
      if (next < same_id.size() && same_id[next] == index) {
        ++next;
        continue;
      }
      const auto first = std::partition_point(hits.begin(), hits.end(), [&](const Hit& hit) {
        return !before(distances[j], index, hit, ties);
      });
      if (first != hits.end()) ++ranks[static_cast<std::size_t>(first - hits.begin())];
    }
    for (std::size_t h = 1; h < ranks.size(); ++h) ranks[h] += ranks[h - 1];
  }
  for (std::size_t h = 0; h < ranks.size(); ++h) ranks[h] += static_cast<int64_t>(h) + 1;
  return ranks;
}

Precision precision(std::span<const int64_t> ranks) {
  Precision sum;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const auto rank = static_cast<double>(ranks[i]), found = static_cast<double>(i + 1);
    const double here = found / rank;
    const double just_before = ranks[i] == 1 ? 1.0 : (found - 1) / (rank - 1);
    sum.step += here;
    sum.trapezoid += (just_before + here) / 2;
  }
  const auto hits = static_cast<double>(ranks.size());
  return {sum.step / hits, sum.trapezoid / hits, hits / static_cast<double>(ranks.back())};
}

}  // namespace reid::metrics
