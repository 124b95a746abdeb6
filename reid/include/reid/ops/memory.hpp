// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <cstdint>

namespace reid::ops {

/// Bytes of the device's memory that are free now: what work in tiles may plan with. Of the CPU: what the system could give without
/// writing anything out (MemAvailable). @throws ShapeError for a device that this build has no operators for.
int64_t free_memory(torch::Device device);

/// A matrix [rows, columns] float32 on the CPU, not yet written to. Above `map_above` bytes it lies in an unnamed temporary file that is
/// mapped into memory, so that the system may write it out; its space on the disk is reserved at once.
/// @throws WorkError if the file can't be made or doesn't fit.
torch::Tensor large_matrix(int64_t rows, int64_t columns, std::size_t map_above = std::size_t{1} << 30);

}  // namespace reid::ops
