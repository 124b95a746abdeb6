// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/parallel.hpp"

#include <ATen/Parallel.h>
#include <c10/util/ParallelGuard.h>

#include <algorithm>
#include <atomic>
#include <exception>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace reid::ops {
namespace {

/// Sets the number of threads that libraries called from this thread see, and puts it back.
class OneThread {
 public:
#ifdef _OPENMP
  OneThread() : before_(known_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  /// LibTorch sets the number at its first use in a thread; afterwards it stays as it is set here.
  static int known_threads() {
    static_cast<void>(at::get_num_threads());
    return omp_get_max_threads();
  }
  int before_;
#else
  OneThread() {}
#endif
 public:
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  c10::ParallelGuard guard_{true};
};

constexpr int64_t kPiecesAThread = 16;

}  // namespace

void parallel_for(int64_t begin, int64_t end, int64_t grain, const std::function<void(int64_t, int64_t)>& f) {
  if (begin >= end) return;
  const int64_t threads = at::get_num_threads();  // sets up LibTorch's threads, too
  if (threads == 1 || at::in_parallel_region()) {
    const OneThread one;
    f(begin, end);
    return;
  }
  const int64_t piece = std::max({int64_t{1}, grain, (end - begin) / (threads * kPiecesAThread)});
  std::atomic<int64_t> next = begin;
  std::atomic<bool> stopped = false;
  std::exception_ptr error;
#ifdef _OPENMP
#pragma omp parallel
#endif
  {
    const OneThread one;
    while (!stopped) {
      const int64_t first = next.fetch_add(piece);
      if (first >= end) break;
      try {
        f(first, std::min(first + piece, end));
      } catch (...) {
        if (!stopped.exchange(true)) error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace reid::ops
