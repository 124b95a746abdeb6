// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/torch.h>

#include "reid/models/body.hpp"

namespace reid::models {

/// Attention roll-out (Abnar and Zuidema, ACL 2020, arXiv:2005.00928), without gradient:
///   R = A_depth ... A_1,   A = (attention + I) / 2
class Rollout {
 public:
  /// @param attention  [N, L, L], mean over heads, of the next block.
  void add(const torch::Tensor& attention) {
    const torch::NoGradGuard no_grad;
    const auto kept = attention.detach();
    const auto mean = (kept + torch::eye(kept.size(1), kept.options())) / 2;
    product_ = product_.defined() ? torch::matmul(mean, product_) : mean;
  }
  /// From the first token to the places behind it, divided by the largest: [N, 1, h, w].
  torch::Tensor map(MapSize grid) const {
    const auto places = product_.select(1, 0).narrow(1, 1, grid.positions());
    return (places / places.amax(1, true)).view({product_.size(0), 1, grid.height, grid.width});
  }

 private:
  torch::Tensor product_;
};

}  // namespace reid::models
