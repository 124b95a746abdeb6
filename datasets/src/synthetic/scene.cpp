// SPDX-License-Identifier: Apache-2.0
// Cameras, backgrounds, occluders, and what the lens and the sensor do to them.
#include "scene.hpp"

namespace reid::datasets::synthetic {
namespace {

constexpr uint64_t kCameraStream = 0x63616d657261;
constexpr uint64_t kShotStream = 0x73686f74;
constexpr uint64_t kPlaceStream = 0x706c616365;

Rgb random_colour(Random& random, double low, double high) {
  const float base = between(random, low, high);
  return {std::clamp(base + 0.10F * bell(random), 0.02F, 1.0F), std::clamp(base + 0.07F * bell(random), 0.02F, 1.0F),
          std::clamp(base + 0.10F * bell(random), 0.02F, 1.0F)};
}

/// The scene behind: a wall with its structure, a ground, and things that stand at fixed places along it. `x` is
/// where along the scene the picture was taken, in picture heights.
void draw_background(Canvas& canvas, const Camera& camera, float x) {
  Random place({camera.key, kPlaceStream});
  const auto h = static_cast<float>(canvas.height());
  const auto w = static_cast<float>(canvas.width());
  const Rgb wall = random_colour(place, 0.35, 0.75), wall2 = random_colour(place, 0.2, 0.8);
  const Rgb ground = random_colour(place, 0.3, 0.6);
  const float period = between(place, 0.10, 0.32), tilt = between(place, -0.06, 0.06);
  const float line = camera.horizon * h;
  const auto offset = [&](float px) { return px / h + x; };
  for (int j = 0; j < canvas.height(); ++j) {
    for (int i = 0; i < canvas.width(); ++i) {
      const auto px = static_cast<float>(i) + 0.5F, py = static_cast<float>(j) + 0.5F;
      const float u = offset(px), edge = line + tilt * (px - 0.5F * w);
      Rgb c;
      if (py > edge) {
        const float depth = (py - edge) / (h - line + 1.0F);
        c = ground * (0.8F + 0.3F * depth);
        const float tile = (u - 0.5F) / (0.25F + depth) * 2.0F;
        if (camera.place % 2 == 0 && tile - std::floor(tile) < 0.06F) c = c * 0.8F;
        const float row = 4.0F * depth * depth * 2.0F;
        if (camera.place % 3 == 0 && row - std::floor(row) < 0.10F) c = c * 0.82F;
      } else {
        const float v = py / h;
        const float a = u / period, b = v / (0.6F * period);
        const float fa = a - std::floor(a), fb = b - std::floor(b);
        switch (camera.place % 4) {
          case 0: c = fa < 0.5F && fb > 0.3F ? mix(wall2, {0.25F, 0.3F, 0.36F}, 0.5F) : wall; break;   // windows
          case 1: c = fb < 0.12F || fa < 0.06F ? wall * 0.75F : wall; break;                          // bricks
          case 2: c = fa < 0.22F ? wall2 * 0.8F : mix(wall, {0.62F, 0.72F, 0.82F}, 0.55F); break;     // fence
          default: c = mix(wall, {0.22F, 0.36F, 0.16F}, 0.55F + 0.25F * (fa - 0.5F)); break;           // hedge
        }
        c = c * (0.92F + 0.16F * v);
      }
      canvas.at(i, j) = c;
    }
  }
  // Things along the scene: trees, poles, boxes, parked cars.
  const int things = 14;
  for (int t = 0; t < things; ++t) {
    const float where = between(place, -0.6, 4.6), size = between(place, 0.5, 1.2);
    const Rgb colour = random_colour(place, 0.12, 0.7);
    const auto kind = place.below(4);
    const float cx = (where - x) * h;
    if (cx < -0.6F * h || cx > w + 0.6F * h) continue;
    const float foot = line + 0.14F * h * size;
    if (kind == 0) {
      canvas.box(cx - 0.02F * h, 0.05F * h, cx + 0.02F * h, foot, [](Point) { return Rgb{0.27F, 0.2F, 0.14F}; });
      canvas.ellipse({cx, 0.1F * h}, 0.2F * h * size, 0.16F * h * size, [&](float u, float v, Point) {
        return Rgb{0.16F, 0.34F, 0.13F} * (1.0F - 0.25F * v + 0.1F * u);
      });
    } else if (kind == 1) {
      canvas.box(cx - 0.012F * h, 0, cx + 0.012F * h, foot, [&](Point) { return colour; });
    } else if (kind == 2) {
      canvas.box(cx - 0.13F * h * size, line - 0.12F * h * size, cx + 0.13F * h * size, foot,
                 [&](Point p) { return p.y < line - 0.05F * h * size ? colour * 1.2F : colour * 0.85F; });
    } else {
      canvas.ellipse({cx, line + 0.02F * h}, 0.3F * h * size, 0.1F * h * size,
                     [&](float, float v, Point) { return v < -0.2F ? Rgb{0.35F, 0.42F, 0.48F} : colour; });
      for (const float wheel : {-0.17F, 0.17F}) {
        canvas.ellipse({cx + wheel * h * size, line + 0.1F * h * size}, 0.05F * h * size, 0.05F * h * size,
                       [](float, float, Point) { return Rgb{0.06F, 0.06F, 0.06F}; });
      }
    }
  }
}

/// Something between camera and person.
void draw_occluder(Canvas& canvas, Random& random) {
  const auto h = static_cast<float>(canvas.height());
  const auto w = static_cast<float>(canvas.width());
  const Rgb colour = random_colour(random, 0.12, 0.7);
  const auto kind = random.below(4);
  if (kind == 0) {  // pole
    const float x = between(random, 0.15, 0.85) * w, half = between(random, 0.03, 0.07) * h;
    canvas.box(x - half, 0, x + half, h, [&](Point p) { return colour * (1.0F - 0.3F * (p.x - x) / half); });
  } else if (kind == 1) {  // hedge or car roof in front of the legs
    const float top = between(random, 0.58, 0.82) * h, bulge = between(random, 0.5, 1.1) * w;
    canvas.ellipse({between(random, 0.2, 0.8) * w, h + 0.1F * h}, bulge, h + 0.1F * h - top,
                   [&](float u, float v, Point) { return colour * (0.9F - 0.2F * v + 0.1F * u); });
  } else if (kind == 2) {  // a box on one side
    const bool left = random.chance(0.5);
    const float edge = between(random, 0.22, 0.42) * w, top = between(random, 0.35, 0.6) * h;
    canvas.box(left ? 0 : w - edge, top, left ? edge : w, h,
               [&](Point p) { return colour * (1.1F - 0.3F * (p.y - top) / (h - top)); });
  } else {  // bicycle wheels
    const float r = between(random, 0.13, 0.2) * h, y = h - r * 0.95F;
    for (const float x : {between(random, 0.05, 0.3) * w, between(random, 0.75, 1.0) * w}) {
      canvas.fill({x - r - 2, y - r - 2}, {x + r + 2, y + r + 2},
                  [&](Point p) {
                    const Point d = p - Point{x, y};
                    const float off = std::sqrt(dot(d, d)) - r;
                    return (off < 0 ? -off : off) - 0.012F * h;
                  },
                  [](Point) { return Rgb{0.08F, 0.08F, 0.09F}; });
    }
    canvas.limb({0.2F * w, y}, {0.8F * w, y - 0.4F * r}, 0.01F * h, 0.01F * h,
                [&](float, float, Point) { return colour; });
  }
}

/// One step of a separable blur; `weight` of both neighbours.
void soften(Canvas& canvas, float weight) {
  const int w = canvas.width(), h = canvas.height();
  Canvas copy = canvas;
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      const Rgb& a = copy.at(std::max(0, x - 1), y);
      const Rgb& b = copy.at(std::min(w - 1, x + 1), y);
      canvas.at(x, y) = copy.at(x, y) * (1 - 2 * weight) + (a + b) * weight;
    }
  }
  copy = canvas;
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      const Rgb& a = copy.at(x, std::max(0, y - 1));
      const Rgb& b = copy.at(x, std::min(h - 1, y + 1));
      canvas.at(x, y) = copy.at(x, y) * (1 - 2 * weight) + (a + b) * weight;
    }
  }
}

/// Blur whose variance is that of a box of this radius: steps of [1/4 1/2 1/4], variance 1/2 each.
void blur(Canvas& canvas, float radius) {
  float variance = radius * radius;
  while (variance > 0.02F) {
    const float step = std::min(variance, 0.5F);
    soften(canvas, 0.5F * step);
    variance -= step;
  }
}

std::vector<uint8_t> develop(const Canvas& canvas, const Camera& camera, float brightness, float contrast,
                             Random& random) {
  std::vector<uint8_t> bytes;
  bytes.reserve(static_cast<std::size_t>(canvas.width()) * static_cast<std::size_t>(canvas.height()) * 3);
  const auto tone = [&](float v, float gain, float lift) {
    v = std::clamp((v - 0.45F) * contrast + 0.45F, 0.0F, 1.0F) * gain * brightness + lift;
    v = std::clamp(v, 0.0F, 1.0F);
    return v + camera.curve * v * (1 - v);
  };
  for (int y = 0; y < canvas.height(); ++y) {
    for (int x = 0; x < canvas.width(); ++x) {
      Rgb c = canvas.at(x, y);
      const float gray = 0.3F * c.r + 0.59F * c.g + 0.11F * c.b;
      c = mix({gray, gray, gray}, c, camera.saturation);
      const float grain = camera.noise * bell(random);
      for (const float v : {tone(c.r, camera.gain.r, camera.lift.r), tone(c.g, camera.gain.g, camera.lift.g),
                            tone(c.b, camera.gain.b, camera.lift.b)}) {
        const float noisy = v + grain + 0.5F * camera.noise * (between(random, -1, 1));
        bytes.push_back(static_cast<uint8_t>(std::clamp(noisy, 0.0F, 1.0F) * 255.0F + 0.5F));
      }
    }
  }
  return bytes;
}

}  // namespace

Camera make_camera(uint64_t seed, int64_t camera) {
  Random random({seed, kCameraStream, static_cast<uint64_t>(camera)});
  Camera made;
  const float warm = 0.11F * bell(random), green = 0.04F * bell(random), exposure = between(random, 0.72, 1.2);
  made.gain = {exposure * (1 + warm), exposure * (1 + green), exposure * (1 - warm)};
  const float haze = between(random, 0, 0.09);
  made.lift = {haze, haze, haze * 1.1F};
  made.curve = between(random, -0.45, 0.55);
  made.saturation = between(random, 0.5, 1.2);
  made.blur = between(random, 0.0, 0.9);
  made.noise = between(random, 0.008, 0.035);
  made.light = between(random, -1, 1);
  made.facing = static_cast<int>(random.below(8));
  made.horizon = between(random, 0.16, 0.48);
  made.place = static_cast<int>(random.below(12));
  made.key = random.next();
  return made;
}

std::vector<uint8_t> draw(const Shot& shot, Seen* seen) {
  const Camera camera = make_camera(shot.seed, shot.camera);
  Random random({shot.seed, kShotStream, static_cast<uint64_t>(shot.camera), shot.key});
  Canvas canvas(shot.width, shot.height);
  const auto w = static_cast<float>(shot.width), h = static_cast<float>(shot.height);
  draw_background(canvas, camera, between(random, 0, 4));

  const auto stance = [&](float jitter) {
    Stance s;
    // Mostly the way that people walk under this camera, else any.
    const auto turn = random.chance(0.6) ? static_cast<int>(random.below(3)) - 1 : static_cast<int>(random.below(8));
    s.view = (camera.facing + turn + 8) & 7;
    s.scale = h * between(random, 0.86 - 0.5 * jitter, 0.94 + 0.6 * jitter);
    s.feet = {w * (0.5F + between(random, -jitter, jitter)), h * (0.965F + between(random, -0.6 * jitter, 0.8 * jitter))};
    s.stride = between(random, -1, 1);
    s.swing = s.stride * between(random, 0.4, 1.1);
    s.lean = 0.03F * bell(random);
    s.light = camera.light;
    return s;
  };

  if (!shot.hand_drawn && random.chance(0.18)) {  // a passer-by further away
    const Person other = make_person(shot.seed ^ 0x5eed, random.below(1000000), 0);
    Stance s = stance(0.05F);
    s.scale *= between(random, 0.6, 0.8);
    s.feet.x = w * (random.chance(0.5) ? between(random, -0.1, 0.12) : between(random, 0.88, 1.1));
    s.feet.y = h * between(random, 0.78, 0.9);
    draw_figure(canvas, other, s);
  }
  if (shot.identity >= 0) {
    const Person person = make_person(shot.seed, shot.identity, shot.outfit);
    Stance s = stance(shot.hand_drawn ? 0.03F : 0.08F);
    if (shot.spoiled) {  // half of somebody, or somebody small in a corner
      s.scale *= random.chance(0.5) ? between(random, 1.5, 2.2) : between(random, 0.35, 0.5);
      s.feet = {w * between(random, -0.1, 1.1), h * between(random, 0.75, 1.7)};
    } else if (!shot.hand_drawn && random.chance(0.14)) {  // the box cuts head or legs off
      s.scale *= between(random, 1.12, 1.3);
      s.feet.y = h * (random.chance(0.6) ? between(random, 1.08, 1.25) : between(random, 0.98, 1.02));
    }
    draw_figure(canvas, person, s);
    if (seen != nullptr) {
      const float tall = s.scale * person.height;
      *seen = {s.view, s.feet.y - tall > -0.02F * h, s.feet.y - 0.27F * tall < h, s.feet.y - 0.03F * tall < h};
    }
  }
  if (random.chance(shot.hand_drawn ? 0.05 : 0.16)) draw_occluder(canvas, random);

  // Far away: fewer pixels of the sensor. Blur grows with the size of the picture.
  const float distance = random.chance(0.25) ? between(random, 0.3, 0.9) : 0.0F;
  const float focus = camera.blur + distance;
  blur(canvas, focus * h / 128.0F);
  const float brightness = between(random, 0.85, 1.15), contrast = between(random, 0.85, 1.1);
  return develop(canvas, camera, brightness, contrast, random);
}

}  // namespace reid::datasets::synthetic
