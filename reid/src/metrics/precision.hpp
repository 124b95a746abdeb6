// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

namespace reid::metrics {

/// Step and trapezoid average precision and inverse penalty of ascending 1-based positions of all hits.
struct Precision {
  double step = 0, trapezoid = 0, inverse_penalty = 0;
};
Precision precision(std::span<const int64_t> ranks);

}  // namespace reid::metrics
