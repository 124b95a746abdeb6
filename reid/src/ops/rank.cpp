// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/rank.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/ops/check.hpp"
#include "reid/ops/parallel.hpp"
#include "scan.hpp"

#ifdef REID_WITH_CUDA
#include "cuda/dispatch.hpp"
#endif

namespace reid::ops {
namespace {

using torch::Tensor;

/// From this number of hits on, items look for their place among the sorted hits, not hits for theirs.
constexpr std::size_t kManyHits = 256;

struct Hit {
  float distance;
  int32_t index;
  int64_t slot;  // in `items`
};

/// Whether an item that isn't a hit stands before a hit.
bool before(float distance, int32_t index, const Hit& hit, Ties ties) {
  if (distance != hit.distance) return distance < hit.distance;
  return ties == Ties::worst || (ties == Ties::stable && index < hit.index);
}

/// The limit l' with (d < l') = (d <= l).
float next_above(float limit) { return std::nextafter(limit, std::numeric_limits<float>::infinity()); }

/// Items of every kind before each hit, a piece of the gallery that stays in the cache at a time, four hits at a time.
void count_all(std::span<const float> distances, const std::vector<Hit>& hits, Ties ties, std::vector<int64_t>& counts) {
  constexpr std::size_t kPiece = 1024;
  constexpr auto kSlots = static_cast<std::size_t>(kLimits);
  const float* data = distances.data();
  std::vector<float> limits(hits.size());
  for (std::size_t begin = 0; begin < distances.size(); begin += kPiece) {
    const std::size_t end = std::min(begin + kPiece, distances.size());
    for (std::size_t first = 0; first < hits.size(); first += kSlots) {
      float limit[kSlots] = {};
      int64_t count[kSlots] = {};
      const std::size_t slots = std::min(kSlots, hits.size() - first);
      for (std::size_t s = 0; s < slots; ++s) {
        const Hit& hit = hits[first + s];
        const auto own = static_cast<std::size_t>(hit.index);
        const bool with_equal = ties == Ties::worst || (ties == Ties::stable && own >= end);
        limit[s] = with_equal ? next_above(hit.distance) : hit.distance;
        if (ties == Ties::stable && own > begin && own < end) {  // equal ones of this piece up to the hit
          count[s] = std::count(data + begin, data + own, hit.distance);
        }
      }
      count_below(data + begin, static_cast<int64_t>(end - begin), limit, count);
      for (std::size_t s = 0; s < slots; ++s) counts[first + s] += count[s];
    }
  }
}

/// Items that aren't in `items` before each of many hits.
void count_others(std::span<const float> distances, std::span<const int32_t> items, const std::vector<Hit>& hits,
                  Ties ties, std::vector<int64_t>& counts) {
  std::size_t next = 0;
  for (std::size_t j = 0; j < distances.size(); ++j) {
    const auto index = static_cast<int32_t>(j);
    if (next < items.size() && items[next] == index) {
      ++next;
      continue;
    }
    const auto first = std::partition_point(
        hits.begin(), hits.end(), [&](const Hit& hit) { return !before(distances[j], index, hit, ties); });
    if (first != hits.end()) ++counts[static_cast<std::size_t>(first - hits.begin())];
  }
  for (std::size_t h = 1; h < counts.size(); ++h) counts[h] += counts[h - 1];
}

void check_offsets(const Tensor& offsets, const Tensor& items, int64_t queries, int64_t gallery) {
  const int64_t* at = offsets.const_data_ptr<int64_t>();
  REID_CHECK(at[0] == 0 && at[queries] == items.size(0), ShapeError,
             fmt::format("rank_hits: offsets must begin with 0 and end with {}, got {} and {}", items.size(0), at[0],
                         at[queries]));
  const int32_t* item = items.const_data_ptr<int32_t>();
  for (int64_t q = 0; q < queries; ++q) {
    REID_CHECK(at[q] <= at[q + 1] && at[q + 1] <= items.size(0), ShapeError,
               fmt::format("rank_hits: offsets must ascend, got {} after {} at {}", at[q + 1], at[q], q + 1));
    for (int64_t m = at[q]; m < at[q + 1]; ++m) {
      const bool fits = item[m] >= 0 && item[m] < gallery && (m == at[q] || item[m] > item[m - 1]);
      REID_CHECK(fits, ShapeError,
                 fmt::format("rank_hits: items must ascend between 0 and {} within a query, got {} at {}", gallery - 1,
                             item[m], m));
    }
  }
}

}  // namespace

void rank_hits(std::span<const float> distances, std::span<const int32_t> items, std::span<const uint8_t> removed,
               Ties ties, std::span<int64_t> places) {
  REID_ASSERT(items.size() == removed.size() && items.size() == places.size());
  std::vector<Hit> hits;
  for (std::size_t i = 0; i < items.size(); ++i) {
    places[i] = 0;
    if (!removed[i]) hits.push_back({distances[static_cast<std::size_t>(items[i])], items[i], static_cast<int64_t>(i)});
  }
  if (hits.empty()) return;
  std::sort(hits.begin(), hits.end(), [](const Hit& a, const Hit& b) {
    return a.distance < b.distance || (a.distance == b.distance && a.index < b.index);
  });
  std::vector<int64_t> counts(hits.size(), 0);
  if (hits.size() < kManyHits) {
    count_all(distances, hits, ties, counts);
    for (std::size_t h = 0; h < hits.size(); ++h) {  // hits and removed items were counted as well
      for (const int32_t index : items) {
        counts[h] -= before(distances[static_cast<std::size_t>(index)], index, hits[h], ties);
      }
    }
  } else {
    count_others(distances, items, hits, ties, counts);
  }
  for (std::size_t h = 0; h < hits.size(); ++h) {
    places[static_cast<std::size_t>(hits[h].slot)] = counts[h] + static_cast<int64_t>(h) + 1;
  }
}

Tensor rank_hits(const Tensor& distances, const Tensor& offsets, const Tensor& items, const Tensor& removed, Ties ties) {
  check_rank(distances, "rank_hits", "distances", 2, "[Q, G] float32");
  check_rank(offsets, "rank_hits", "offsets", 1, "[Q + 1] int64", false);
  check_rank(items, "rank_hits", "items", 1, "[M] int32", false);
  check_rank(removed, "rank_hits", "removed", 1, "[M] bool", false);
  const auto need = [](bool fits, const char* name, const std::string& expectation, const Tensor& tensor) {
    REID_CHECK(fits, ShapeError, fmt::format("rank_hits: {} must be {}, got {}", name, expectation, describe(tensor)));
  };
  const int64_t queries = distances.size(0), gallery = distances.size(1);
#ifdef REID_WITH_CUDA
  const bool on_cuda = distances.is_cuda();
#else
  constexpr bool on_cuda = false;
#endif
  need(distances.scalar_type() == torch::kFloat32 && (on_cuda || distances.is_cpu()) &&
           gallery < std::numeric_limits<int32_t>::max(),
       "distances", fmt::format("[Q, G] float32 on cpu{}, G below 2^31", on_cuda ? " or cuda" : ""), distances);
  const auto device = distances.device();
  const auto name = device.str();
  need(offsets.scalar_type() == torch::kInt64 && offsets.size(0) == queries + 1 && offsets.device() == device, "offsets",
       fmt::format("[{}] int64 on {}", queries + 1, name), offsets);
  need(items.scalar_type() == torch::kInt32 && items.device() == device, "items", fmt::format("[M] int32 on {}", name), items);
  need(removed.scalar_type() == torch::kBool && removed.size(0) == items.size(0) && removed.device() == device, "removed",
       fmt::format("[{}] bool on {}", items.size(0), name), removed);
#ifdef REID_WITH_CUDA
  if (on_cuda) return cuda::rank_hits(distances, offsets, items, removed, ties);
#endif
  const Tensor d = distances.contiguous(), from = offsets.contiguous(), which = items.contiguous(),
               out = removed.contiguous();
  check_offsets(from, which, queries, gallery);
  const Tensor places = at::zeros({items.size(0)}, torch::dtype(torch::kInt64));
  const float* line = d.const_data_ptr<float>();
  const int64_t* at = from.const_data_ptr<int64_t>();
  const int32_t* item = which.const_data_ptr<int32_t>();
  const bool* gone = out.const_data_ptr<bool>();
  int64_t* place = places.mutable_data_ptr<int64_t>();
  parallel_for(0, queries, 1, [&](int64_t first, int64_t last) {
    for (int64_t q = first; q < last; ++q) {
      const auto count = static_cast<std::size_t>(at[q + 1] - at[q]);
      const std::vector<uint8_t> without(gone + at[q], gone + at[q + 1]);
      rank_hits({line + q * gallery, static_cast<std::size_t>(gallery)}, {item + at[q], count}, without, ties,
                {place + at[q], count});
    }
  });
  return places;
}

}  // namespace reid::ops
