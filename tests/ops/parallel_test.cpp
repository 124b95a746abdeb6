// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/parallel.hpp"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "support/catch.hpp"

using reid::ops::parallel_for;

extern "C" int omp_get_max_threads();  // of the run time that LibTorch uses

namespace {

/// Sets the number of threads for a block and puts it back.
class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

}  // namespace

TEST_CASE("every number is visited once, in pieces of the grain", "[ops][parallel]") {
  for (const int threads : {1, 2, 3}) {
    const Threads scope(threads);
    for (const int64_t count : {0, 1, 2, 7, 1000}) {
      for (const int64_t grain : {1, 3, 5000}) {
        std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
        std::atomic<int64_t> small = 0, empty = 0;
        parallel_for(10, 10 + count, grain, [&](int64_t first, int64_t last) {
          if (first >= last) ++empty;
          if (last - first < grain) ++small;
          for (int64_t i = first; i < last; ++i) ++visits[static_cast<std::size_t>(i - 10)];
        });
        for (const auto& visit : visits) REQUIRE(visit == 1);
        REQUIRE(small <= 1);  // the last one
        REQUIRE(empty == 0);
      }
    }
  }
}

TEST_CASE("work is done by as many threads as are asked for", "[ops][parallel]") {
  for (const std::size_t threads : {std::size_t{1}, std::size_t{2}, std::size_t{3}}) {
    const Threads scope(static_cast<int>(threads));
    std::mutex mutex;
    std::set<std::thread::id> seen;
    parallel_for(0, 64, 1, [&](int64_t, int64_t) {
      {
        const std::lock_guard lock(mutex);
        seen.insert(std::this_thread::get_id());
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    });
    REQUIRE(seen.size() == threads);
  }
}

TEST_CASE("libraries called inside believe in one thread, and in the old number afterwards", "[ops][parallel]") {
  for (const int threads : {1, 3}) {
    const Threads scope(threads);
    std::atomic<int> most = 0, outside = 0;
    parallel_for(0, 8, 1, [&](int64_t, int64_t) {
      if (omp_get_max_threads() > 1) ++most;
      outside += at::in_parallel_region() || threads == 1 ? 0 : 1;
      parallel_for(0, 4, 1, [&](int64_t first, int64_t last) {  // at once, in one piece
        if (first != 0 || last != 4) ++outside;
      });
    });
    REQUIRE(most == 0);
    REQUIRE(outside == 0);
    REQUIRE(at::get_num_threads() == threads);
    REQUIRE(omp_get_max_threads() == threads);
  }
}

TEST_CASE("an exception comes out of the loop", "[ops][parallel]") {
  for (const int threads : {1, 2}) {
    const Threads scope(threads);
    REQUIRE_THROWS_AS(parallel_for(0, 100, 1,
                                   [](int64_t first, int64_t last) {
                                     if (first <= 42 && 42 < last) throw std::out_of_range("42");
                                   }),
                      std::out_of_range);
    int64_t sum = 0;
    parallel_for(0, 1, 1, [&](int64_t, int64_t) { ++sum; });
    REQUIRE(sum == 1);
  }
}
