// SPDX-License-Identifier: Apache-2.0
#include "precision.hpp"

namespace reid::metrics {

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
