// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "reid/core/error.hpp"

namespace reid::bench {

inline double seconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Peak resident size of this process in MB.
inline double peak_megabytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stod(line.substr(6)) / 1024;
  }
  throw WorkError("benchmark: /proc/self/status must have VmHWM, got none");
}

/// What this program, started again as a child with these arguments, prints as its peak in MB. A child has to tell it
/// itself: what the system counts for a child begins at the size of its parent.
inline double child_peak(const std::string& arguments) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  FILE* pipe = popen(fmt::format("'{}' {}", program, arguments).c_str(), "r");
  REID_CHECK(pipe != nullptr, WorkError, "benchmark: a child process must start, got an error from popen");
  double megabytes = 0;
  const int read = std::fscanf(pipe, "%lf", &megabytes);
  const int status = pclose(pipe);
  REID_CHECK(read == 1 && status == 0, WorkError, "benchmark: the child process must end with 0 and say its peak");
  return megabytes;
}

}  // namespace reid::bench
