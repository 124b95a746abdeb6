// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "reid/core/registry.hpp"

namespace reid::data {

/// Batches of indices into the training list. A pure function of (options, labels, seed, epoch).
class Sampler {
 public:
  virtual ~Sampler() = default;
  /// @param labels  identity of each training sample, 0..K-1.
  virtual std::vector<std::vector<int64_t>> epoch(const std::vector<int64_t>& labels, uint64_t seed,
                                                  int64_t epoch) const = 0;
};

using SamplerRegistry = Registry<Sampler>;

/// Built-in samplers: "random", "identity_rga", "identity_bot" (see sampler.cpp for the exact rules).
SamplerRegistry& samplers();

}  // namespace reid::data
