// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <string>

#include "reid/core/error.hpp"
#include "reid/core/types.hpp"
#include "reid/nn/model.hpp"

namespace reid::engine {

/// @throws ConfigError naming the picture, if the model looks at cameras and doesn't know this one.
inline void check_camera(const nn::Model& model, const Sample& sample) {
  const auto known = model.cameras();
  REID_CHECK(known == 0 || (sample.camera >= 1 && sample.camera <= known), ConfigError,
             fmt::format("{}: camera must be 1 to {} for a model with side information, got {}", sample.path, known,
                         sample.camera < 0 ? "none" : std::to_string(sample.camera)));
}

}  // namespace reid::engine
