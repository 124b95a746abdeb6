// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "reid/core/options.hpp"

namespace reid::data {

/// What is done with a sample whose identity has no other picture.
enum class LonelySamples {
  drop,  ///< its identity is left out of training
  self,  ///< the sample itself fills its support
};

/// Support sets: to each training sample M others of the same identity, drawn anew each epoch.
///
/// A sample is a pair of a picture and one of its sentences. The support of its picture is drawn from the identity's
/// other pictures, that of its sentence from the sentences of those other pictures: never the picture or sentence
/// itself, and never another sentence of the same picture. Without replacement as long as the pool lasts, with replacement
/// if it holds fewer than M.
/// Paper: Yan et al., "Learning Comprehensive Representations with Richer Self for Text-to-Image Person
/// Re-Identification", ACM MM 2023, arXiv:2310.11210: that support members are random other views of the identity. M and
/// what happens to short pools are this library's choice.
class SupportSets {
 public:
  /// @param identities  of each picture
  /// @param sentences   number of sentences of each picture, from 1
  /// @throws InputError if the lists differ in length or are empty, a picture has no sentence, or (LonelySamples::drop)
  ///   every identity has a single picture.
  SupportSets(std::vector<int64_t> identities, std::vector<int64_t> sentences, LonelySamples lonely);

  /// One sentence of one picture.
  struct Sentence {
    int64_t picture = 0;
    int64_t sentence = 0;  ///< 0 .. its number of sentences - 1
    bool operator==(const Sentence&) const = default;
  };
  struct Support {
    std::vector<int64_t> pictures;    ///< M
    std::vector<Sentence> sentences;  ///< M
  };

  /// The support of one sample. A function of (sample, seed, epoch) and of the lists alone.
  /// @throws InputError if the picture or sentence isn't there, its identity was dropped, or `members` is negative.
  Support draw(const Sentence& sample, int64_t members, uint64_t seed, int64_t epoch) const;

  /// Pictures that may be trained on: all, or those of identities with two pictures and more. In order.
  const std::vector<int64_t>& pictures() const { return kept_; }
  int64_t dropped_identities() const { return dropped_; }
  /// Size of the smallest pool of pictures among those kept (0 with LonelySamples::self and a lonely picture).
  int64_t smallest_pool() const { return smallest_; }

 private:
  std::vector<int64_t> identities_, sentences_;
  LonelySamples lonely_;
  std::vector<std::vector<int64_t>> groups_;  ///< pictures of each identity
  std::vector<int64_t> group_of_;
  std::vector<int64_t> kept_;
  int64_t dropped_ = 0;
  int64_t smallest_ = 0;
};

}  // namespace reid::data

template <>
struct reid::EnumNames<reid::data::LonelySamples> {
  using L = reid::data::LonelySamples;
  static constexpr std::array<std::pair<L, const char*>, 2> values{{{L::drop, "drop"}, {L::self, "self"}}};
};
