// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/optimizer.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <map>
#include <memory>

#include "reid/core/error.hpp"

namespace reid::engine {
namespace {

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

double rate_factor_of(const NamedParameter& parameter, const GroupOptions& options) {
  double factor = contains(parameter.name, "bias") ? options.bias_rate_factor : 1.0;
  for (const auto& rule : options.groups) {
    if (detail::glob_match(rule.pattern, parameter.name)) factor *= rule.rate_factor;
  }
  return factor;
}

double decay_of(const NamedParameter& parameter, const GroupOptions& options) {
  const bool bias = contains(parameter.name, "bias");
  double decay = options.weight_decay;
  if (bias ? !options.decay_bias : (parameter.value.dim() <= 1 && !options.decay_norm)) decay = 0;
  for (const auto& rule : options.groups) {
    if (rule.weight_decay && detail::glob_match(rule.pattern, parameter.name)) decay = *rule.weight_decay;
  }
  return decay;
}

// What each kind of LibTorch optimizer remembers of a parameter, as tensors by name.
template <class AdamState>
struct AdamMemory {
  static nn::StateDict save(const AdamState& state) {
    return {{"step", torch::tensor(state.step(), torch::kInt64)},
            {"exp_avg", state.exp_avg()},
            {"exp_avg_sq", state.exp_avg_sq()}};
  }
  static std::unique_ptr<AdamState> load(const nn::StateDict& saved, const torch::Tensor& like) {
    auto state = std::make_unique<AdamState>();
    state->step(saved.at("step").item<int64_t>());
    state->exp_avg(torch::zeros_like(like).copy_(saved.at("exp_avg")));
    state->exp_avg_sq(torch::zeros_like(like).copy_(saved.at("exp_avg_sq")));
    return state;
  }
  static constexpr std::array names{"step", "exp_avg", "exp_avg_sq"};
};
struct SgdMemory {
  static nn::StateDict save(const torch::optim::SGDParamState& state) {
    return {{"momentum", state.momentum_buffer()}};
  }
  static std::unique_ptr<torch::optim::SGDParamState> load(const nn::StateDict& saved, const torch::Tensor& like) {
    auto state = std::make_unique<torch::optim::SGDParamState>();
    state->momentum_buffer(torch::zeros_like(like).copy_(saved.at("momentum")));
    return state;
  }
  static constexpr std::array names{"momentum"};
};

template <class Torch, class TorchOptions, class State, class Memory>
class TorchOptimizer : public Optimizer {
 public:
  TorchOptimizer(const GroupOptions& options, const std::vector<NamedParameter>& parameters,
                 const std::function<TorchOptions(double rate, double decay)>& make)
      : base_rate_(options.rate), parameters_(parameters) {
    for (const auto& rule : options.groups) {
      bool used = false;
      for (const auto& p : parameters) used = used || detail::glob_match(rule.pattern, p.name);
      REID_CHECK(used, ConfigError,
                 fmt::format("optimizer: pattern must match a parameter's name, got '{}' (one name is '{}')",
                             rule.pattern, parameters.empty() ? "" : parameters.front().name));
    }
    std::map<std::pair<double, double>, std::vector<torch::Tensor>> members;
    for (const auto& p : parameters_) {
      const std::pair group(options.rate * rate_factor_of(p, options), decay_of(p, options));
      groups_.emplace(p.name, group);
      members[group].push_back(p.value);
    }
    std::vector<torch::optim::OptimizerParamGroup> groups;
    for (const auto& [group, tensors] : members) {
      initial_.push_back(group.first);
      groups.emplace_back(tensors, std::make_unique<TorchOptions>(make(group.first, group.second)));
    }
    torch_ = std::make_unique<Torch>(groups, make(options.rate, options.weight_decay));
  }

  void zero_grad() override { torch_->zero_grad(); }
  void step() override { torch_->step(); }
  double base_rate() const override { return base_rate_; }

  void set_rates(const std::function<double(double)>& rate) override {
    auto& groups = torch_->param_groups();
    for (std::size_t i = 0; i < groups.size(); ++i) groups[i].options().set_lr(rate(initial_[i]));
  }

  std::pair<double, double> group_of(const std::string& parameter) const override {
    const auto it = groups_.find(parameter);
    REID_CHECK(it != groups_.end(), InputError,
               fmt::format("optimizer: parameter must be one that learns, got '{}'", parameter));
    return it->second;
  }

  nn::StateDict state() const override {
    nn::StateDict result;
    for (const auto& p : parameters_) {
      const auto it = torch_->state().find(p.value.unsafeGetTensorImpl());
      if (it == torch_->state().end()) continue;
      for (auto& [name, tensor] : Memory::save(static_cast<const State&>(*it->second))) {
        if (tensor.defined()) result[p.name + "/" + name] = tensor;
      }
    }
    return result;
  }

  void load_state(const nn::StateDict& saved, const std::string& source) override {
    std::size_t used = 0;
    std::map<void*, std::unique_ptr<State>> loaded;
    for (const auto& p : parameters_) {
      nn::StateDict own;
      for (const char* name : Memory::names) {
        const auto it = saved.find(p.name + "/" + name);
        if (it == saved.end()) continue;
        const bool scalar = std::string_view(name) == "step";
        REID_CHECK(scalar ? it->second.numel() == 1 : it->second.sizes() == p.value.sizes(), CheckpointError,
                   fmt::format("{}: optimizer.{} must have the parameter's shape, got {} values", source, it->first,
                               it->second.numel()));
        own[name] = it->second;
      }
      if (own.empty()) continue;  // a parameter that has had no gradient yet
      REID_CHECK(own.size() == Memory::names.size(), CheckpointError,
                 fmt::format("{}: optimizer state of {} must be whole, got {} of {} tensors", source, p.name,
                             own.size(), Memory::names.size()));
      used += own.size();
      loaded[p.value.unsafeGetTensorImpl()] = Memory::load(own, p.value);
    }
    REID_CHECK(used == saved.size(), CheckpointError,
               fmt::format("{}: optimizer state must belong to this model and optimizer, got {} tensors that don't fit",
                           source, saved.size() - used));
    torch_->state().clear();
    for (auto& [key, state] : loaded) torch_->state()[key] = std::move(state);
  }

 private:
  double base_rate_;
  std::vector<NamedParameter> parameters_;
  std::map<std::string, std::pair<double, double>> groups_;
  std::vector<double> initial_;
  std::unique_ptr<Torch> torch_;
};

struct AdamFields : GroupOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  template <class V>
  void fields(V&& v) {
    GroupOptions::fields(v);
    v("beta1", beta1, "decay of the mean of gradients", Range{0, 0.999999});
    v("beta2", beta2, "decay of the mean of squares", Range{0, 0.999999999});
    v("eps", eps, "added to the denominator", Range{1e-16, 1});
  }
};
struct AdamWFields : AdamFields {
  AdamWFields() { weight_decay = 1e-2; }
};

class Adam : public TorchOptimizer<torch::optim::Adam, torch::optim::AdamOptions, torch::optim::AdamParamState,
                                   AdamMemory<torch::optim::AdamParamState>> {
 public:
  using Options = AdamFields;
  Adam(const Options& o, const std::vector<NamedParameter>& parameters)
      : TorchOptimizer(o, parameters, [o](double rate, double decay) {
          return torch::optim::AdamOptions(rate).betas({o.beta1, o.beta2}).eps(o.eps).weight_decay(decay);
        }) {}
};

class AdamW : public TorchOptimizer<torch::optim::AdamW, torch::optim::AdamWOptions, torch::optim::AdamWParamState,
                                    AdamMemory<torch::optim::AdamWParamState>> {
 public:
  using Options = AdamWFields;
  AdamW(const Options& o, const std::vector<NamedParameter>& parameters)
      : TorchOptimizer(o, parameters, [o](double rate, double decay) {
          return torch::optim::AdamWOptions(rate).betas({o.beta1, o.beta2}).eps(o.eps).weight_decay(decay);
        }) {}
};

class Sgd : public TorchOptimizer<torch::optim::SGD, torch::optim::SGDOptions, torch::optim::SGDParamState, SgdMemory> {
 public:
  struct Options : GroupOptions {
    double momentum = 0.9;
    bool nesterov = false;
    Options() { rate = 0.01; }
    template <class V>
    void fields(V&& v) {
      GroupOptions::fields(v);
      v("momentum", momentum, "share of the last step that is kept", Range{0, 0.999999});
      v("nesterov", nesterov, "look ahead by the momentum; needs momentum above 0");
    }
    void validate(const std::string& where) const {
      if (nesterov && momentum == 0) {
        throw ConfigError(fmt::format("{}/nesterov: value must be false without momentum, got true", where));
      }
    }
  };
  Sgd(const Options& o, const std::vector<NamedParameter>& parameters)
      : TorchOptimizer(o, parameters, [o](double rate, double decay) {
          return torch::optim::SGDOptions(rate).momentum(o.momentum).nesterov(o.nesterov).weight_decay(decay);
        }) {}
};

}  // namespace

OptimizerRegistry& optimizers() {
  static OptimizerRegistry instance = [] {
    OptimizerRegistry registry("optimizer");
    registry.add<Adam>("adam", {.summary = "Adam with L2 decay added to the gradient.",
                                .paper = "Kingma and Ba, ICLR 2015, arXiv:1412.6980"});
    registry.add<AdamW>("adamw", {.summary = "Adam with decoupled decay.",
                                  .paper = "Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101"});
    registry.add<Sgd>("sgd", {.summary = "Stochastic gradient descent with momentum."});
    return registry;
  }();
  return instance;
}

}  // namespace reid::engine
