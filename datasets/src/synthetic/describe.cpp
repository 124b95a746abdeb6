// SPDX-License-Identifier: Apache-2.0
#include "describe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace reid::datasets::synthetic {
namespace {

using Words = std::vector<std::string>;

std::string one_of(Random& random, const Words& words) {
  return words[static_cast<std::size_t>(random.below(static_cast<int64_t>(words.size())))];
}

/// A colour in one of the ways that people say it.
std::string colour(Random& random, int index) {
  const std::string name = kClothColours[static_cast<std::size_t>(index)].name;
  if (name == "gray") return one_of(random, {"gray", "grey"});
  if (name == "light blue") return one_of(random, {"light blue", "sky blue"});
  if (name == "dark blue") return one_of(random, {"dark blue", "navy"});
  if (name == "beige") return one_of(random, {"beige", "cream"});
  if (name == "purple") return one_of(random, {"purple", "violet"});
  return name;
}

std::string with_article(const std::string& noun) {
  const bool vowel = std::string("aeiou").find(noun[0]) != std::string::npos;
  return fmt::format("{} {}", vowel ? "an" : "a", noun);
}

class Describer {
 public:
  Describer(const Person& person, const Seen& seen, Random& random)
      : person_(person), wear_(person.outfit), seen_(seen), random_(random), front_(seen.view <= 1 || seen.view == 7),
        back_(seen.view >= 3 && seen.view <= 5) {}

  std::string sentence() {
    Words parts;
    parts.push_back(upper());
    parts.push_back(lower());
    if (wear_.bag != Bag::none) parts.push_back(bag());
    if (seen_.head) parts.push_back(wear_.hat == Hat::none ? hair() : hat());
    if (seen_.feet) parts.push_back(with_colour(wear_.shoe_colour, {"shoes", "sneakers"}));
    random_.shuffle(parts);
    const auto most = static_cast<int64_t>(parts.size());
    const auto named = static_cast<std::size_t>(std::min<int64_t>(most, 2 + random_.below(3)));
    parts.resize(named);

    std::string text = one_of(random_, {"A person", "The pedestrian", "Someone", "This person", "A walker"});
    if (random_.chance(0.18)) text += fmt::format(" of {} build", build());
    if (random_.chance(0.45)) text += fmt::format(", {},", view());
    // Hair isn't worn.
    const bool hair_named = std::any_of(parts.begin(), parts.end(), [](const std::string& part) {
      return part.find("hair") != std::string::npos || part.find("bald") != std::string::npos;
    });
    text += hair_named ? one_of(random_, {" has ", " is seen with ", " can be told by "})
                       : one_of(random_, {" wears ", " is seen with ", " has ", " is dressed in "});
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (i > 0) text += i + 1 == parts.size() ? one_of(random_, {" and ", " as well as "}) : ", ";
      text += parts[i];
    }
    text.push_back('.');
    return text;
  }

 private:
  // Random numbers are drawn one statement at a time: the order within an expression isn't fixed.
  std::string with_colour(int index, const Words& nouns) {
    const std::string c = colour(random_, index);
    return fmt::format("{} {}", c, one_of(random_, nouns));
  }

  std::string build() const { return person_.build > 1.06F ? "strong" : person_.build < 0.94F ? "slim" : "medium"; }

  std::string view() {
    switch (seen_.view) {
      case 0: case 1: case 7: return one_of(random_, {"seen from the front", "facing the camera", "coming closer"});
      case 2: return one_of(random_, {"walking to the right", "seen from the side"});
      case 6: return one_of(random_, {"walking to the left", "seen from the side"});
      default: return one_of(random_, {"seen from behind", "walking away", "with the back to the camera"});
    }
  }

  std::string upper() {
    Words names;
    switch (wear_.upper) {
      case Upper::t_shirt: names = {"t-shirt", "short sleeved shirt"}; break;
      case Upper::long_sleeves: names = {"long sleeved shirt", "sweater"}; break;
      case Upper::open_jacket: names = {"jacket", "coat"}; break;
      case Upper::vest: names = {"vest", "sleeveless shirt"}; break;
    }
    const std::string garment = with_article(with_colour(wear_.upper_colour, names));
    const std::string second = colour(random_, wear_.second_colour);
    const std::string marked = garment + marks(second);
    if (wear_.upper == Upper::open_jacket && front_ && random_.chance(0.5)) {
      return fmt::format("{}, open over something {}", marked, second);
    }
    return marked;
  }

  /// What the pattern adds, where it can be seen.
  std::string marks(const std::string& second) {
    const auto with = [&](const char* format, const Words& words) {
      return fmt::format(fmt::runtime(format), second, one_of(random_, words));
    };
    switch (wear_.pattern) {
      case Pattern::plain: return "";
      case Pattern::stripes_across: return with(" with {} {}", {"horizontal stripes", "stripes across"});
      case Pattern::stripes_down: return with(" with {} {}", {"vertical stripes", "stripes down"});
      case Pattern::checks: return with(" {1} {0}", {"checked with", "with checks in"});
      case Pattern::dots: return with(" with {} {}", {"dots", "spots"});
      case Pattern::logo:
        if (front_) return with(" with a {} {} on the chest", {"logo", "print"});
        if (back_ && wear_.side_stripe) return with(" with a {} {} on the back", {"logo", "print"});
        return "";
      case Pattern::yoke: return with(" with {} {}", {"shoulders", "upper part"});
      case Pattern::sash: return with(" with a {} {}", {"diagonal stripe", "sash"});
    }
    return "";
  }

  std::string lower() {
    switch (wear_.lower) {
      case Lower::trousers: {
        const std::string text = with_colour(wear_.lower_colour, {"trousers", "pants"});
        return wear_.side_stripe && seen_.legs ? text + " with a stripe along the side" : text;
      }
      case Lower::shorts: return with_colour(wear_.lower_colour, {"shorts", "short trousers"});
      case Lower::skirt: break;
    }
    return with_article(with_colour(wear_.lower_colour, {"skirt"}));
  }

  std::string bag() {
    switch (wear_.bag) {
      case Bag::backpack: {
        const std::string text = with_article(with_colour(wear_.bag_colour, {"backpack", "rucksack"}));
        return front_ ? fmt::format("the straps of {}", text) : text;
      }
      case Bag::shoulder_bag: return with_article(with_colour(wear_.bag_colour, {"shoulder bag", "bag over the shoulder"}));
      default: return with_article(with_colour(wear_.bag_colour, {"handbag", "bag in the hand"}));
    }
  }

  std::string hat() {
    return with_article(wear_.hat == Hat::cap ? with_colour(wear_.hat_colour, {"cap", "baseball cap"})
                                              : with_colour(wear_.hat_colour, {"beanie", "woollen hat"}));
  }

  std::string hair() {
    const char* c = kHairColours[static_cast<std::size_t>(person_.hair_colour)].name;
    switch (person_.hair) {
      case Hair::bald: return one_of(random_, {"a bald head", "no hair"});
      case Hair::long_hair: return fmt::format("long {} hair", c);
      case Hair::ponytail: return fmt::format(fmt::runtime(front_ ? "{} hair" : "{} hair in a ponytail"), c);
      case Hair::short_hair: break;
    }
    return fmt::format("short {} hair", c);
  }

  const Person& person_;
  const Outfit& wear_;
  const Seen& seen_;
  Random& random_;
  bool front_, back_;
};

}  // namespace

std::string describe(const Person& person, const Seen& seen, Random& random) {
  return Describer(person, seen, random).sentence();
}

}  // namespace reid::datasets::synthetic
