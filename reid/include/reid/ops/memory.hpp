// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace reid::ops {

/// Bytes of the device's memory that are free now: what work in tiles may plan with. Of the CPU: what the system could give without
/// writing anything out (MemAvailable). @throws ShapeError for a device that this build has no operators for.
int64_t free_memory(torch::Device device);

}  // namespace reid::ops
