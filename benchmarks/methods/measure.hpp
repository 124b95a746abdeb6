// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/core/json.hpp"
#include "reid/core/memory.hpp"

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

/// Medians of `repeats` rounds in which every piece of work has its turn, after one round that isn't counted. Every other round
/// goes backwards, so that none always finds the caches as the same other one left them.
inline std::map<std::string, double> medians(int64_t repeats,
                                             const std::vector<std::pair<std::string, std::function<void()>>>& works) {
  std::map<std::string, std::vector<double>> times;
  for (int64_t round = -1; round < repeats; ++round) {
    for (std::size_t i = 0; i < works.size(); ++i) {
      const auto& [name, work] = works[round % 2 == 0 ? works.size() - 1 - i : i];
      const double t = seconds(work);
      if (round >= 0) times[name].push_back(t);
    }
  }
  std::map<std::string, double> result;
  for (const auto& [name, list] : times) result[name] = median(list);
  return result;
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

/// What the programs of this folder share. A child process makes the networks of one variant, trains a step if asked to, and says its
/// peak.
struct Program {
  int64_t threads = 2, repeats = 3;
  std::string json, child;
  bool child_trains = false;

  void add_to(CLI::App& app) {
    app.add_option("--threads", threads, "number of threads")->capture_default_str();
    app.add_option("--repeats", repeats, "rounds")->capture_default_str();
    app.add_option("--json", json, "write the figures to this file");
    app.add_option("--child", child)->group("");
    app.add_flag("--child-trains", child_trains)->group("");
  }

  /// Does the child's part, or the whole work, whose figures go to the file that was asked for. @return the exit status.
  int run(const char* name, const std::function<void()>& as_child, const std::function<Json()>& work) const {
    try {
      at::set_num_threads(static_cast<int>(threads));
      if (!child.empty()) {
        as_child();
        std::cout << peak_megabytes() << "\n";
        return 0;
      }
      keep_freed_memory();
      std::cout << std::unitbuf;
      const Json result = work();
      if (!json.empty()) write_file_atomic(json, result.dump(2) + "\n");
      return 0;
    } catch (const Error& error) {
      std::cerr << name << ": " << error.what() << "\n";
      return error.exit_code();
    }
  }
};

}  // namespace reid::bench
