// SPDX-License-Identifier: Apache-2.0
#include "person.hpp"

namespace reid::datasets::synthetic {
namespace {

constexpr uint64_t kGroupStream = 0x67726f7570;
constexpr uint64_t kPersonStream = 0x706572736f6e;
constexpr uint64_t kOutfitStream = 0x6f7574666974;
constexpr int64_t kGroupSize = 4;

int pick(Random& random, std::size_t n) { return static_cast<int>(random.below(static_cast<int64_t>(n))); }

/// A value of an enumeration by weights that sum to 100.
template <class E, std::size_t N>
E weighted(Random& random, const std::array<int, N>& weights) {
  auto left = random.below(100);
  for (std::size_t i = 0; i < N; ++i) {
    left -= weights[i];
    if (left < 0) return static_cast<E>(i);
  }
  return static_cast<E>(N - 1);
}

}  // namespace

Person make_person(uint64_t seed, int64_t identity, int64_t outfit) {
  const auto id = static_cast<uint64_t>(identity);
  const auto worn = static_cast<uint64_t>(outfit);
  Person person;
  {
    Random random({seed, kPersonStream, id});
    person.skin = weighted<int>(random, std::array<int, 4>{45, 25, 18, 12});
    person.hair_colour = weighted<int>(random, std::array<int, 5>{46, 26, 12, 6, 10});
    person.hair = weighted<Hair>(random, std::array<int, 4>{46, 30, 16, 8});
    person.build = between(random, 0.86, 1.18);
    person.height = between(random, 0.94, 1.04);
    person.tint = between(random, -1, 1);
  }
  Outfit& wear = person.outfit;
  {
    // The colours of the group: its four members are told apart by everything else.
    Random random({seed, kGroupStream, static_cast<uint64_t>(identity / kGroupSize), worn});
    wear.upper_colour = pick(random, kClothColours.size());
    do {
      wear.second_colour = pick(random, kClothColours.size());
    } while (wear.second_colour == wear.upper_colour);
    wear.lower_colour = random.chance(0.6) ? std::array<int, 4>{0, 13, 2, 11}[static_cast<std::size_t>(random.below(4))]
                                           : pick(random, kClothColours.size());
  }
  Random random({seed, kOutfitStream, id, worn});
  if (random.chance(0.2)) std::swap(wear.upper_colour, wear.second_colour);
  wear.upper = weighted<Upper>(random, std::array<int, 4>{40, 28, 22, 10});
  wear.pattern = weighted<Pattern>(random, std::array<int, 8>{18, 14, 10, 12, 12, 16, 10, 8});
  wear.period = between(random, 0.055, 0.105);
  wear.lower = weighted<Lower>(random, std::array<int, 3>{62, 22, 16});
  wear.side_stripe = random.chance(0.2);
  wear.shoe_colour = pick(random, kClothColours.size());
  wear.hat = weighted<Hat>(random, std::array<int, 3>{72, 16, 12});
  wear.hat_colour = pick(random, kClothColours.size());
  wear.bag = weighted<Bag>(random, std::array<int, 4>{35, 30, 20, 15});
  wear.bag_colour = pick(random, kClothColours.size());
  wear.bag_left = random.chance(0.5);
  return person;
}

}  // namespace reid::datasets::synthetic
