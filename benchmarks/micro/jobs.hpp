// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace reid::bench {

/// Best seconds of jobs that take turns.
class Jobs {
 public:
  /// @param wait  waits until what a job has begun is done, for devices that work beside the program
  explicit Jobs(std::function<void()> wait = [] {}) : wait_(std::move(wait)) {}
  void add(std::string name, std::function<void()> run) { jobs_.push_back({std::move(name), std::move(run), 1e300}); }
  void run(int64_t rounds) {
    for (int64_t i = 0; i < rounds; ++i) {
      for (auto& job : jobs_) {
        const auto start = std::chrono::steady_clock::now();
        job.run();
        wait_();
        job.best = std::min(job.best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      }
    }
  }
  /// The first `bare` jobs are what the others are compared with: the quickest of them.
  void print(std::size_t bare, double flop) const {
    double quickest = 1e300;
    for (std::size_t i = 0; i < bare; ++i) quickest = std::min(quickest, jobs_[i].best);
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      std::cout << fmt::format("{:<34}{:>9.3f} s{:>9.1f} GFLOP/s", jobs_[i].name, jobs_[i].best, flop / jobs_[i].best * 1e-9);
      std::cout << (i < bare ? "\n" : fmt::format("   {:.3f} of the bare product\n", jobs_[i].best / quickest));
    }
  }

 private:
  struct Job {
    std::string name;
    std::function<void()> run;
    double best;
  };
  std::function<void()> wait_;
  std::vector<Job> jobs_;
};

/// Argument number `at` of a program, or a standard value.
inline int64_t argument(int argc, char** argv, int at, int64_t standard) {
  return argc > at ? std::strtoll(argv[at], nullptr, 10) : standard;
}

}  // namespace reid::bench
