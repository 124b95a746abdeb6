// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "reid/nn/state_dict.hpp"

namespace reid::models {

/// One rule of a published naming: keys that begin with `from` are `to` + the rest, or dropped.
struct KeyRule {
  std::string from;
  std::string to;
  bool drop = false;
};

/// A layout in which a key is looked up by the first rule whose `from` it begins with, and known if the result is a
/// name of the model (or a batch counter of one). `num_batches_tracked` keys of known normalisations are known.
nn::StateLayout prefix_layout(std::string name, std::vector<std::string> own_names, std::vector<KeyRule> rules);

/// Names of all parameters and buffers of a module.
std::vector<std::string> state_names(const torch::nn::Module& module);

}  // namespace reid::models
