// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace reid::engine {
namespace {

/// What every schedule begins with.
struct WarmUpOptions {
  int64_t warmup_epochs = 0;
  double warmup_start = 0.01;
  bool per_step = false;
  template <class V>
  void fields(V&& v) {
    v("warmup_epochs", warmup_epochs, "epochs of linear warm-up", Range{0, 1e6});
    v("warmup_start", warmup_start, "share of the base rate at its beginning", Range{0, 1});
    v("per_step", per_step, "move at each step instead of each epoch");
  }
  bool warming(double epoch) const { return epoch < static_cast<double>(warmup_epochs); }
  /// From start * from to `initial`, linearly.
  double warm(double epoch, double initial, double from) const {
    const double start = warmup_start * from;
    return start + (initial - start) * epoch / static_cast<double>(warmup_epochs);
  }
};

class MultiStep : public Schedule {
 public:
  struct Options : WarmUpOptions {
    Options() { warmup_epochs = 20; }
    std::vector<int64_t> milestones{80, 120, 160, 200, 240, 280, 320, 360};
    double gamma = 0.5;
    template <class V>
    void fields(V&& v) {
      WarmUpOptions::fields(v);
      v("milestones", milestones, "epochs at which the rate is multiplied by gamma, ascending", Range{0, 1e9});
      v("gamma", gamma, "factor at each milestone", Range{0, 1});
    }
    void validate(const std::string& where) const {
      if (!std::is_sorted(milestones.begin(), milestones.end())) {
        throw ConfigError(fmt::format("{}/milestones: list must be ascending, got another order", where));
      }
    }
  };
  explicit MultiStep(const Options& options) : options_(options) {}
  double rate(double initial, double, double epoch, int64_t) const override {
    if (options_.warming(epoch)) return options_.warm(epoch, initial, initial);
    const auto passed = std::count_if(options_.milestones.begin(), options_.milestones.end(),
                                      [&](int64_t m) { return static_cast<double>(m) <= epoch; });
    return initial * std::pow(options_.gamma, static_cast<double>(passed));
  }
  bool per_step() const override { return options_.per_step; }

 private:
  Options options_;
};

class Cosine : public Schedule {
 public:
  struct Options : WarmUpOptions {
    Options() { warmup_epochs = 5; }
    double floor = 0.002;
    int64_t first_epoch = 1;
    template <class V>
    void fields(V&& v) {
      WarmUpOptions::fields(v);
      v("floor", floor, "share of the base rate at the end", Range{0, 1});
      v("first_epoch", first_epoch, "number t of the first epoch", Range{0, 1});
    }
  };
  explicit Cosine(const Options& options) : options_(options) {}
  double rate(double initial, double base, double epoch, int64_t epochs) const override {
    const double t = epoch + static_cast<double>(options_.first_epoch);
    if (options_.warming(t)) return options_.warm(t, initial, base);
    const double floor = options_.floor * base;
    const double share = std::min(1.0, t / static_cast<double>(std::max<int64_t>(1, epochs)));
    return floor + 0.5 * (initial - floor) * (1 + std::cos(std::numbers::pi * share));
  }
  bool per_step() const override { return options_.per_step; }

 private:
  Options options_;
};

class Constant : public Schedule {
 public:
  using Options = WarmUpOptions;
  explicit Constant(const Options& options) : options_(options) {}
  double rate(double initial, double, double epoch, int64_t) const override {
    return options_.warming(epoch) ? options_.warm(epoch, initial, initial) : initial;
  }
  bool per_step() const override { return options_.per_step; }

 private:
  Options options_;
};

}  // namespace

ScheduleRegistry& schedules() {
  static ScheduleRegistry instance = [] {
    ScheduleRegistry registry("schedule");
    registry.add<MultiStep>("multi_step",
                            {.summary = "Linear warm-up, then a factor at each milestone.",
                             .paper = "Zhang et al., CVPR 2020, arXiv:1904.02998",
                             .reference = "microsoft/Relation-Aware-Global-Attention-Networks@cdc9965",
                             .claim = "faithful to the reference code"});
    registry.add<Cosine>("cosine", {.summary = "Linear warm-up, then half a cosine that counts from epoch 0.",
                                    .paper = "He et al., TransReID, ICCV 2021, arXiv:2102.04378",
                                    .reference = "damo-cv/TransReID, solver/cosine_lr.py",
                                    .claim = "faithful to the reference code"});
    registry.add<Constant>("constant", {.summary = "One rate, after an optional warm-up."});
    return registry;
  }();
  return instance;
}

}  // namespace reid::engine
