// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace reid {

/// One report of a long piece of work.
struct ProgressUpdate {
  std::string label;   ///< "features", "epoch 3/10", ...
  int64_t done = 0;
  int64_t total = 0;   ///< 0 if unknown
  std::string note;    ///< shown behind the bar: loss, rate, ...
};

/// Called by long-running library functions. Empty: nothing is reported. The library itself prints nothing.
using ProgressSink = std::function<void(const ProgressUpdate&)>;

/// A sink that draws a bar with a time estimate on stderr if that is a terminal, else prints a line every few
/// seconds. The last update of a label (done == total) is always shown.
ProgressSink stderr_progress();

}  // namespace reid
