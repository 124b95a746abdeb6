// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "reid/core/json.hpp"
#include "reid/core/options.hpp"

namespace reid::engine {

/// Where and with how many threads work is done. Chosen once, by the program, and passed down.
struct Runtime {
  torch::Device device = torch::kCPU;
  int64_t threads = 1;  ///< of the CPU: network and loader together
};

/// Type in which products and convolutions are computed. `bf16` is LibTorch's autocast, on the CPU and on CUDA:
/// parameters, gradients and the optimizer stay float32; no loss scaling is needed.
enum class Precision { fp32, bf16 };

/// `auto` (CUDA where there is a device, else the CPU), `cpu`, `cuda`, `cuda:K`.
/// @throws DeviceError for another word, and for a device that isn't there.
torch::Device select_device(const std::string& name);

/// Several of them, with commas between, or `cuda:all`: what scoring splits a gallery between. None for the CPU, which stands alone.
/// @throws DeviceError as above, and for a device that is named twice.
std::vector<torch::Device> select_devices(const std::string& names);

/// Sets LibTorch's number of threads for the calling thread and makes the Runtime.
/// @param threads  0: all cores.
Runtime make_runtime(const std::string& device, int64_t threads);

/// Autocast to `precision` in this scope and thread; the former state comes back at its end.
class Autocast {
 public:
  Autocast(torch::Device device, Precision precision);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  torch::DeviceType type_;
  bool active_ = false;
  bool was_enabled_ = false;
  torch::ScalarType was_dtype_ = torch::kFloat32;
};

/// What results depend on besides the configuration: version, LibTorch, processor, device, threads, and which
/// library computes products (`ops::Product`).
Json environment(const Runtime& runtime);

}  // namespace reid::engine

template <>
struct reid::EnumNames<reid::engine::Precision> {
  static constexpr std::array<std::pair<reid::engine::Precision, const char*>, 2> values{
      {{reid::engine::Precision::fp32, "fp32"}, {reid::engine::Precision::bf16, "bf16"}}};
};
