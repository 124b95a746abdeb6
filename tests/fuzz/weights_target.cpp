// SPDX-License-Identifier: Apache-2.0
#include <torch/types.h>

#include <cstring>
#include <vector>

#include "fuzz/targets.hpp"
#include "reid/core/error.hpp"
#include "weight_formats.hpp"

namespace reid::fuzz {
namespace {

volatile char sink;  // what keeps the reads below from being left out

/// Reads the first and the last byte of a tensor: both must be memory that we own.
void touch(const torch::Tensor& tensor) {
  require(tensor.defined() && tensor.device().is_cpu(), "tensor must be defined and on the CPU");
  if (tensor.numel() == 0) return;
  int64_t last = 0;
  for (int64_t i = 0; i < tensor.dim(); ++i) last += (tensor.size(i) - 1) * tensor.stride(i);
  const auto width = static_cast<int64_t>(tensor.element_size());
  const auto* data = static_cast<const char*>(tensor.const_data_ptr());
  sink = data[0];
  sink = data[last * width + width - 1];
}

}  // namespace

void weights(std::string_view bytes) {
  const auto copy = std::make_shared<std::vector<char>>(bytes.begin(), bytes.end());
  const std::string source = "fuzz.pth";
  try {
    const auto file = nn::detail::parse_weights({std::string_view(copy->data(), copy->size()), copy}, source);
    require(!file.format.empty(), "format must be named");
    for (const auto& [name, tensor] : file.tensors) touch(tensor);
  } catch (const CheckpointError& error) {
    require_sentence(error.what(), source);
  }
}

}  // namespace reid::fuzz
