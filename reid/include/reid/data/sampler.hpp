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
  /// @param labels  identity of each training sample, 0..K-1 (any other numbers do as well).
  /// @return  batches of positions in `labels`, never an empty list.
  /// @throws ConfigError if the list is too short for a single batch.
  virtual std::vector<std::vector<int64_t>> epoch(const std::vector<int64_t>& labels, uint64_t seed,
                                                  int64_t epoch) const = 0;
};

using SamplerRegistry = Registry<Sampler>;

/// `random`: every sample once, shuffled, cut into batches.
struct RandomSamplerOptions {
  int64_t batch = 64;
  bool drop_last = true;
  template <class V>
  void fields(V&& v) {
    v("batch", batch, "samples in a batch", Range{1, 1 << 20});
    v("drop_last", drop_last,
      "leave out the last batch if it is short (a batch norm over a few samples is noise)");
  }
};

/// P identities with K images each: what batch-hard mining needs.
struct IdentitySamplerOptions {
  int64_t identities = 16;
  int64_t images = 4;
  template <class V>
  void fields(V&& v) {
    v("identities", identities, "different identities in a batch", Range{1, 1 << 20});
    v("images", images, "images of each identity", Range{1, 1 << 20});
  }
};

/// The built-in samplers. All of them are deterministic in (seed, epoch), whatever the machine.
///
/// `random`        RandomSamplerOptions. N samples give floor(N / batch) batches (one more if `drop_last` is off
///                 and something is left).
/// `identity_rga`  IdentitySamplerOptions. Each epoch the identities are shuffled, every one gives `images` of its
///                 images once: without replacement, or with replacement if it has fewer. Batches are cut in
///                 sequence, the last one is dropped if it is short.
///                 Reference: microsoft/Relation-Aware-Global-Attention-Networks@cdc9965 reid/utils/data/sampler.py.
///                 Differs from it: nothing known, besides the stream of random numbers.
/// `identity_bot`  IdentitySamplerOptions. Each epoch every identity's images are shuffled and cut into groups of
///                 `images` (a rest is dropped; an identity with fewer is filled by drawing with replacement); then
///                 `identities` of those that still have a group are drawn again and again, each giving its next
///                 group, until fewer than `identities` have one left.
///                 Reference: damo-cv/TransReID datasets/sampler.py (also BoT and torchreid).
///                 Differs from it: nothing known, besides the stream of random numbers.
///
/// Cost: O(N) time and memory an epoch.
SamplerRegistry& samplers();

}  // namespace reid::data
