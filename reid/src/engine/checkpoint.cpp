// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/checkpoint.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <string_view>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"

namespace reid::engine {
namespace {

constexpr const char* kFormat = "reid-checkpoint-1";
constexpr const char* kTensors = "tensors";

std::string shape_of(const torch::Tensor& tensor) { return fmt::format("{}", c10::str(tensor.sizes())); }

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  nn::write_safetensors(path, checkpoint.tensors,
                        {{"format", kFormat}, {"state", checkpoint.state.dump()}, {kTensors, fingerprint_of(checkpoint.tensors)}});
}

Checkpoint load_checkpoint(const std::filesystem::path& path) {
  auto file = nn::read_weights(path);
  const auto format = file.metadata.find("format");
  const auto state = file.metadata.find("state");
  if (format == file.metadata.end() || format->second != kFormat || state == file.metadata.end()) {
    throw CheckpointError(fmt::format("{}: file must be a training checkpoint, got {}", path.string(),
                                      format == file.metadata.end() ? "a weight file" : "format " + format->second));
  }
  Checkpoint result;
  result.tensors = std::move(file.tensors);
  const auto written = file.metadata.find(kTensors);  // earlier versions wrote none
  if (written != file.metadata.end()) {
    const auto read = fingerprint_of(result.tensors);
    REID_CHECK(read == written->second, CheckpointError,
               fmt::format("{}: tensors must be as they were written ({}), got damaged ones ({})", path.string(), written->second, read));
  }
  try {
    result.state = parse_json(state->second, path.string());
  } catch (const Error& error) {
    throw CheckpointError(fmt::format("{}: state must be JSON, got a damaged one ({})", path.string(), error.what()));
  }
  return result;
}

nn::StateDict with_prefix_removed(const nn::StateDict& tensors, const std::string& prefix) {
  nn::StateDict result;
  for (auto it = tensors.lower_bound(prefix); it != tensors.end() && it->first.rfind(prefix, 0) == 0; ++it) {
    result.emplace(it->first.substr(prefix.size()), it->second);
  }
  return result;
}

void add_with_prefix(nn::StateDict& to, const nn::StateDict& from, const std::string& prefix) {
  for (const auto& [name, tensor] : from) to[prefix + name] = tensor;
}

void restore_module(torch::nn::Module& module, const nn::StateDict& tensors, const std::string& source) {
  const auto own = nn::state_of(module);
  std::vector<std::string> problems;
  for (const auto& [name, tensor] : own) {
    const auto it = tensors.find(name);
    if (it == tensors.end()) {
      problems.push_back(name + " is missing");
    } else if (it->second.sizes() != tensor.sizes() || it->second.scalar_type() != tensor.scalar_type()) {
      problems.push_back(fmt::format("{} is {}, not {}", name, shape_of(it->second), shape_of(tensor)));
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (own.count(name) == 0) problems.push_back(name + " is unexpected");
  }
  if (!problems.empty()) {
    std::string list;
    for (std::size_t i = 0; i < problems.size() && i < 5; ++i) list += (i ? ", " : "") + problems[i];
    if (problems.size() > 5) list += fmt::format(" and {} more", problems.size() - 5);
    throw CheckpointError(fmt::format("{}: tensors must be those of this model, got: {}", source, list));
  }
  const torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : own) tensor.detach().copy_(tensors.at(name));
}

std::string fingerprint_of(const nn::StateDict& tensors) {
  uint64_t hash = fingerprint("");
  for (const auto& [name, tensor] : tensors) {
    hash = fingerprint(name + shape_of(tensor), hash);
    const auto bytes = tensor.detach().cpu().contiguous();
    hash = fingerprint({static_cast<const char*>(bytes.data_ptr()), bytes.nbytes()}, hash);
  }
  return fmt::format("fnv1a64:{:016x}", hash);
}

}  // namespace reid::engine
