// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "reid/core/registry.hpp"

namespace reid::engine {

/// The learning rate over a stage: a pure function of the epoch.
class Schedule {
 public:
  virtual ~Schedule() = default;
  /// @param initial  the group's own initial rate: `base` times the group's factor (bias x2, ...).
  /// @param base     the optimizer's rate.
  /// @param epoch    epochs done, from 0; with a fraction where `per_step()`.
  /// @param epochs   planned for the stage.
  virtual double rate(double initial, double base, double epoch, int64_t epochs) const = 0;
  /// Whether the rate changes at each step instead of each epoch.
  virtual bool per_step() const { return false; }
};

using ScheduleRegistry = Registry<Schedule>;

/// Built-in schedules; open to a program's own. e counts from 0, lr0 is the group's own initial rate.
///
/// `multi_step`: warm-up, then a factor at each milestone. Every group keeps its ratio to the others.
///   e < W:   lr0 * (s + (1 - s) e / W)         s = `warmup_start`
///   e >= W:  lr0 * gamma^(number of milestones <= e)
/// The defaults are RGA's (arXiv:1904.02998; microsoft/Relation-Aware-Global-Attention-Networks@cdc9965,
/// scripts/main_imgreid.py): W = 20, s = 0.01, gamma = 0.5 at 80, 120, ..., 360.
///
/// `cosine`: warm-up, then half a cosine that counts from epoch 0, so that nothing restarts after the warm-up.
///   t = e + first_epoch
///   t < W:   s base + t (lr0 - s base) / W
///   t >= W:  m base + (lr0 - m base) (1 + cos(pi t / T)) / 2     m = `floor`, T = `epochs` of the stage
/// The defaults are TransReID's (damo-cv/TransReID, solver/cosine_lr.py): W = 5, s = 0.01, m = 0.002,
/// first_epoch = 1. Start and floor are shares of the base rate for all groups, as there.
///
/// `constant`: lr0, after an optional warm-up as in `multi_step`.
ScheduleRegistry& schedules();

}  // namespace reid::engine
