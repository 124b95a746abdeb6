// SPDX-License-Identifier: Apache-2.0
#include "reid/data/sampler.hpp"

#include <fmt/format.h>

#include <map>
#include <numeric>

#include "reid/core/random.hpp"

namespace reid::data {
namespace {

using Batches = std::vector<std::vector<int64_t>>;

// Separates the sampler's stream from those of the samples, which are keyed by (seed, epoch, sample).
constexpr uint64_t kSamplerStream = 0x73616d706c6572ULL;

Random stream(uint64_t seed, int64_t epoch) {
  return Random({kSamplerStream, seed, static_cast<uint64_t>(epoch), 0});
}

class RandomSampler : public Sampler {
 public:
  using Options = RandomSamplerOptions;
  explicit RandomSampler(Options options) : options_(options) {}

  Batches epoch(const std::vector<int64_t>& labels, uint64_t seed, int64_t epoch) const override {
    const auto n = static_cast<int64_t>(labels.size());
    const int64_t least = options_.drop_last ? options_.batch : 1;
    if (n < least) {
      throw ConfigError(fmt::format("random sampler: the training list must hold at least {} samples for one batch, got {}",
                                    least, n));
    }
    std::vector<int64_t> order(labels.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    Random random = stream(seed, epoch);
    random.shuffle(order);
    Batches batches;
    for (int64_t begin = 0; begin < n; begin += options_.batch) {
      const int64_t end = std::min(n, begin + options_.batch);
      if (end - begin < options_.batch && options_.drop_last) break;
      batches.emplace_back(order.begin() + begin, order.begin() + end);
    }
    return batches;
  }

 private:
  Options options_;
};

/// Samples of each identity, in the order of the identities' numbers.
std::vector<std::vector<int64_t>> group(const std::vector<int64_t>& labels, int64_t identities, const char* name) {
  std::map<int64_t, std::vector<int64_t>> by_label;
  for (std::size_t i = 0; i < labels.size(); ++i) by_label[labels[i]].push_back(static_cast<int64_t>(i));
  if (static_cast<int64_t>(by_label.size()) < identities) {
    throw ConfigError(fmt::format("{} sampler: the training list must hold at least {} identities for one batch, got {}",
                                  name, identities, by_label.size()));
  }
  std::vector<std::vector<int64_t>> groups;
  groups.reserve(by_label.size());
  for (auto& [label, samples] : by_label) groups.push_back(std::move(samples));
  return groups;
}

/// `count` samples drawn with replacement.
std::vector<int64_t> draw(const std::vector<int64_t>& samples, int64_t count, Random& random) {
  std::vector<int64_t> drawn;
  for (int64_t k = 0; k < count; ++k) {
    drawn.push_back(samples[static_cast<std::size_t>(random.below(static_cast<int64_t>(samples.size())))]);
  }
  return drawn;
}

class RgaSampler : public Sampler {
 public:
  using Options = IdentitySamplerOptions;
  explicit RgaSampler(Options options) : options_(options) {}

  Batches epoch(const std::vector<int64_t>& labels, uint64_t seed, int64_t epoch) const override {
    auto groups = group(labels, options_.identities, "identity_rga");
    Random random = stream(seed, epoch);
    random.shuffle(groups);
    Batches batches;
    const auto p = static_cast<std::size_t>(options_.identities);
    for (std::size_t begin = 0; begin + p <= groups.size(); begin += p) {
      auto& batch = batches.emplace_back();
      for (std::size_t i = begin; i < begin + p; ++i) {
        std::vector<int64_t> chosen;
        if (static_cast<int64_t>(groups[i].size()) < options_.images) {
          chosen = draw(groups[i], options_.images, random);
        } else {
          random.shuffle(groups[i]);
          chosen.assign(groups[i].begin(), groups[i].begin() + options_.images);
        }
        batch.insert(batch.end(), chosen.begin(), chosen.end());
      }
    }
    return batches;
  }

 private:
  Options options_;
};

class BotSampler : public Sampler {
 public:
  using Options = IdentitySamplerOptions;
  explicit BotSampler(Options options) : options_(options) {}

  Batches epoch(const std::vector<int64_t>& labels, uint64_t seed, int64_t epoch) const override {
    auto groups = group(labels, options_.identities, "identity_bot");
    Random random = stream(seed, epoch);
    // Each identity's samples now stand in the order in which its groups of K are taken, rest dropped.
    for (auto& samples : groups) {
      if (static_cast<int64_t>(samples.size()) < options_.images) samples = draw(samples, options_.images, random);
      random.shuffle(samples);
      samples.resize(samples.size() - samples.size() % static_cast<std::size_t>(options_.images));
    }
    std::vector<std::size_t> taken(groups.size(), 0);
    std::vector<std::size_t> available(groups.size());
    std::iota(available.begin(), available.end(), std::size_t{0});
    Batches batches;
    const auto p = static_cast<std::size_t>(options_.identities);
    const auto k = static_cast<std::size_t>(options_.images);
    while (available.size() >= p) {
      auto& batch = batches.emplace_back();
      // The first p of a partial shuffle are a draw without replacement.
      for (std::size_t i = 0; i < p; ++i) {
        const auto j = i + static_cast<std::size_t>(random.below(static_cast<int64_t>(available.size() - i)));
        std::swap(available[i], available[j]);
        const auto& samples = groups[available[i]];
        auto& position = taken[available[i]];
        const auto begin = samples.begin() + static_cast<std::ptrdiff_t>(position);
        batch.insert(batch.end(), begin, begin + static_cast<std::ptrdiff_t>(k));
        position += k;
      }
      std::erase_if(available, [&](std::size_t i) { return taken[i] >= groups[i].size(); });
    }
    return batches;
  }

 private:
  Options options_;
};

}  // namespace

SamplerRegistry& samplers() {
  static SamplerRegistry instance = [] {
    SamplerRegistry made("sampler");
    made.add<RandomSampler>("random", {.summary = "every sample once, shuffled", .paper = "", .reference = "", .claim = ""});
    made.add<RgaSampler>(
        "identity_rga",
        {.summary = "P identities x K images, each identity once an epoch",
         .paper = "Zhang et al., Relation-Aware Global Attention for Person Re-Identification, CVPR 2020, arXiv 1904.02998",
         .reference = "microsoft/Relation-Aware-Global-Attention-Networks@cdc9965",
         .claim = "the reference code's rule; other random numbers"});
    made.add<BotSampler>(
        "identity_bot",
        {.summary = "P identities x K images, until the groups of K run out",
         .paper = "Luo et al., Bag of Tricks and a Strong Baseline for Deep Person Re-Identification, CVPRW 2019, arXiv 1903.07071",
         .reference = "damo-cv/TransReID datasets/sampler.py",
         .claim = "the reference code's rule; other random numbers"});
    return made;
  }();
  return instance;
}

}  // namespace reid::data
