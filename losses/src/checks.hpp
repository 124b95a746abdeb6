// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <string>

namespace reid::losses {

/// Throws ShapeError unless `rows` is [N, D] floating with N >= 1 and `labels` is [N] int64 on the same device.
void check_rows_and_labels(const torch::Tensor& rows, const torch::Tensor& labels, const std::string& where,
                           const std::string& name, const std::string& expectation);

}  // namespace reid::losses
