// SPDX-License-Identifier: Apache-2.0
#include "reid/core/types.hpp"

namespace reid {

Batch Batch::to(torch::Device device) const {
  Batch result;
  const auto move = [&](const torch::Tensor& tensor) {
    return tensor.defined() ? tensor.to(device, /*non_blocking=*/tensor.is_pinned()) : tensor;
  };
  result.images = move(images);
  result.tokens = move(tokens);
  result.mask = move(mask);
  result.identities = move(identities);
  result.cameras = move(cameras);
  result.clothes = move(clothes);
  result.index = move(index);
  result.support_images = move(support_images);
  result.support_tokens = move(support_tokens);
  result.support_mask = move(support_mask);
  return result;
}

}  // namespace reid
