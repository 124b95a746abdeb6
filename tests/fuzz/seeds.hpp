// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace reid::fuzz {

struct Seed {
  std::string name;
  std::string bytes;
};

/// Small inputs that reach deep into a reader: "weights", "npy", "json", "lists" or "picture".
std::vector<Seed> seeds_for(const std::string& target);

}  // namespace reid::fuzz
