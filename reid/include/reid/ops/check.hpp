// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <string>

namespace reid::ops {

/// `[64, 2048] float32 on cpu`, for messages.
std::string describe(const torch::Tensor& tensor);

/// Throws `ShapeError("<where>: <name> must be <expectation>, got <describe(tensor)>")` unless the tensor is
/// defined, has `rank` dimensions and, where `floating`, a floating type.
void check_rank(const torch::Tensor& tensor, const std::string& where, const std::string& name, int64_t rank,
                const std::string& expectation, bool floating = true);

}  // namespace reid::ops
