// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "reid/metrics/evaluate.hpp"

namespace reid::test {

/// Scores of one query by sorting and walking, for oracles.
struct NaiveScore {
  bool matched = false;
  std::vector<int64_t> ranks;  // 1-based positions of the hits
  double step = 0, trapezoid = 0, minp = 0;
};

/// d [Q, G] float32; `removed(q, g)` and `hit(q, g)` as the protocol says.
template <class Removed, class Hit>
std::vector<NaiveScore> naive_scores(const torch::Tensor& d, const Removed& removed, const Hit& hit,
                                     metrics::Ties ties = metrics::Ties::stable) {
  std::vector<NaiveScore> scores;
  const auto value = d.accessor<float, 2>();
  for (int64_t q = 0; q < d.size(0); ++q) {
    std::vector<int64_t> order;
    for (int64_t g = 0; g < d.size(1); ++g) {
      if (!removed(q, g)) order.push_back(g);
    }
    const auto place = [&](int64_t g) {  // among equal distances
      if (ties == metrics::Ties::stable) return 0;
      return hit(q, g) == (ties == metrics::Ties::best) ? 0 : 1;
    };
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      if (value[q][a] != value[q][b]) return value[q][a] < value[q][b];
      if (place(a) != place(b)) return place(a) < place(b);
      return a < b;
    });
    NaiveScore score;
    int64_t total = 0, found = 0;
    for (const int64_t g : order) total += hit(q, g);
    double before = 1;  // precision just before this position
    for (std::size_t i = 0; i < order.size(); ++i) {
      const double here = static_cast<double>(found + hit(q, order[i])) / static_cast<double>(i + 1);
      if (hit(q, order[i])) {
        ++found;
        score.ranks.push_back(static_cast<int64_t>(i) + 1);
        score.step += here / static_cast<double>(total);
        score.trapezoid += (before + here) / 2 / static_cast<double>(total);
        if (found == total) score.minp = here;
      }
      before = here;
    }
    score.matched = total > 0;
    scores.push_back(score);
  }
  return scores;
}

}  // namespace reid::test
