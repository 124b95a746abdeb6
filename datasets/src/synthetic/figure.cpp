// SPDX-License-Identifier: Apache-2.0
// One pedestrian from head to shoes. Lengths are in body heights, y down from the top of the head at 0.
#include "scene.hpp"

namespace reid::datasets::synthetic {
namespace {

constexpr float kHeadY = 0.075F, kNeckY = 0.135F, kShoulderY = 0.175F, kHipY = 0.50F, kKneeY = 0.735F,
                kAnkleY = 0.95F;

float fraction(float x) { return x - std::floor(x); }
float absolute(float x) { return x < 0 ? -x : x; }

/// Cloth: its colour at (x, y), body heights from the middle of the chest, x to the figure's own right as seen.
class Cloth {
 public:
  Cloth(const Person& person, bool front, bool back)
      : wear_(person.outfit), front_(front), back_(back), one_(dye(person, person.outfit.upper_colour)),
        two_(dye(person, person.outfit.second_colour)) {}

  static Rgb dye(const Person& person, int colour) {
    const Rgb c = kClothColours[static_cast<std::size_t>(colour)].value;
    const float t = 0.05F * person.tint;
    return {std::clamp(c.r + t, 0.03F, 1.0F), std::clamp(c.g + 0.4F * t, 0.03F, 1.0F),
            std::clamp(c.b - 0.6F * t, 0.03F, 1.0F)};
  }

  Rgb at(float x, float y) const {
    const float p = wear_.period;
    switch (wear_.pattern) {
      case Pattern::plain: return one_;
      case Pattern::stripes_across: return fraction(y / p) < 0.5F ? one_ : two_;
      case Pattern::stripes_down: return fraction(x / p * 1.2F + 0.25F) < 0.5F ? one_ : two_;
      case Pattern::checks: {
        const bool a = fraction(x / p) < 0.5F, b = fraction(y / p) < 0.5F;
        return a == b ? (a ? one_ : mix(one_, two_, 0.35F)) : two_;
      }
      case Pattern::dots: {
        const float u = fraction(x / p + (fraction(y / p * 0.5F) < 0.5F ? 0.5F : 0.0F)) - 0.5F;
        const float v = fraction(y / p) - 0.5F;
        return u * u + v * v < 0.085F ? two_ : one_;
      }
      case Pattern::logo: {
        const bool seen = front_ || (back_ && wear_.side_stripe);
        const float u = x / 0.055F, v = (y - 0.09F) / 0.055F;
        const bool inside = wear_.bag_left ? u * u + v * v < 1.0F : std::max(absolute(u), absolute(v * 1.6F)) < 1.0F;
        return seen && inside ? two_ : one_;
      }
      case Pattern::yoke: return y < 0.5F * p + 0.06F ? two_ : one_;
      case Pattern::sash: {
        const float d = wear_.bag_left ? x - y + 0.12F : x + y - 0.12F;
        return absolute(d) < 0.5F * p ? two_ : one_;
      }
    }
    return one_;
  }
  Rgb plain() const { return wear_.pattern == Pattern::yoke ? two_ : one_; }
  Rgb second() const { return two_; }

 private:
  const Outfit& wear_;
  bool front_, back_;
  Rgb one_, two_;
};

/// Round bodies are darker at the edges and on the side away from the light.
Rgb shaded(Rgb c, float across, float light) {
  return c * (1.02F - 0.26F * across * across + 0.16F * light * across);
}

class Figure {
 public:
  Figure(Canvas& canvas, const Person& person, const Stance& stance)
      : canvas_(canvas), person_(person), wear_(person.outfit), stance_(stance),
        cloth_(person, stance.view <= 1 || stance.view == 7, stance.view >= 3 && stance.view <= 5) {
    // Cosine and sine of the view in steps of 45 degrees.
    constexpr std::array<float, 8> kCosine{1, 0.7071F, 0, -0.7071F, -1, -0.7071F, 0, 0.7071F};
    const auto view = static_cast<std::size_t>(stance.view & 7);
    facing_ = kCosine[view];
    side_ = kCosine[(view + 6) & 7];  // > 0: walks to the right of the picture
    width_ = person.build * (0.62F + 0.38F * absolute(facing_));
    skin_ = kSkinColours[static_cast<std::size_t>(person.skin)].value;
    hair_ = kHairColours[static_cast<std::size_t>(person.hair_colour)].value;
    trousers_ = Cloth::dye(person, wear_.lower_colour);
    bag_ = Cloth::dye(person, wear_.bag_colour);
  }

  void draw() {
    shadow();
    if (wear_.bag == Bag::backpack && facing_ > -0.5F) backpack();
    arm(-1);
    leg(-1);
    leg(1);
    if (wear_.lower == Lower::skirt) skirt();
    torso();
    if (wear_.bag == Bag::backpack && facing_ <= -0.5F) backpack();
    if (wear_.bag == Bag::backpack && facing_ > 0.5F) straps();
    if (wear_.bag == Bag::shoulder_bag) shoulder_bag();
    arm(1);
    if (wear_.bag == Bag::handbag) handbag();
    head();
  }

 private:
  float px(float length) const { return length * stance_.scale; }
  /// A point of the body in pixels; x to the right of the picture from the body's middle line.
  Point at(float x, float y) const {
    const float up = 1.0F - y;
    return {stance_.feet.x + px(x * person_.height + stance_.lean * up), stance_.feet.y - px(up * person_.height)};
  }
  float light() const { return stance_.light; }

  void shadow() {
    canvas_.ellipse(at(0.04F * light(), 0.995F), px(0.17F), px(0.022F),
                    [](float, float, Point) { return Rgb{0.08F, 0.08F, 0.09F}; }, 0.45F);
  }

  /// `which` -1: the far or left leg, 1: the near or right one.
  void leg(int which) {
    const auto sign = static_cast<float>(which);
    const float apart = 0.052F * width_ * absolute(facing_) + 0.008F;
    const float step = sign * stance_.stride;
    const Point hip = at(sign * apart, kHipY - 0.01F);
    const float forward = 0.13F * step * side_;
    const float lift = step > 0 ? 0.018F * step : 0.0F;
    const Point knee = at(sign * apart + 0.55F * forward + 0.012F * side_ * absolute(step), kKneeY - lift);
    const Point ankle = at(sign * apart * 0.9F + forward, kAnkleY - 1.6F * lift);
    const float far = which < 0 ? 0.86F : 1.0F;
    const float thick = person_.build;
    const bool shorts = wear_.lower == Lower::shorts, skirt = wear_.lower == Lower::skirt;
    const auto cloth = [&](float, float s, Point) {
      Rgb c = trousers_;
      if (wear_.side_stripe && !skirt && s * sign > 0.35F) c = cloth_.second();
      return shaded(c, s, light()) * far;
    };
    const auto skin = [&](float, float s, Point) { return shaded(skin_, s, light()) * far; };
    if (shorts || skirt) {
      canvas_.limb(knee, ankle, px(0.036F * thick), px(0.026F * thick), skin);
      canvas_.limb(hip, knee, px(0.056F * thick), px(0.038F * thick), skin);
      if (shorts) {
        const Point hem = hip + (knee - hip) * 0.85F;
        canvas_.limb(hip, hem, px(0.062F * thick), px(0.056F * thick), cloth);
      }
    } else {
      canvas_.limb(knee, ankle, px(0.044F * thick), px(0.034F * thick), cloth);
      canvas_.limb(hip, knee, px(0.062F * thick), px(0.047F * thick), cloth);
    }
    const Rgb shoe = Cloth::dye(person_, wear_.shoe_colour) * far;
    const Point sole = ankle + Point{px(0.022F * side_), px(0.026F)};
    canvas_.ellipse(sole, px(0.032F + 0.022F * absolute(side_)), px(0.022F),
                    [&](float, float v, Point) { return v > 0.55F ? shoe * 0.5F : shoe; });
  }

  void skirt() {
    const float top = 0.085F * width_, hem = 0.125F * width_;
    canvas_.polygon(std::array<Point, 4>{at(-top, kHipY - 0.05F), at(top, kHipY - 0.05F), at(hem, 0.685F),
                                         at(-hem, 0.685F)},
                    [&](Point p) {
                      const float s = (p.x - stance_.feet.x) / std::max(px(hem), 1.0F);
                      const float fold = 0.06F * (fraction(s * 2.5F) - 0.5F);
                      return shaded(trousers_, std::clamp(s, -1.0F, 1.0F), light()) * (1.0F + fold);
                    });
  }

  void torso() {
    const float shoulder = 0.125F * width_, hip = 0.098F * width_, neck = 0.04F * width_;
    const std::array<Point, 8> outline{at(-neck, kNeckY + 0.008F),          at(neck, kNeckY + 0.008F),
                                       at(shoulder * 0.85F, kShoulderY - 0.018F), at(shoulder, kShoulderY + 0.02F),
                                       at(hip, kHipY + 0.015F),             at(-hip, kHipY + 0.015F),
                                       at(-shoulder, kShoulderY + 0.02F),   at(-shoulder * 0.85F, kShoulderY - 0.018F)};
    const Point chest = at(0, kShoulderY);
    const bool open = wear_.upper == Upper::open_jacket && facing_ > 0.5F;
    canvas_.polygon(outline, [&](Point p) {
      const float y = (p.y - chest.y) / stance_.scale;
      const float x = (p.x - chest.x) / stance_.scale + stance_.lean * y;
      const float s = std::clamp(x / shoulder, -1.0F, 1.0F);
      // The cloth turns with the body: seen from the side, other stripes are in view.
      Rgb c = cloth_.at(x - 0.05F * side_, y);
      if (open && absolute(x - 0.02F * side_) < 0.034F + 0.06F * y) c = mix(cloth_.second(), Rgb{1, 1, 1}, 0.15F);
      if (y > 0.31F) c = c * 0.82F;
      return shaded(c, s, light());
    });
  }

  void arm(int which) {
    const auto sign = static_cast<float>(which);
    const float shoulder = 0.118F * width_ * (0.25F + 0.75F * absolute(facing_));
    const float swing = -sign * stance_.swing;
    const Point top = at(sign * shoulder, kShoulderY + 0.022F);
    const float reach = 0.10F * swing * side_;
    const Point elbow = at(sign * (shoulder + 0.022F * absolute(facing_)) + 0.6F * reach, kShoulderY + 0.175F);
    const Point hand = at(sign * (shoulder + 0.018F * absolute(facing_)) + 1.35F * reach + 0.02F * side_,
                          kShoulderY + 0.325F - 0.03F * absolute(swing));
    const float far = which < 0 && absolute(side_) > 0.5F ? 0.82F : 0.95F;
    const float thick = person_.build;
    const auto skin = [&](float, float s, Point) { return shaded(skin_, s, light()) * far; };
    const auto sleeve = [&](float t, float s, Point p) {
      const bool across = wear_.pattern == Pattern::stripes_across || wear_.pattern == Pattern::checks;
      const Rgb c = across ? cloth_.at(0.02F * s, (p.y - top.y) / stance_.scale) : cloth_.plain();
      return shaded(c, s, light()) * (far - 0.05F * t);
    };
    canvas_.limb(top, elbow, px(0.034F * thick), px(0.028F * thick), skin);
    canvas_.limb(elbow, hand, px(0.027F * thick), px(0.02F * thick), skin);
    if (wear_.upper == Upper::long_sleeves || wear_.upper == Upper::open_jacket) {
      canvas_.limb(elbow, elbow + (hand - elbow) * 0.86F, px(0.033F * thick), px(0.027F * thick), sleeve);
      canvas_.limb(top, elbow, px(0.04F * thick), px(0.034F * thick), sleeve);
    } else if (wear_.upper == Upper::t_shirt) {
      canvas_.limb(top, top + (elbow - top) * 0.62F, px(0.041F * thick), px(0.039F * thick), sleeve);
    }
    if (which > 0) hand_ = hand;
  }

  void backpack() {
    const float half = facing_ <= -0.5F ? 0.085F * width_ : 0.07F;
    const float shift = -0.105F * side_;
    if (facing_ > 0.5F && absolute(side_) < 0.5F) return;  // from the front only the straps show
    const Point a = at(shift - half, kShoulderY + 0.01F), b = at(shift + half, kShoulderY + 0.265F);
    const float corner = px(0.02F);
    canvas_.limb({a.x + corner * 2, a.y + corner}, {b.x - corner * 2, a.y + corner}, corner * 2, corner * 2,
                 [&](float, float, Point) { return bag_; });
    canvas_.box(a.x, a.y + corner, b.x, b.y, [&](Point p) {
      const float v = (p.y - a.y) / std::max(b.y - a.y, 1.0F), u = (p.x - a.x) / std::max(b.x - a.x, 1.0F);
      const bool pocket = v > 0.55F && v < 0.92F && u > 0.15F && u < 0.85F;
      return shaded(pocket ? bag_ * 0.72F + Rgb{0.03F, 0.03F, 0.03F} : bag_, 2 * u - 1, light());
    });
  }

  void straps() {
    for (const float sign : {-1.0F, 1.0F}) {
      canvas_.limb(at(sign * 0.062F * width_, kShoulderY - 0.015F), at(sign * 0.075F * width_, kShoulderY + 0.16F),
                   px(0.013F), px(0.013F), [&](float, float, Point) { return bag_ * 0.85F; });
    }
  }

  void shoulder_bag() {
    const float sign = (wear_.bag_left ? -1.0F : 1.0F) * (facing_ >= 0 ? 1.0F : -1.0F);
    const Point bag = at(sign * 0.115F * width_, kHipY + 0.03F);
    canvas_.limb(at(-sign * 0.075F * width_, kShoulderY - 0.005F), bag, px(0.010F), px(0.010F),
                 [&](float, float, Point) { return bag_ * 0.75F; });
    canvas_.box(bag.x - px(0.058F), bag.y - px(0.03F), bag.x + px(0.058F), bag.y + px(0.06F), [&](Point p) {
      return p.y < bag.y - px(0.005F) ? bag_ * 0.7F : bag_;
    });
  }

  void handbag() {
    const Point grip = hand_;
    canvas_.limb(grip, {grip.x, grip.y + px(0.05F)}, px(0.008F), px(0.02F),
                 [&](float, float, Point) { return bag_ * 0.6F; });
    canvas_.polygon(std::array<Point, 4>{{{grip.x - px(0.04F), grip.y + px(0.045F)},
                                          {grip.x + px(0.04F), grip.y + px(0.045F)},
                                          {grip.x + px(0.058F), grip.y + px(0.135F)},
                                          {grip.x - px(0.058F), grip.y + px(0.135F)}}},
                    [&](Point) { return bag_; });
  }

  void head() {
    const Point centre = at(0.012F * side_, kHeadY);
    const float rx = px(0.05F + 0.004F * absolute(side_)), ry = px(0.066F);
    const bool back = facing_ < -0.5F;
    const bool bald = person_.hair == Hair::bald;
    if (person_.hair == Hair::long_hair) {
      canvas_.limb(at(-0.012F * side_, kHeadY - 0.01F), at(-0.018F * side_, kShoulderY + (back ? 0.055F : 0.02F)),
                   px(0.062F), px(0.056F), [&](float, float s, Point) { return shaded(hair_, s, light()); });
    }
    if (!(back && person_.hair == Hair::long_hair)) {
      canvas_.limb(at(0.004F * side_, kHeadY + 0.03F), at(0, kNeckY + 0.02F), px(0.028F), px(0.034F),
                   [&](float, float s, Point) { return shaded(skin_, s, light()) * 0.85F; });
    }
    canvas_.ellipse(centre, rx, ry, [&](float u, float v, Point) {
      // The face is the part of the head that looks where the figure goes.
      const float brow = -0.28F, face = facing_ * 0.9F + side_ * u * 1.3F;
      const bool hairy = !bald && (v < brow || face < -0.15F);
      Rgb c = hairy ? hair_ : skin_;
      if (!hairy && facing_ > 0.3F) {
        const float eye = absolute(absolute(u - 0.3F * side_) - 0.38F);
        if (eye < 0.17F && absolute(v + 0.06F) < 0.09F) c = c * 0.45F;
        if (absolute(u - 0.3F * side_) < 0.25F && absolute(v - 0.5F) < 0.07F) c = mix(c, Rgb{0.6F, 0.25F, 0.25F}, 0.6F);
      }
      return shaded(c, u, light());
    });
    if (person_.hair == Hair::ponytail && facing_ < 0.5F) {
      const float tail = -0.055F * side_;
      canvas_.limb(at(tail, kHeadY), at(tail * 1.5F, kShoulderY + 0.04F), px(0.024F), px(0.014F),
                   [&](float, float s, Point) { return shaded(hair_, s, light()) * 0.9F; });
    }
    if (wear_.hat == Hat::none) return;
    const Rgb hat = Cloth::dye(person_, wear_.hat_colour);
    const Point top = at(0.01F * side_, kHeadY - 0.028F);
    canvas_.fill({top.x - rx * 1.25F, top.y - ry}, {top.x + rx * 1.25F, top.y},
                 [&](Point p) {
                   const float u = (p.x - top.x) / (rx * 1.14F), v = (p.y - top.y) / (ry * 0.78F);
                   return std::max((std::sqrt(u * u + v * v) - 1.0F) * rx, p.y - top.y);
                 },
                 [&](Point p) {
                   const bool band = wear_.hat == Hat::beanie && p.y > top.y - px(0.018F);
                   return shaded(band ? hat * 0.7F : hat, std::clamp((p.x - top.x) / rx, -1.0F, 1.0F), light());
                 });
    if (wear_.hat == Hat::cap && facing_ > -0.5F) {
      const float reach = 0.05F * side_;
      canvas_.limb(at(0.012F * side_ - 0.03F * absolute(facing_), kHeadY - 0.026F),
                   at(0.012F * side_ + 0.03F * absolute(facing_) + 1.4F * reach, kHeadY - 0.022F), px(0.012F), px(0.010F),
                   [&](float, float, Point) { return hat * 0.75F; });
    }
  }

  Canvas& canvas_;
  const Person& person_;
  const Outfit& wear_;
  const Stance& stance_;
  Cloth cloth_;
  float facing_ = 1, side_ = 0, width_ = 1;
  Rgb skin_, hair_, trousers_, bag_;
  Point hand_;
};

}  // namespace

void draw_figure(Canvas& canvas, const Person& person, const Stance& stance) {
  Figure(canvas, person, stance).draw();
}

}  // namespace reid::datasets::synthetic
