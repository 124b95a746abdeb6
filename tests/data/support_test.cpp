// SPDX-License-Identifier: Apache-2.0
#include "reid/data/support.hpp"

#include <cstdlib>
#include <set>

#include "reid/core/error.hpp"
#include "support/catch.hpp"

using namespace reid;
using data::LonelySamples;
using data::SupportSets;
using Catch::Matchers::Contains;
using Ids = std::vector<int64_t>;

namespace {

const Ids kIdentities{5, 5, 7, 5, 7, 9, 5};
const Ids kSentences{2, 1, 3, 2, 1, 4, 2};

}  // namespace

TEST_CASE("support never holds the sample, always its identity, no sentence of its picture", "[data]") {
  const SupportSets sets(kIdentities, kSentences, LonelySamples::drop);
  CHECK(sets.pictures() == Ids{0, 1, 2, 3, 4, 6});
  CHECK(sets.dropped_identities() == 1);
  CHECK(sets.smallest_pool() == 1);
  for (const int64_t picture : sets.pictures()) {
    for (int64_t sentence = 0; sentence < kSentences[static_cast<std::size_t>(picture)]; ++sentence) {
      for (int64_t epoch = 0; epoch < 20; ++epoch) {
        const auto support = sets.draw({picture, sentence}, 3, 1, epoch);
        REQUIRE(support.pictures.size() == 3);
        REQUIRE(support.sentences.size() == 3);
        for (const auto other : support.pictures) {
          CHECK(other != picture);
          CHECK(kIdentities[static_cast<std::size_t>(other)] == kIdentities[static_cast<std::size_t>(picture)]);
        }
        for (const auto& other : support.sentences) {
          CHECK(other.picture != picture);
          CHECK(kIdentities[static_cast<std::size_t>(other.picture)] == kIdentities[static_cast<std::size_t>(picture)]);
          CHECK(other.sentence < kSentences[static_cast<std::size_t>(other.picture)]);
        }
        // Identity 5 has three other pictures: no repetition. Identity 7 has one: it is repeated.
        const std::set<int64_t> different(support.pictures.begin(), support.pictures.end());
        CHECK(different.size() == (kIdentities[static_cast<std::size_t>(picture)] == 5 ? 3 : 1));
      }
    }
  }
}

TEST_CASE("support is a function of seed and epoch, and changes with both", "[data]") {
  Ids identities(40, 1), sentences(40, 2);
  const SupportSets sets(identities, sentences, LonelySamples::drop);
  const auto first = sets.draw({3, 1}, 4, 7, 2);
  CHECK(first.pictures == sets.draw({3, 1}, 4, 7, 2).pictures);
  CHECK((first.sentences == sets.draw({3, 1}, 4, 7, 2).sentences));
  CHECK(first.pictures != sets.draw({3, 1}, 4, 7, 3).pictures);
  CHECK(first.pictures != sets.draw({3, 1}, 4, 8, 2).pictures);
  CHECK(sets.draw({3, 1}, 0, 7, 2).pictures.empty());
  // Every other picture is drawn about equally often.
  Ids seen(40, 0);
  for (int64_t epoch = 0; epoch < 3000; ++epoch) {
    for (const auto picture : sets.draw({3, 0}, 3, 1, epoch).pictures) ++seen[static_cast<std::size_t>(picture)];
  }
  CHECK(seen[3] == 0);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    if (i != 3) CHECK(std::abs(seen[i] - 9000 / 39) < 75);  // five standard deviations
  }
}

TEST_CASE("lonely samples and wrong lists", "[data]") {
  const SupportSets self(kIdentities, kSentences, LonelySamples::self);
  CHECK(self.pictures().size() == kIdentities.size());
  CHECK(self.smallest_pool() == 0);
  const auto own = self.draw({5, 2}, 2, 0, 0);
  CHECK(own.pictures == Ids{5, 5});
  CHECK((own.sentences[1] == SupportSets::Sentence{5, 2}));
  const SupportSets drop(kIdentities, kSentences, LonelySamples::drop);
  CHECK_THROWS_WITH(drop.draw({5, 0}, 2, 0, 0), Contains("picture 5 must have another of identity 9"));
  CHECK_THROWS_WITH(drop.draw({7, 0}, 2, 0, 0), Contains("picture must be 0 to 6, got 7"));
  CHECK_THROWS_WITH(drop.draw({1, 1}, 2, 0, 0), Contains("sentence of picture 1 must be 0 to 0, got 1"));
  CHECK_THROWS_AS(drop.draw({1, 0}, -1, 0, 0), InputError);
  CHECK_THROWS_WITH(SupportSets({1, 2}, {1, 1}, LonelySamples::drop), Contains("got 2 identities of one"));
  CHECK_THROWS_AS(SupportSets({1, 1}, {1}, LonelySamples::drop), InputError);
  CHECK_THROWS_WITH(SupportSets({1, 1}, {1, 0}, LonelySamples::drop), Contains("got 0 for picture 1"));
  CHECK_THROWS_AS(SupportSets({}, {}, LonelySamples::self), InputError);
}
