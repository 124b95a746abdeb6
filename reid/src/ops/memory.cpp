// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/memory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <torch/torch.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
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

torch::Tensor large_matrix(int64_t rows, int64_t columns, std::size_t map_above) {
  const std::size_t bytes = static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns) * sizeof(float);
  if (bytes <= map_above) return torch::empty({rows, columns}, torch::dtype(torch::kFloat32));
  std::string name = (std::filesystem::temp_directory_path() / "reid-matrix-XXXXXX").string();
  const int file = ::mkstemp(name.data());
  REID_CHECK(file >= 0, WorkError, fmt::format("{}: file must be creatable, got {}", name, std::strerror(errno)));
  ::unlink(name.c_str());
  // Space is reserved now: a disk that fills up later would end the process with a bus error.
  const int failed = ::posix_fallocate(file, 0, static_cast<off_t>(bytes));
  void* data = failed == 0 ? ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
  const int reason = failed != 0 ? failed : errno;
  ::close(file);
  REID_CHECK(data != MAP_FAILED, WorkError,
             fmt::format("{}: a matrix of {} bytes must fit, got {}", name, bytes, std::strerror(reason)));
  return torch::from_blob(data, {rows, columns}, [bytes](void* p) { ::munmap(p, bytes); });
}

}  // namespace reid::ops
