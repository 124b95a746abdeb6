// SPDX-License-Identifier: Apache-2.0
#include "reid/losses/losses.hpp"

namespace reid::losses {

nn::LossRegistry empty_registry() { return nn::LossRegistry("loss"); }
nn::ObjectiveRegistry& objectives() { return ::reid::objectives::registry(); }

}  // namespace reid::losses

namespace reid::objectives {

nn::ObjectiveRegistry empty_registry() { return nn::ObjectiveRegistry("objective"); }

}  // namespace reid::objectives
