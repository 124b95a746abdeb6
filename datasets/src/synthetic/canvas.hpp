// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

/// A small rasteriser with antialiased edges. Only operations that IEEE 754 fixes to the last bit are used (+ - * /,
/// sqrt, floor, comparisons), and the files that use it are compiled without contraction to fused multiply-add, so
/// that a picture is the same on every machine.
namespace reid::datasets::synthetic {

struct Rgb {
  float r = 0, g = 0, b = 0;
};
inline Rgb operator*(Rgb c, float s) { return {c.r * s, c.g * s, c.b * s}; }
inline Rgb operator+(Rgb a, Rgb b) { return {a.r + b.r, a.g + b.g, a.b + b.b}; }
inline Rgb mix(Rgb a, Rgb b, float t) { return a * (1.0F - t) + b * t; }

struct Point {
  float x = 0, y = 0;
};
inline Point operator+(Point a, Point b) { return {a.x + b.x, a.y + b.y}; }
inline Point operator-(Point a, Point b) { return {a.x - b.x, a.y - b.y}; }
inline Point operator*(Point a, float s) { return {a.x * s, a.y * s}; }
inline float dot(Point a, Point b) { return a.x * b.x + a.y * b.y; }

/// Colours in 0..1, row-major. Coordinates are pixels, pixel (i, j) has its centre at (i + 0.5, j + 0.5).
class Canvas {
 public:
  Canvas(int width, int height)
      : width_(width), height_(height), pixels_(static_cast<std::size_t>(width) * static_cast<std::size_t>(height)) {}
  int width() const { return width_; }
  int height() const { return height_; }
  Rgb& at(int x, int y) { return pixels_[static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) + static_cast<std::size_t>(x)]; }
  const Rgb& at(int x, int y) const {
    return pixels_[static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) + static_cast<std::size_t>(x)];
  }

  /// Fills where `distance(p)` (pixels, negative inside) is below the edge; `paint(p)` gives the colour.
  template <class Distance, class Paint>
  void fill(Point low, Point high, Distance&& distance, Paint&& paint, float opacity = 1.0F) {
    const int x0 = std::max(0, static_cast<int>(std::floor(low.x - 1)));
    const int y0 = std::max(0, static_cast<int>(std::floor(low.y - 1)));
    const int x1 = std::min(width_, static_cast<int>(std::floor(high.x + 2)));
    const int y1 = std::min(height_, static_cast<int>(std::floor(high.y + 2)));
    for (int y = y0; y < y1; ++y) {
      for (int x = x0; x < x1; ++x) {
        const Point p{static_cast<float>(x) + 0.5F, static_cast<float>(y) + 0.5F};
        const float cover = std::clamp(0.5F - distance(p), 0.0F, 1.0F) * opacity;
        if (cover > 0) at(x, y) = mix(at(x, y), paint(p), cover);
      }
    }
  }

  /// A limb from `a` (radius `ra`) to `b` (radius `rb`). `paint(t, s, p)`: t along it 0..1, s across it -1..1.
  template <class Paint>
  void limb(Point a, Point b, float ra, float rb, Paint&& paint) {
    const Point d = b - a;
    const float length2 = std::max(dot(d, d), 1e-6F);
    const float length = std::sqrt(length2);
    const auto along = [&](Point p) { return std::clamp(dot(p - a, d) / length2, 0.0F, 1.0F); };
    const float r = std::max(ra, rb);
    fill({std::min(a.x, b.x) - r, std::min(a.y, b.y) - r}, {std::max(a.x, b.x) + r, std::max(a.y, b.y) + r},
         [&](Point p) {
           const float t = along(p);
           const Point off = p - (a + d * t);
           return std::sqrt(dot(off, off)) - (ra + (rb - ra) * t);
         },
         [&](Point p) {
           const float t = along(p);
           const float across = ((p.y - a.y) * d.x - (p.x - a.x) * d.y) / length;
           return paint(t, std::clamp(-across / std::max(ra + (rb - ra) * t, 0.5F), -1.0F, 1.0F), p);
         });
  }

  /// An ellipse; `paint(u, v, p)` with u, v in -1..1 over its box.
  template <class Paint>
  void ellipse(Point c, float rx, float ry, Paint&& paint, float opacity = 1.0F) {
    rx = std::max(rx, 0.3F);
    ry = std::max(ry, 0.3F);
    fill({c.x - rx, c.y - ry}, {c.x + rx, c.y + ry},
         [&](Point p) {
           const float u = (p.x - c.x) / rx, v = (p.y - c.y) / ry;
           return (std::sqrt(u * u + v * v) - 1.0F) * std::min(rx, ry);
         },
         [&](Point p) { return paint((p.x - c.x) / rx, (p.y - c.y) / ry, p); }, opacity);
  }

  /// A convex polygon, corners clockwise on the screen (y down).
  template <std::size_t N, class Paint>
  void polygon(const std::array<Point, N>& corners, Paint&& paint, float opacity = 1.0F) {
    Point low = corners[0], high = corners[0];
    std::array<Point, N> normals;
    for (std::size_t i = 0; i < N; ++i) {
      low = {std::min(low.x, corners[i].x), std::min(low.y, corners[i].y)};
      high = {std::max(high.x, corners[i].x), std::max(high.y, corners[i].y)};
      const Point d = corners[(i + 1) % N] - corners[i];
      const float length = std::max(std::sqrt(dot(d, d)), 1e-3F);
      normals[i] = {d.y / length, -d.x / length};
    }
    fill(low, high,
         [&](Point p) {
           float distance = -1e9F;
           for (std::size_t i = 0; i < N; ++i) distance = std::max(distance, dot(p - corners[i], normals[i]));
           return distance;
         },
         paint, opacity);
  }

  template <class Paint>
  void box(float x0, float y0, float x1, float y1, Paint&& paint, float opacity = 1.0F) {
    polygon(std::array<Point, 4>{{{x0, y0}, {x1, y0}, {x1, y1}, {x0, y1}}}, paint, opacity);
  }

 private:
  int width_;
  int height_;
  std::vector<Rgb> pixels_;
};

}  // namespace reid::datasets::synthetic
