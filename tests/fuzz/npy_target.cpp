// SPDX-License-Identifier: Apache-2.0
#include <torch/types.h>

#include "fuzz/targets.hpp"
#include "reid/core/error.hpp"
#include "reid/metrics/npy.hpp"

namespace reid::fuzz {

void npy(std::string_view bytes) {
  const std::string source = "fuzz.npy";
  try {
    // A copy of its own size, so that a sanitizer sees a read behind the end.
    const std::string copy(bytes);
    const auto header =
        metrics::parse_npy_header(reinterpret_cast<const uint8_t*>(copy.data()), copy.size(), source);
    require(header.offset <= copy.size(), "data must begin within the file");
    int64_t count = 1;
    bool empty = false, overflows = false;
    for (const int64_t size : header.shape) {
      require(size >= 0, "sizes must not be negative");
      empty = empty || size == 0;
      overflows = overflows || __builtin_mul_overflow(count, size, &count);
    }
    require(empty || !overflows, "sizes must not overflow");
  } catch (const InputError& error) {
    require_sentence(error.what(), source);
  }

  const std::string path = scratch_file("fuzz.npy", bytes);
  try {
    const auto features = metrics::read_npy_features(path);
    require(features.dim() == 2 && features.scalar_type() == torch::kFloat32, "features must be [N, D] float32");
    const auto memory = static_cast<std::size_t>(features.numel());
    require(memory <= bytes.size(), "features must come from the file");
    if (memory > 0) {
      const float* data = features.const_data_ptr<float>();
      volatile float sum = data[0];
      sum = sum + data[memory - 1];
    }
  } catch (const InputError& error) {
    require_sentence(error.what(), path);
  }
  try {
    const auto labels = metrics::read_npy_labels(path);
    require(labels.dim() == 1 && labels.scalar_type() == torch::kInt64, "labels must be [N] int64");
    require(static_cast<std::size_t>(labels.numel()) <= bytes.size(), "labels must come from the file");
  } catch (const InputError& error) {
    require_sentence(error.what(), path);
  }
}

}  // namespace reid::fuzz
