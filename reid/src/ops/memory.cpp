// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/memory.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "reid/core/error.hpp"

#ifdef REID_WITH_CUDA
#include "cuda/dispatch.hpp"
#endif

namespace reid::ops {

int64_t free_memory(torch::Device device) {
#ifdef REID_WITH_CUDA
  if (device.is_cuda()) return cuda::free_memory(device);
#endif
  REID_CHECK(device.is_cpu(), ShapeError,
             fmt::format("free_memory: device must be one that this build has operators for, got {}", device.str()));
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  for (int64_t kibibytes = 0; file >> name >> kibibytes >> unit;) {
    if (name == "MemAvailable:") return kibibytes * 1024;
  }
  return int64_t{sysconf(_SC_AVPHYS_PAGES)} * sysconf(_SC_PAGESIZE);  // no such file, as in some containers
}

}  // namespace reid::ops
