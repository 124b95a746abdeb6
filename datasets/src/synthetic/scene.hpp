// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "canvas.hpp"
#include "person.hpp"

namespace reid::datasets::synthetic {

/// What a camera does to everything it sees, and where it stands.
struct Camera {
  Rgb gain{1, 1, 1};
  Rgb lift{0, 0, 0};
  float curve = 0;        ///< tone: > 0 brightens the middle, < 0 darkens it
  float saturation = 1;
  float blur = 0;         ///< radius in pixels of a picture 128 high
  float noise = 0.01F;
  float light = 0;        ///< side from which the light comes, -1..1
  int facing = 0;         ///< view seen most often, 0..7 in steps of 45 degrees: 0 front, 2 right, 4 back
  float horizon = 0.35F;
  int place = 0;          ///< kind of background
  uint64_t key = 0;
};
Camera make_camera(uint64_t seed, int64_t camera);

/// One picture to draw.
struct Shot {
  uint64_t seed = 0;
  int64_t camera = 1;
  uint64_t key = 0;         ///< unique to the picture: pose, place, occlusion and noise come from it
  int64_t identity = -1;    ///< < 0: nobody, the background alone
  int64_t outfit = 0;
  bool hand_drawn = false;  ///< the box was drawn by hand: well aligned, hardly occluded
  bool spoiled = false;     ///< a box that a detector got badly wrong
  int width = 64;
  int height = 128;
};

/// What a picture shows of its person.
struct Seen {
  int view = 0;      ///< 0..7 as in Stance
  bool head = true;  ///< whole
  bool legs = true;  ///< down to the knees at least
  bool feet = true;
};

/// Draws a picture; RGB bytes [height, width, 3]. A function of its argument alone.
/// @param seen  filled if it isn't null and the shot has a person. Occluders aren't looked at.
std::vector<uint8_t> draw(const Shot& shot, Seen* seen = nullptr);

/// How a figure stands in the picture.
struct Stance {
  Point feet;          ///< between the feet
  float scale = 100;   ///< pixels per body height
  int view = 0;        ///< 0..7: 0 front, 2 its left side turned to us (walks right), 4 back, 6 walks left
  float stride = 0;    ///< -1..1
  float swing = 0;     ///< of the arms, -1..1
  float lean = 0;
  float light = 0;
};
void draw_figure(Canvas& canvas, const Person& person, const Stance& stance);

}  // namespace reid::datasets::synthetic
