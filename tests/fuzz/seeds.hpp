// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace reid::fuzz {

struct Seed {
  std::string name;
  std::string bytes;
};

/// Small inputs that reach deep into a reader; `target` is the name of a function of targets.hpp.
std::vector<Seed> seeds_for(const std::string& target);

std::vector<Seed> mat5_seeds();
std::vector<Seed> cuhk03_seeds();

}  // namespace reid::fuzz
