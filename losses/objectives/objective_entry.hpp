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

/// Optimizer steps done since `epoch` began; negative before it.
inline int64_t steps_since(int64_t epoch, const Progress& progress) {
  return progress.step - epoch * std::max<int64_t>(1, progress.steps_per_epoch);
}

/// The share of a weight that grows linearly from 0 over `epochs` from epoch `from` on; 1 behind them, and where there are none.
inline double ramp(int64_t epochs, const Progress& progress, int64_t from = 0) {
  const int64_t steps = epochs * std::max<int64_t>(1, progress.steps_per_epoch);
  return steps > 0 ? std::clamp(static_cast<double>(steps_since(from, progress)) / static_cast<double>(steps), 0.0, 1.0) : 1.0;
}

}  // namespace reid::losses
