// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reid/core/json.hpp"
#include "reid/core/options.hpp"

/// Re-ranking: distances corrected by who shares whose neighbours. A re-ranked figure means nothing without the
/// variant and its parameters; both are printed.
namespace reid::metrics {

/// One variant and its parameters. Unset ones take the variant's default; one that the variant doesn't have is an error.
struct RerankOptions {
  std::string variant = "zhong_ranklist";
  std::optional<int64_t> k1;      ///< neighbours (20; gnn 26; aqe 5, the item itself included)
  std::optional<int64_t> k2;      ///< neighbours in query expansion (6; gnn 7; aqe: none)
  std::optional<double> lambda;   ///< weight of the original distance (0.3; not gnn, not aqe)
  std::optional<double> alpha;    ///< power of the similarity (aqe: 3)
  std::optional<int64_t> times;   ///< rounds (aqe: 1)
  bool emulate_half = false;      ///< round as the original's half-precision arrays do (zhong_features, bot)

  template <class V>
  void fields(V&& v) {
    v("variant", variant, "name of the variant; `reid metrics --rerank list` prints them");
    v("k1", k1, "neighbours; null: the variant's default", Range{.min = 1});
    v("k2", k2, "neighbours in query expansion; null: the variant's default", Range{.min = 1});
    v("lambda", lambda, "weight of the original distance; null: the variant's default", Range{.min = 0, .max = 1});
    v("alpha", alpha, "power of the similarity (aqe); null: the variant's default", Range{.min = 0});
    v("times", times, "rounds (aqe); null: the variant's default", Range{.min = 1});
    v("emulate_half", emulate_half, "round as the original's half-precision arrays do");
  }
};

/// What is known of a variant.
struct RerankVariant {
  std::string name;
  std::vector<std::string> aliases;
  std::string summary;
  std::string reference;
};

/// All variants, sorted by name.
const std::vector<RerankVariant>& rerank_variants();

/// The options with the variant's own name for an alias and every parameter that the variant has filled in.
/// @throws RegistryError for an unknown variant (with the nearest name), ConfigError for a parameter that it doesn't have
///         or one out of range.
RerankOptions resolve(const RerankOptions& options);

/// Resolved options as results carry them: {"variant", "k1", "k2", "lambda", ..., "precision"}; only what the variant has.
Json rerank_json(const RerankOptions& resolved);

}  // namespace reid::metrics
