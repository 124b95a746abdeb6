// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>
#include <functional>

#include "reid/datasets/image_io.hpp"
#include "reid/datasets/registry.hpp"
#include "reid/engine/experiment.hpp"
#include "reid/losses/losses.hpp"
#include "reid/models/registry.hpp"
#include "verb.hpp"

namespace reid::cli {

/// Everything that the program has built in, as the engine wants it.
inline engine::Catalogue catalogue() {
  return {models::registry(), losses::objectives(), datasets::registry(),
          [](const std::string& path) { return datasets::decode_image(path); }};
}

/// Device and threads that the user asked for.
inline engine::Runtime runtime_of(const Common& common) { return engine::make_runtime(common.device, common.threads); }

/// While it lives, the first Ctrl-C (or SIGTERM, or a terminal that goes away) asks the work to stop where it can be resumed; the second one ends
/// the program at once.
class StopOnSignal {
 public:
  StopOnSignal() {
    asked_ = 0;
    former_int_ = std::signal(SIGINT, &ask);
    former_term_ = std::signal(SIGTERM, &ask);
    former_hup_ = std::signal(SIGHUP, &ask);
    if (former_hup_ == SIG_IGN) std::signal(SIGHUP, SIG_IGN);  // nohup
  }
  ~StopOnSignal() {
    std::signal(SIGINT, former_int_);
    std::signal(SIGTERM, former_term_);
    std::signal(SIGHUP, former_hup_);
  }
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;
  std::function<bool()> question() const {
    return [] { return asked_ != 0; };
  }

 private:
  static void ask(int signal) {
    asked_ = 1;
    std::signal(signal, SIG_DFL);
  }
  static inline volatile std::sig_atomic_t asked_ = 0;
  void (*former_int_)(int) = SIG_DFL;
  void (*former_term_)(int) = SIG_DFL;
  void (*former_hup_)(int) = SIG_DFL;
};

}  // namespace reid::cli
