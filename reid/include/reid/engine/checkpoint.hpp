// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "reid/core/json.hpp"
#include "reid/nn/state_dict.hpp"

namespace reid::engine {

/// A training run as it can be resumed: tensors and, in the same file's metadata, everything else. One file, so that
/// both are of the same moment; written to a temporary name, synced and renamed, so that the former checkpoint stays
/// until the new one is whole. The tensors' fingerprint is in the metadata too: a changed bit is noticed when they are read.
struct Checkpoint {
  nn::StateDict tensors;
  Json state;  ///< version, configuration, stage, position
};

/// @throws WorkError if it can't be written (full disk); the former file is then unchanged.
void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);

/// @throws CheckpointError naming the file if it is truncated, damaged or no checkpoint.
Checkpoint load_checkpoint(const std::filesystem::path& path);

/// The entries under `prefix`, with the prefix taken off.
nn::StateDict with_prefix_removed(const nn::StateDict& tensors, const std::string& prefix);

/// Adds the entries of `from` to `to` under `prefix`.
void add_with_prefix(nn::StateDict& to, const nn::StateDict& from, const std::string& prefix);

/// Copies every tensor into the module's parameter or buffer of that name, exactly: no name more or less, no other
/// shape. @throws CheckpointError naming `source` and the first few names; the module is then unchanged.
void restore_module(torch::nn::Module& module, const nn::StateDict& tensors, const std::string& source);

/// Fingerprint of names, shapes and values, for results: "fnv1a64:0123456789abcdef".
std::string fingerprint_of(const nn::StateDict& tensors);

}  // namespace reid::engine
