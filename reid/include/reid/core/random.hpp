// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

namespace reid {

/// A small counter-based generator (SplitMix64, Steele et al., OOPSLA 2014) whose stream depends on its key
/// alone. Where the standard library's distributions differ between implementations, these are fixed, so that
/// samplers, augmentations and drawn data sets are the same on every machine and with any number of threads.
/// Key a stream by what it is for: `Random({seed, epoch, sample})`.
class Random {
 public:
  explicit Random(std::initializer_list<uint64_t> key) {
    for (const uint64_t part : key) state_ = mix(state_ ^ mix(part + 0x9e3779b97f4a7c15ULL)) + 0x9e3779b97f4a7c15ULL;
  }
  uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15ULL); }
  /// Uniform in [0, 1), 53 random bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  /// Uniform in [low, high).
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform integer in [0, n), without modulo bias. n must be positive.
  int64_t below(int64_t n) {
    const auto bound = static_cast<uint64_t>(n);
    const uint64_t limit = -bound % bound;
    for (;;) {
      const uint64_t x = next();
      if (x >= limit) return static_cast<int64_t>(x % bound);
    }
  }
  bool chance(double probability) { return uniform() < probability; }
  /// Standard normal by Box and Muller; one value a call.
  double normal() {
    const double u = 1.0 - uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * uniform());
  }
  template <class T>
  void shuffle(std::vector<T>& values) {
    for (std::size_t i = values.size(); i > 1; --i) {
      std::swap(values[i - 1], values[static_cast<std::size_t>(below(static_cast<int64_t>(i)))]);
    }
  }

 private:
  static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  uint64_t state_ = 0;
};

}  // namespace reid
