// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
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

/// The share of a weight that grows linearly from 0 over `epochs` from step `from` on; 1 behind them, and where there are none.
inline double ramp(int64_t epochs, const Progress& progress, int64_t from = 0) {
  const int64_t steps = epochs * std::max<int64_t>(1, progress.steps_per_epoch);
  return steps > 0 ? std::min(1.0, static_cast<double>(progress.step - from) / static_cast<double>(steps)) : 1.0;
}

}  // namespace reid::losses
