// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "reid/engine/experiment.hpp"

namespace reid::engine {

/// `"weights"` of an experiment, a file's name or an object. @throws ConfigError for anything else.
std::optional<WeightsOptions> weights_of(const Experiment& experiment);

}  // namespace reid::engine
