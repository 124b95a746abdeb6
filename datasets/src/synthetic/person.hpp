// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "canvas.hpp"
#include "reid/core/random.hpp"

/// What a drawn person looks like, in words: pictures are drawn from it, and captions can be written from it.
namespace reid::datasets::synthetic {

enum class Pattern { plain, stripes_across, stripes_down, checks, dots, logo, yoke, sash };
enum class Upper { t_shirt, long_sleeves, open_jacket, vest };
enum class Lower { trousers, shorts, skirt };
enum class Hair { short_hair, long_hair, ponytail, bald };
enum class Hat { none, cap, beanie };
enum class Bag { none, backpack, shoulder_bag, handbag };

/// A colour that has a name.
struct NamedColour {
  const char* name;
  Rgb value;
};
inline constexpr std::array<NamedColour, 14> kClothColours{{{"black", {0.10F, 0.10F, 0.11F}},
                                                            {"white", {0.90F, 0.90F, 0.88F}},
                                                            {"gray", {0.48F, 0.48F, 0.50F}},
                                                            {"red", {0.75F, 0.14F, 0.14F}},
                                                            {"blue", {0.15F, 0.27F, 0.68F}},
                                                            {"light blue", {0.48F, 0.68F, 0.88F}},
                                                            {"green", {0.16F, 0.48F, 0.23F}},
                                                            {"yellow", {0.90F, 0.78F, 0.22F}},
                                                            {"orange", {0.88F, 0.48F, 0.14F}},
                                                            {"pink", {0.90F, 0.56F, 0.66F}},
                                                            {"purple", {0.45F, 0.22F, 0.55F}},
                                                            {"brown", {0.42F, 0.28F, 0.17F}},
                                                            {"beige", {0.78F, 0.70F, 0.54F}},
                                                            {"dark blue", {0.10F, 0.14F, 0.34F}}}};
inline constexpr std::array<NamedColour, 5> kHairColours{{{"black", {0.07F, 0.06F, 0.06F}},
                                                          {"brown", {0.28F, 0.18F, 0.11F}},
                                                          {"blond", {0.72F, 0.58F, 0.34F}},
                                                          {"red", {0.48F, 0.22F, 0.11F}},
                                                          {"gray", {0.62F, 0.61F, 0.60F}}}};
inline constexpr std::array<NamedColour, 4> kSkinColours{{{"fair", {0.88F, 0.70F, 0.60F}},
                                                          {"tanned", {0.78F, 0.58F, 0.45F}},
                                                          {"brown", {0.58F, 0.40F, 0.29F}},
                                                          {"dark", {0.38F, 0.26F, 0.19F}}}};

/// What someone wears; changes between the outfits of one person.
struct Outfit {
  Upper upper = Upper::t_shirt;
  Pattern pattern = Pattern::plain;
  int upper_colour = 0;
  int second_colour = 1;    ///< of the pattern, or of what an open jacket shows
  float period = 0.06F;     ///< of stripes, checks and dots, in body heights
  Lower lower = Lower::trousers;
  int lower_colour = 0;
  bool side_stripe = false; ///< along the trousers
  int shoe_colour = 0;
  Hat hat = Hat::none;
  int hat_colour = 0;
  Bag bag = Bag::none;
  int bag_colour = 0;
  bool bag_left = false;
};

struct Person {
  int skin = 0;
  int hair_colour = 0;
  Hair hair = Hair::short_hair;
  float build = 1.0F;   ///< width
  float height = 1.0F;
  float tint = 0.0F;    ///< small own deviation of all cloth colours, in -1..1
  Outfit outfit;
};

/// Identity number `identity` of the world `seed`, in its outfit number `outfit`. People come in groups of four
/// whose clothes have the same colours: within a group only pattern, cut, bag, hat, hair and shoes tell who is who.
Person make_person(uint64_t seed, int64_t identity, int64_t outfit);

/// Roughly normal, from exact arithmetic: the sum of four uniforms, scaled to unit variance.
inline float bell(Random& random) {
  double sum = 0;  // one after the other: the order of calls within one expression isn't fixed
  for (int i = 0; i < 4; ++i) sum += random.uniform();
  return static_cast<float>((sum - 2.0) * 1.7320508);
}
inline float between(Random& random, double low, double high) {
  return static_cast<float>(random.uniform(low, high));
}

}  // namespace reid::datasets::synthetic
