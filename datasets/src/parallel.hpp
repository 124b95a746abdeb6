// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "reid/core/progress.hpp"

namespace reid::datasets {

/// Calls work(i) for i in [0, count) from several threads, in no fixed order. The first exception stops the others
/// and is rethrown. Progress is reported from one thread at a time.
template <class Work>
void for_each_parallel(int64_t count, int64_t threads, const ProgressSink& progress, const char* label, Work&& work) {
  if (threads <= 0) threads = std::max<int64_t>(1, std::thread::hardware_concurrency());
  std::atomic<int64_t> next{0}, done{0};
  std::atomic<bool> stop{false};
  std::exception_ptr error;
  std::mutex mutex;
  const auto run = [&] {
    for (;;) {
      const int64_t i = next++;
      if (i >= count || stop) return;
      try {
        work(i);
        const int64_t finished = ++done;
        if (progress && (finished % 64 == 0 || finished == count)) {
          const std::lock_guard lock(mutex);
          progress({label, finished, count, ""});
        }
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
        stop = true;
        return;
      }
    }
  };
  std::vector<std::jthread> workers;
  for (int64_t t = 1; t < std::min(threads, count); ++t) workers.emplace_back(run);
  run();
  workers.clear();
  if (error) std::rethrow_exception(error);
}

}  // namespace reid::datasets
