// SPDX-License-Identifier: Apache-2.0
#include "reid/nn/objective.hpp"

#include "reid/core/error.hpp"

namespace reid::nn {
namespace {
[[noreturn]] void no_fusion() {
  throw ConfigError("fuse: objective must fuse samples with their support (lcr2s_teacher), got one that doesn't");
}
}  // namespace

torch::Tensor Objective::fuse_images(const torch::Tensor&, const torch::Tensor&) { no_fusion(); }
torch::Tensor Objective::fuse_texts(const torch::Tensor&, const torch::Tensor&) { no_fusion(); }

}  // namespace reid::nn
