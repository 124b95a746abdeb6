// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

namespace reid::ops {

/// Calls `f(first, last)` for pieces that together make up [begin, end), each once, from `at::get_num_threads()` threads.
///
/// Pieces hold at least `grain` numbers (but the last) and go to whichever thread is free. While `f` runs, the libraries
/// of products (BLAS, oneDNN) believe in one thread, whatever the number of threads here: what a piece computes doesn't
/// depend on that number. A call from inside another one, and any with one thread, runs `f(begin, end)` at once.
/// An exception thrown by `f` ends the loop and is thrown here; of several, the first.
///
/// Used instead of `at::parallel_for`, which is serial in a source compiled without OpenMP. The only source that is compiled with
/// it is this function's (with GCC, against LibTorch's own run time; with other compilers the loop is serial).
/// @param grain at least 1
void parallel_for(int64_t begin, int64_t end, int64_t grain, const std::function<void(int64_t, int64_t)>& f);

}  // namespace reid::ops
