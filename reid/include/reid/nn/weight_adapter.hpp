// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "reid/nn/state_dict.hpp"

namespace reid::nn {

/// A module that can take weights made for another size of its input. `load_state` asks it, after keys are renamed
/// and before shapes are compared, to bring the tensors into its own shapes; what it can't bring there it leaves alone.
class WeightAdapter {
 public:
  virtual ~WeightAdapter() = default;
  /// @param tensors  by names of the module; replaced where they are adapted, never changed in place.
  /// @param source   names the weights in messages.
  /// @throws CheckpointError where a tensor is recognised and can't be adapted.
  virtual void adapt_weights(StateDict& tensors, const std::string& source) const = 0;
};

}  // namespace reid::nn
