// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "reid/nn/model.hpp"

namespace reid::models {

/// All built-in networks by name. `registry().add<MyNet>("my_net")` adds one's own; do so before other threads use it.
nn::ModelRegistry& registry();

/// A registry without entries, for programs that want only their own.
nn::ModelRegistry empty_registry();

}  // namespace reid::models
