// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "reid/engine/experiment.hpp"

namespace reid::engine {

/// `"weights"` of an experiment: a file's name, an object, a list of them, or null. @throws ConfigError for anything else.
std::vector<WeightsOptions> weights_of(const Experiment& experiment);

}  // namespace reid::engine
