// SPDX-License-Identifier: Apache-2.0
#include "reid/core/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <mutex>

namespace reid {
namespace {

using Clock = std::chrono::steady_clock;

std::string duration(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
}

struct Meter {
  std::mutex mutex;
  std::string label;
  Clock::time_point start, shown;
  bool terminal = ::isatty(STDERR_FILENO) != 0;

  void show(const ProgressUpdate& update) {
    const std::lock_guard lock(mutex);
    const auto now = Clock::now();
    if (update.label != label || update.done == 0) {
      label = update.label;
      start = now;
      shown = now;
      if (update.done == 0) return;
    }
    const bool last = update.total > 0 && update.done >= update.total;
    const std::chrono::duration<double> since = now - shown;
    if (!last && since.count() < (terminal ? 0.1 : 5.0)) return;
    shown = now;
    const double elapsed = std::chrono::duration<double>(now - start).count();
    std::string line = update.label;
    if (update.total > 0) {
      const double part = static_cast<double>(update.done) / static_cast<double>(update.total);
      if (terminal) {
        constexpr int kWidth = 24;
        const int filled = static_cast<int>(part * kWidth);
        line += fmt::format(" [{:#<{}}{:.<{}}]", "", filled, "", kWidth - filled);
      }
      line += fmt::format(" {}/{}", update.done, update.total);
      line += last ? fmt::format(" in {}", duration(elapsed))
                   : fmt::format(" {} left", duration(elapsed / part - elapsed));
    } else {
      line += fmt::format(" {}", update.done);
    }
    if (!update.note.empty()) line += "  " + update.note;
    if (terminal) {
      std::fprintf(stderr, "\r\033[K%s%s", line.c_str(), last ? "\n" : "");
    } else {
      std::fprintf(stderr, "%s\n", line.c_str());
    }
    std::fflush(stderr);
  }
};

}  // namespace

ProgressSink stderr_progress() {
  return [meter = std::make_shared<Meter>()](const ProgressUpdate& update) { meter->show(update); };
}

}  // namespace reid
