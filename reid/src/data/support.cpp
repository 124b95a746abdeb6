// SPDX-License-Identifier: Apache-2.0
#include "reid/data/support.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "reid/core/error.hpp"
#include "reid/core/random.hpp"

namespace reid::data {
namespace {

constexpr uint64_t kPictureStream = 0x737570706f7274;
constexpr uint64_t kSentenceStream = 0x73656e74656e6365;

/// `count` members of a pool that isn't empty: different ones while they last, then over again.
template <class T>
std::vector<T> choose(const std::vector<T>& pool, int64_t count, Random& random) {
  std::vector<T> chosen;
  if (static_cast<int64_t>(pool.size()) < count) {
    for (int64_t i = 0; i < count; ++i) {
      chosen.push_back(pool[static_cast<std::size_t>(random.below(static_cast<int64_t>(pool.size())))]);
    }
    return chosen;
  }
  std::vector<T> left = pool;
  for (int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::ptrdiff_t>(random.below(static_cast<int64_t>(left.size())));
    chosen.push_back(left[static_cast<std::size_t>(at)]);
    left.erase(left.begin() + at);
  }
  return chosen;
}

}  // namespace

SupportSets::SupportSets(std::vector<int64_t> identities, std::vector<int64_t> sentences, LonelySamples lonely)
    : identities_(std::move(identities)), sentences_(std::move(sentences)), lonely_(lonely) {
  REID_CHECK(!identities_.empty() && identities_.size() == sentences_.size(), InputError,
             fmt::format("support sets: lists of identities and sentences must be equally long and not empty, got {} and {}",
                         identities_.size(), sentences_.size()));
  std::map<int64_t, int64_t> groups;
  for (std::size_t i = 0; i < identities_.size(); ++i) {
    REID_CHECK(sentences_[i] >= 1, InputError,
               fmt::format("support sets: every picture must have a sentence, got {} for picture {}", sentences_[i], i));
    const auto [it, fresh] = groups.emplace(identities_[i], static_cast<int64_t>(groups_.size()));
    if (fresh) groups_.emplace_back();
    groups_[static_cast<std::size_t>(it->second)].push_back(static_cast<int64_t>(i));
    group_of_.push_back(it->second);
  }
  for (const auto& group : groups_) {
    const auto pool = static_cast<int64_t>(group.size()) - 1;
    if (pool == 0 && lonely == LonelySamples::drop) {
      ++dropped_;
      continue;
    }
    smallest_ = kept_.empty() ? pool : std::min(smallest_, pool);
    kept_.insert(kept_.end(), group.begin(), group.end());
  }
  std::sort(kept_.begin(), kept_.end());
  REID_CHECK(!kept_.empty(), InputError,
             fmt::format("support sets: an identity must have two pictures or more, got {} identities of one", dropped_));
}

SupportSets::Support SupportSets::draw(const Sentence& sample, int64_t members, uint64_t seed, int64_t epoch) const {
  const auto count = static_cast<int64_t>(identities_.size());
  REID_CHECK(members >= 0, InputError, fmt::format("support sets: members must be at least 0, got {}", members));
  REID_CHECK(sample.picture >= 0 && sample.picture < count, InputError,
             fmt::format("support sets: picture must be 0 to {}, got {}", count - 1, sample.picture));
  const auto picture = static_cast<std::size_t>(sample.picture);
  REID_CHECK(sample.sentence >= 0 && sample.sentence < sentences_[picture], InputError,
             fmt::format("support sets: sentence of picture {} must be 0 to {}, got {}", picture, sentences_[picture] - 1,
                         sample.sentence));
  const auto& group = groups_[static_cast<std::size_t>(group_of_[picture])];
  std::vector<int64_t> pictures;
  for (const int64_t other : group) {
    if (other != sample.picture) pictures.push_back(other);
  }
  std::vector<Sentence> sentences;
  for (const int64_t other : pictures) {
    for (int64_t s = 0; s < sentences_[static_cast<std::size_t>(other)]; ++s) sentences.push_back({other, s});
  }
  if (pictures.empty()) {
    REID_CHECK(lonely_ == LonelySamples::self, InputError,
               fmt::format("support sets: picture {} must have another of identity {}, got a dropped one", picture,
                           identities_[picture]));
    pictures.push_back(sample.picture);
    sentences.push_back(sample);
  }
  const auto key = [&](uint64_t stream) {
    return Random({seed, static_cast<uint64_t>(epoch), static_cast<uint64_t>(sample.picture),
                   static_cast<uint64_t>(sample.sentence), stream});
  };
  Random for_pictures = key(kPictureStream), for_sentences = key(kSentenceStream);
  return {choose(pictures, members, for_pictures), choose(sentences, members, for_sentences)};
}

}  // namespace reid::data
