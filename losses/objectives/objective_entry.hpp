// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "reid/core/options.hpp"
#include "reid/nn/objective.hpp"

namespace reid::losses {

/// Registers an objective with `T::Options` and a constructor T(options, pointer, model, facts).
template <class T>
void add_objective(nn::ObjectiveRegistry& registry, const std::string& name, EntryInfo info) {
  nn::ObjectiveRegistry::Entry entry;
  entry.name = name;
  entry.info = std::move(info);
  entry.defaults = write_options(typename T::Options{});
  entry.fields = describe_options<typename T::Options>();
  entry.make = [](const Json& options, const std::string& pointer, nn::Model& model,
                  const nn::TrainingFacts& facts) -> std::shared_ptr<nn::Objective> {
    return std::make_shared<T>(read_options<typename T::Options>(options, pointer), pointer, model, facts);
  };
  registry.add_entry(std::move(entry));
}

}  // namespace reid::losses
