// SPDX-License-Identifier: Apache-2.0
#include "jigsaw.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <numeric>

#include "reid/core/error.hpp"
#include "reid/nn/blocks.hpp"

namespace reid::models {

std::vector<int64_t> jigsaw_order(const JigsawOptions& options, int64_t places, const std::string& pointer) {
  REID_CHECK(options.parts <= places, ConfigError,
             fmt::format("{}/parts: number must be at most the picture's places ({}), got {}", pointer, places, options.parts));
  std::vector<int64_t> order(static_cast<std::size_t>(places));
  std::iota(order.begin(), order.end(), 1);
  if (options.shuffle) {
    REID_CHECK(options.shift <= places, ConfigError,
               fmt::format("{}/shift: token must be one of the picture's {} places, got {}", pointer, places, options.shift));
    std::rotate(order.begin(), order.begin() + (options.shift - 1), order.end());
    if (places % options.groups != 0 && places > 1) order.push_back(order[order.size() - 2]);
    const auto length = static_cast<int64_t>(order.size());
    REID_CHECK(length % options.groups == 0, ConfigError,
               fmt::format("{}/groups: number must divide the picture's {} places, or one more, got {}", pointer, places, options.groups));
    const int64_t share = length / options.groups;
    const auto shifted = order;
    for (int64_t i = 0; i < length; ++i) {
      order[static_cast<std::size_t>(i)] = shifted[static_cast<std::size_t>(i % options.groups * share + i / options.groups)];
    }
  }
  order.resize(static_cast<std::size_t>(options.parts * (places / options.parts)));
  return order;
}

Jigsaw::Jigsaw(const JigsawOptions& options, const EncoderOptions& encoder, int64_t places, const std::string& pointer)
    : parts_(options.parts), order_(torch::tensor(jigsaw_order(options, places, pointer), torch::kInt64)) {
  block_ = register_module("block", std::make_shared<nn::TransformerBlock>(encoder.block(), encoder.drop_path));
  norm_ = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({encoder.width}).eps(encoder.norm_eps)));
  if (!encoder.neck) return;
  for (int64_t part = 1; part <= parts_; ++part) {
    necks_.push_back(register_module(fmt::format("bottleneck_{}", part), nn::make_bn_neck(encoder.width)));
  }
}

std::vector<torch::Tensor> Jigsaw::forward(const torch::Tensor& tokens) {
  const auto n = tokens.size(0), width = tokens.size(2), length = order_.size(0) / parts_;
  const auto places = tokens.index_select(1, order_.to(tokens.device())).view({n, parts_, length, width});
  const auto heads = tokens.narrow(1, 0, 1).unsqueeze(1).expand({n, parts_, 1, width});
  const auto all = torch::cat({heads, places}, 2).view({n * parts_, 1 + length, width});
  return norm_(block_->forward_first(all)).view({n, parts_, width}).unbind(1);
}

}  // namespace reid::models
