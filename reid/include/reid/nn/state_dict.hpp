// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace reid::nn {

/// Named tensors, sorted by name.
using StateDict = std::map<std::string, torch::Tensor>;

/// A weight file as it was read.
struct WeightFile {
  StateDict tensors;
  std::map<std::string, std::string> metadata;  ///< of a .safetensors file
  std::string format;                           ///< "safetensors", "pytorch zip", "pytorch legacy"
};

/// Reads `.safetensors` and PyTorch `.pth`/`.pt`/`.tar`/`.bin` files (zip and legacy), told apart by their bytes.
/// Nothing in the file is executed: of the pickle only what state dictionaries need is understood. Wrapped
/// dictionaries (`{"state_dict": ..., "epoch": ...}`) are opened. Every length and offset is checked against the
/// file before memory is asked for. @throws CheckpointError naming the file and what is wrong.
WeightFile read_weights(const std::filesystem::path& path);

/// Writes `.safetensors`, atomically. Tensors are made contiguous and moved to the CPU.
void write_safetensors(const std::filesystem::path& path, const StateDict& tensors,
                       const std::map<std::string, std::string>& metadata = {});

/// One published naming of an architecture's weights. `rename` maps a file's key to a parameter or buffer name of
/// the model, "" to leave it out (classifiers), nullopt if the layout doesn't know the key.
struct StateLayout {
  std::string name;  ///< "torchvision", "torchreid", "transreid", ...
  std::function<std::optional<std::string>(const std::string& key)> rename;
};

/// How `load_state` went.
struct LoadReport {
  std::string layout;
  int64_t loaded = 0;
  std::vector<std::string> left_out;       ///< keys of the file that the layout drops: classifiers, counters
  std::vector<std::string> reinitialised;  ///< allowed heads of another size
};

struct LoadOptions {
  bool allow_missing_neck = false;   ///< ImageNet weights carry no BN neck
  std::vector<std::string> skip{};   ///< glob patterns of model names that may be missing or of another shape
};

/// Loads a state dictionary into a module whose names are the model's. Prefixes `module.` are dropped, the layout
/// that knows most keys is taken. `num_batches_tracked` may be absent or superfluous.
/// @throws CheckpointError listing missing, unexpected and wrong-shaped names; the module is then unchanged.
LoadReport load_state(torch::nn::Module& module, const StateDict& tensors, const std::vector<StateLayout>& layouts,
                      const std::string& source, const LoadOptions& options = {});

/// Parameters and buffers of a module by name.
StateDict state_of(const torch::nn::Module& module);

}  // namespace reid::nn
