// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "reid/metrics/rerank.hpp"

namespace reid::metrics {

enum class RerankKind { k_reciprocal, gnn, aqe };
enum class BaseDistance { metric, cosine, euclidean };
enum class Transform { none, square };
enum class HalfArrays { none, encoding, all };  // which arrays of the original are half precision

/// Where a variant differs from the common steps of k-reciprocal encoding, as data.
struct RerankSpec {
  RerankVariant variant;
  RerankKind kind = RerankKind::k_reciprocal;
  std::optional<int64_t> k1 = 20, k2 = 6;  // defaults; unset: the variant has none
  std::optional<double> lambda = 0.3, alpha;
  std::optional<int64_t> times;
  BaseDistance base = BaseDistance::metric;
  Transform transform = Transform::none;
  bool unit_rows = false;               // features are L2-normalised first
  bool unit_rows_under_cosine = false;  // ... if the metric is cosine
  bool scale_rows = true;               // step 1: divide by the row's maximum
  bool matlab_half = false;             // step 4: round((k1+1)/2) items, not round_half_even(k1/2) + 1
  bool list_without_extra = false;      // step 3: k1 items, not k1 + 1
  bool expand_one_more = false;         // step 6: k2 + 1 items, for every k2
  bool jaccard_of_maxima = false;       // step 7: minima over maxima + 1e-12
  bool clip_jaccard = false;            // step 7: not below 0
  HalfArrays half = HalfArrays::none;
};

/// By name or alias. @throws RegistryError.
const RerankSpec& rerank_spec(const std::string& name);

}  // namespace reid::metrics
