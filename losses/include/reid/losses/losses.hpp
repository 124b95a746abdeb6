// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "reid/nn/loss.hpp"
#include "reid/nn/objective.hpp"

namespace reid::losses {

/// An empty registry of losses; `registry()` fills one from the list of built-ins.
nn::LossRegistry empty_registry();

/// All losses by name. A program adds its own with `registry().add<MyLoss>("my_loss", {...})` before it uses them.
nn::LossRegistry& registry();

/// All objectives by name (see `reid/nn/objective.hpp`); open to a program's own in the same way.
nn::ObjectiveRegistry& objectives();

}  // namespace reid::losses

/// The objectives' list of built-ins, generated like the losses'; callers use `losses::objectives()`.
namespace reid::objectives {
nn::ObjectiveRegistry empty_registry();
nn::ObjectiveRegistry& registry();
}  // namespace reid::objectives
