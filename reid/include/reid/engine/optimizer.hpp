// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "reid/core/registry.hpp"
#include "reid/nn/state_dict.hpp"

namespace reid::engine {

/// A parameter that learns, with the name it has in checkpoints: `model.<name>` or `objective.<name>`.
struct NamedParameter {
  std::string name;
  torch::Tensor value;
};

/// A rate or a decay of its own for parameters whose names match.
struct GroupRule {
  std::string pattern;
  double rate_factor = 1;
  std::optional<double> weight_decay;
  template <class V>
  void fields(V&& v) {
    v("pattern", pattern, "glob on names like model.layer4.0.conv1.weight or objective.classifier");
    v("rate_factor", rate_factor, "factor of the rate", Range{0, 1e6});
    v("weight_decay", weight_decay, "decay instead of the optimizer's", Range{0, 1e3});
  }
};

/// What all built-in optimizers understand. A parameter's initial rate is
///   rate * (bias_rate_factor if its name contains "bias") * (rate_factor of every rule that matches)
/// and the schedule scales each from there.
struct GroupOptions {
  double rate = 3.5e-4;
  double weight_decay = 5e-4;
  double bias_rate_factor = 1;
  bool decay_bias = true;
  bool decay_norm = true;
  std::vector<GroupRule> groups;
  template <class V>
  void fields(V&& v) {
    v("rate", rate, "base learning rate", Range{0, 1e3});
    v("weight_decay", weight_decay, "decay; coupled L2 in adam and sgd, decoupled in adamw", Range{0, 1e3});
    v("bias_rate_factor", bias_rate_factor, "factor of the rate of parameters whose names contain \"bias\"",
      Range{0, 1e3});
    v("decay_bias", decay_bias, "decay parameters whose names contain \"bias\"");
    v("decay_norm", decay_norm, "decay other parameters of one dimension: scales of norms");
    v("groups", groups, "rules by name; of several decays the last that matches holds");
  }
};

/// One optimizer over named parameters; rates are set from outside before each step.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  virtual void zero_grad() = 0;
  virtual void step() = 0;
  /// Sets every group's rate from its initial one.
  virtual void set_rates(const std::function<double(double initial)>& rate) = 0;
  virtual double base_rate() const = 0;
  /// Initial rate and decay of a parameter, for reports and tests. @throws InputError for an unknown name.
  virtual std::pair<double, double> group_of(const std::string& parameter) const = 0;
  /// Everything that the next step depends on, by "<parameter>/<buffer>".
  virtual nn::StateDict state() const = 0;
  /// @throws CheckpointError naming `source` if names or shapes don't fit.
  virtual void load_state(const nn::StateDict& state, const std::string& source) = 0;
};

using OptimizerRegistry = Registry<Optimizer, const std::vector<NamedParameter>&>;

/// Built-in optimizers, `adam` (Kingma & Ba, arXiv:1412.6980, L2 decay added to the gradient), `adamw`
/// (Loshchilov & Hutter, arXiv:1711.05101) and `sgd` (momentum, optionally Nesterov), as LibTorch computes them;
/// open to a program's own.
OptimizerRegistry& optimizers();

}  // namespace reid::engine
