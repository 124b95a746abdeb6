// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/trainer.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "reid/core/error.hpp"
#include "reid/engine/checkpoint.hpp"
#include "reid/nn/blocks.hpp"

namespace reid::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

at::Generator generator_of(torch::Device device) {
  return device.is_cuda() ? at::globalContext().defaultGenerator(device) : at::detail::getDefaultCPUGenerator();
}

nn::StateDict cloned(const nn::StateDict& tensors) {
  nn::StateDict result;
  for (const auto& [name, tensor] : tensors) result.emplace(name, tensor.detach().clone());
  return result;
}

void copy_into(const nn::StateDict& to, const nn::StateDict& from) {
  const torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : to) tensor.detach().copy_(from.at(name));
}

}  // namespace

std::vector<NamedParameter> trainable_parameters(const nn::Model& model, const nn::Objective& objective) {
  std::vector<NamedParameter> result;
  const auto collect = [&](const torch::nn::Module& module, const std::string& prefix) {
    for (const auto& item : module.named_parameters()) {
      if (item.value().requires_grad()) result.push_back({prefix + item.key(), item.value()});
    }
  };
  collect(model, "model.");
  collect(objective, "objective.");
  return result;
}

Trainer::Trainer(TrainerParts parts, const LoopOptions& options, uint64_t seed, const Runtime& runtime)
    : parts_(std::move(parts)), options_(options), seed_(seed), runtime_(runtime) {
  parts_.model->to(runtime.device);
  parts_.objective->to(runtime.device);
  if (options_.channels_last) nn::use_channels_last(*parts_.model);
  if (options_.ema) ema_ = cloned(nn::state_of(*parts_.model));
}

double Trainer::set_rates(const Progress& progress, double share_of_epoch) {
  const double epoch = static_cast<double>(progress.epoch) + (parts_.schedule->per_step() ? share_of_epoch : 0.0);
  const double base = parts_.optimizer->base_rate();
  parts_.optimizer->set_rates(
      [&](double initial) { return parts_.schedule->rate(initial, base, epoch, progress.epochs); });
  return parts_.schedule->rate(base, base, epoch, progress.epochs);
}

std::vector<std::pair<std::string, double>> Trainer::train_batch(const Batch& batch, const Progress& progress,
                                                                 double share, double& total) {
  auto on_device = batch.to(runtime_.device);
  if (options_.channels_last && on_device.images.defined()) {
    on_device.images = on_device.images.contiguous(torch::MemoryFormat::ChannelsLast);
  }
  nn::ObjectiveResult result;
  {
    const Autocast autocast(runtime_.device, options_.precision);
    result = parts_.objective->compute(*parts_.model, on_device, progress);
  }
  REID_CHECK(result.total.defined() && result.total.numel() == 1 && result.total.requires_grad(), WorkError,
             "train: objective must give a differentiable scalar, got something else");
  std::vector<torch::Tensor> scalars{result.total.detach().reshape({}).to(torch::kFloat64)};
  for (const auto& [name, value] : result.parts) scalars.push_back(value.detach().reshape({}).to(torch::kFloat64));
  const auto values = torch::stack(scalars).cpu();  // the step's only wait for the device
  total = values[0].item<double>();
  std::vector<std::pair<std::string, double>> parts;
  for (std::size_t i = 0; i < result.parts.size(); ++i) {
    parts.emplace_back(result.parts[i].first, values[static_cast<int64_t>(i) + 1].item<double>());
  }
  if (!std::isfinite(total)) {
    std::string list;
    for (const auto& [name, value] : parts) list += fmt::format("{}{} {}", list.empty() ? "" : ", ", name, value);
    throw WorkError(fmt::format("train: loss must be finite, got {} at step {} (epoch {}): {}", total, step_,
                                progress.epoch, list));
  }
  (share == 1.0 ? result.total : result.total * share).backward();
  return parts;
}

void Trainer::apply_step(const Progress& progress) {
  if (options_.clip_norm) {
    std::vector<torch::Tensor> gradients;
    for (const auto& p : trainable_parameters(*parts_.model, *parts_.objective)) gradients.push_back(p.value);
    // A norm that isn't finite would make every parameter NaN, and the next checkpoint with them.
    const double norm = torch::nn::utils::clip_grad_norm_(gradients, *options_.clip_norm);
    REID_CHECK(std::isfinite(norm), WorkError,
               fmt::format("train: norm of all gradients must be finite, got {} at step {} (epoch {})", norm, step_, progress.epoch));
  }
  parts_.optimizer->step();
  parts_.optimizer->zero_grad();
  ++step_;
  auto after = progress;
  after.step = step_;
  parts_.objective->after_step(*parts_.model, after);
  if (options_.ema) {
    const torch::NoGradGuard no_grad;
    for (const auto& [name, tensor] : nn::state_of(*parts_.model)) {
      auto& average = ema_.at(name);
      if (tensor.is_floating_point()) {
        average.lerp_(tensor.detach(), 1.0 - options_.ema->decay);
      } else {
        average.copy_(tensor);
      }
    }
  }
}

void Trainer::add(Sums& sums, const std::vector<std::pair<std::string, double>>& values, double total,
                  int64_t pictures) {
  for (const auto& [name, value] : values) {
    auto part = std::find_if(sums.parts.begin(), sums.parts.end(), [&name = name](const auto& p) { return p.name == name; });
    if (part == sums.parts.end()) part = sums.parts.insert(part, {name});
    part->sum += value;
    ++part->batches;
  }
  sums.total += total;
  sums.pictures += pictures;
  ++sums.batches;
}

Json Trainer::log_line(const char* event, const Sums& sums, double rate, double seconds, double waited) const {
  const auto count = static_cast<double>(std::max<int64_t>(1, sums.batches));
  Json line{{"event", event}, {"epoch", epoch_}, {"step", step_}, {"rate", rate}, {"loss", sums.total / count}};
  Json parts = Json::object();
  for (const auto& part : sums.parts) parts[part.name] = part.sum / static_cast<double>(part.batches);
  line["parts"] = std::move(parts);
  line["pictures"] = sums.pictures;
  line["seconds"] = seconds;
  line["data_wait_seconds"] = waited;
  return line;
}

bool Trainer::run(const TrainerHooks& hooks) {
  const auto stopping = [&] { return hooks.stop && hooks.stop(); };
  while (epoch_ < options_.epochs) {
    auto batches = parts_.sampler->epoch(parts_.labels, seed_, epoch_);
    const auto total_batches = static_cast<int64_t>(batches.size());
    REID_CHECK(total_batches > 0, ConfigError,
               fmt::format("/sampler: batch must fit the training set, got no batch from {} pictures",
                           parts_.labels.size()));
    REID_CHECK(batch_ <= total_batches, CheckpointError, "checkpoint: position must be within the epoch, got one beyond");
    Progress progress;
    progress.epoch = epoch_;
    progress.epochs = options_.epochs;
    progress.steps_per_epoch = (total_batches + options_.accumulate - 1) / options_.accumulate;
    batches.erase(batches.begin(), batches.begin() + batch_);
    parts_.loader->start(std::move(batches), seed_, epoch_);
    parts_.model->train();
    parts_.objective->train();
    parts_.optimizer->zero_grad();

    auto epoch_clock = Clock::now();
    auto interval_clock = epoch_clock;
    double waited = 0, interval_waited = 0;
    int64_t pictures_here = 0;
    double rate = 0;
    while (batch_ < total_batches) {
      const int64_t in_step = std::min(options_.accumulate, total_batches - batch_);
      progress.step = step_;
      rate = set_rates(progress, static_cast<double>(batch_) / static_cast<double>(total_batches));
      for (int64_t k = 0; k < in_step; ++k) {
        const auto wait_clock = Clock::now();
        const auto batch = parts_.loader->next();
        const double wait = seconds_since(wait_clock);
        waited += wait;
        interval_waited += wait;
        REID_ASSERT(batch.has_value());
        double total = 0;
        const auto values = train_batch(*batch, progress, 1.0 / static_cast<double>(in_step), total);
        add(epoch_sums_, values, total, batch->size());
        add(interval_sums_, values, total, batch->size());
        pictures_here += batch->size();
      }
      apply_step(progress);
      batch_ += in_step;
      if (options_.log_every > 0 && step_ % options_.log_every == 0) {
        if (hooks.log) {
          hooks.log(log_line("interval", interval_sums_, rate, seconds_since(interval_clock), interval_waited));
        }
        interval_sums_ = {};
        interval_clock = Clock::now();
        interval_waited = 0;
      }
      if (hooks.progress) {
        hooks.progress({fmt::format("epoch {}/{}", epoch_ + 1, options_.epochs), batch_, total_batches,
                        fmt::format("loss {:.3f}", epoch_sums_.total / static_cast<double>(epoch_sums_.batches))});
      }
      if (batch_ < total_batches && stopping()) return false;
    }
    const double seconds = seconds_since(epoch_clock);
    auto line = log_line("epoch", epoch_sums_, rate, seconds, waited);
    line["pictures_per_second"] = seconds > 0 ? static_cast<double>(pictures_here) / seconds : 0.0;
    if (hooks.log) hooks.log(line);
    epoch_sums_ = {};
    ++epoch_;
    batch_ = 0;
    if (hooks.epoch_end) hooks.epoch_end(epoch_);
    if (epoch_ < options_.epochs && stopping()) return false;
  }
  return true;
}

nn::StateDict Trainer::state() const {
  nn::StateDict result;
  add_with_prefix(result, nn::state_of(*parts_.model), "model.");
  add_with_prefix(result, nn::state_of(*parts_.objective), "objective.");
  add_with_prefix(result, parts_.optimizer->state(), "optimizer.");
  add_with_prefix(result, ema_, "ema.");
  result["random.cpu"] = generator_of(torch::kCPU).get_state();
  if (runtime_.device.is_cuda()) result["random.cuda"] = generator_of(runtime_.device).get_state();
  return result;
}

Json Trainer::position() const {
  const auto sums_json = [](const Sums& sums) {
    Json parts = Json::array();
    for (const auto& part : sums.parts) parts.push_back(Json::array({part.name, part.sum, part.batches}));
    return Json{{"batches", sums.batches}, {"pictures", sums.pictures}, {"total", sums.total}, {"parts", parts}};
  };
  return Json{{"epoch", epoch_},
              {"batch", batch_},
              {"step", step_},
              {"epoch_sums", sums_json(epoch_sums_)},
              {"interval_sums", sums_json(interval_sums_)}};
}

void Trainer::restore(const nn::StateDict& state, const Json& position, const std::string& source) {
  restore_module(*parts_.model, with_prefix_removed(state, "model."), source);
  restore_module(*parts_.objective, with_prefix_removed(state, "objective."), source);
  parts_.optimizer->load_state(with_prefix_removed(state, "optimizer."), source);
  const auto saved_ema = with_prefix_removed(state, "ema.");
  REID_CHECK(saved_ema.size() == ema_.size(), CheckpointError,
             fmt::format("{}: running average must be of this model, got {} tensors for {}", source, saved_ema.size(),
                         ema_.size()));
  for (auto& [name, tensor] : ema_) {
    const auto it = saved_ema.find(name);
    REID_CHECK(it != saved_ema.end() && it->second.sizes() == tensor.sizes(), CheckpointError,
               fmt::format("{}: running average must hold {}, got none of its shape", source, name));
    tensor.copy_(it->second);
  }
  const auto set_generator = [&](const std::string& name, torch::Device device) {
    const auto it = state.find(name);
    if (it == state.end()) return;  // saved on another kind of device
    auto generator = generator_of(device);
    const auto like = generator.get_state();
    REID_CHECK(it->second.scalar_type() == like.scalar_type() && it->second.sizes() == like.sizes(), CheckpointError,
               fmt::format("{}: {} must be a generator's state, got {} values", source, name, it->second.numel()));
    generator.set_state(it->second);
  };
  set_generator("random.cpu", torch::kCPU);
  if (runtime_.device.is_cuda()) set_generator("random.cuda", runtime_.device);
  try {
    const auto read_sums = [&source](const Json& json) {
      Sums sums;
      sums.batches = json.at("batches").get<int64_t>();
      sums.pictures = json.at("pictures").get<int64_t>();
      sums.total = json.at("total").get<double>();
      for (const auto& part : json.at("parts")) {
        // Checkpoints of earlier versions don't count by part: every batch had them all.
        const auto batches = part.size() > 2 ? part.at(2).get<int64_t>() : sums.batches;
        REID_CHECK(batches > 0, CheckpointError,
                   fmt::format("{}: a part of the loss must be of at least one batch, got {}", source, batches));
        sums.parts.push_back({part.at(0).get<std::string>(), part.at(1).get<double>(), batches});
      }
      return sums;
    };
    epoch_ = position.at("epoch").get<int64_t>();
    batch_ = position.at("batch").get<int64_t>();
    step_ = position.at("step").get<int64_t>();
    epoch_sums_ = read_sums(position.at("epoch_sums"));
    interval_sums_ = read_sums(position.at("interval_sums"));
  } catch (const Json::exception& error) {
    throw CheckpointError(fmt::format("{}: position must be whole, got a damaged one ({})", source, error.what()));
  }
  REID_CHECK(epoch_ >= 0 && batch_ >= 0 && step_ >= 0, CheckpointError,
             fmt::format("{}: position must not be negative, got epoch {}, batch {}", source, epoch_, batch_));
}

nn::StateDict Trainer::deployable() const { return options_.ema ? ema_ : nn::state_of(*parts_.model); }

void Trainer::with_deployable(const std::function<void(nn::Model&)>& work) {
  auto& model = *parts_.model;
  const auto live = nn::state_of(model);
  nn::StateDict kept;
  if (options_.ema) {
    kept = cloned(live);
    copy_into(live, ema_);
  }
  const auto back = [&] {
    if (options_.ema) copy_into(live, kept);
    model.train();
  };
  model.eval();
  try {
    work(model);
  } catch (...) {
    back();
    throw;
  }
  back();
}

}  // namespace reid::engine
