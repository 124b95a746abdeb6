// SPDX-License-Identifier: Apache-2.0
#include "layouts.hpp"

namespace reid::models {

std::vector<std::string> state_names(const torch::nn::Module& module) {
  std::vector<std::string> names;
  for (const auto& item : module.named_parameters()) names.push_back(item.key());
  for (const auto& item : module.named_buffers()) names.push_back(item.key());
  return names;
}

nn::StateLayout prefix_layout(std::string name, std::vector<std::string> own_names, std::vector<KeyRule> rules) {
  auto known = std::make_shared<const std::set<std::string>>(own_names.begin(), own_names.end());
  return {std::move(name),
          [known, rules = std::move(rules)](const std::string& key) -> std::optional<std::string> {
            for (const auto& rule : rules) {
              if (key.rfind(rule.from, 0) != 0) continue;
              if (rule.drop) return "";
              auto mine = rule.to + key.substr(rule.from.size());
              if (known->count(mine) != 0) return mine;
              return std::nullopt;
            }
            return std::nullopt;
          }};
}

}  // namespace reid::models
