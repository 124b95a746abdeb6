// SPDX-License-Identifier: Apache-2.0
#include "reid/losses/cross_block.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include "reid/core/error.hpp"
#include "reid/ops/check.hpp"

namespace reid::losses {

const nn::TransformerEncoder& encoder_of(const nn::Model& model, const std::string& where) {
  const auto* encoder = dynamic_cast<const nn::TransformerEncoder*>(&model);
  const auto& spec = model.spec();
  REID_CHECK(encoder != nullptr, ConfigError,
             fmt::format("{}: model must be a transformer with a class token (vit_*), got {}", where,
                         spec.is_object() ? spec.value("name", "another") : "another"));
  return *encoder;
}

CrossBlock::CrossBlock(const nn::TransformerEncoder& encoder, CrossStart start, int64_t depth) : start_(start) {
  const auto& last = encoder.encoder_blocks();
  const auto count = static_cast<std::size_t>(depth);
  REID_CHECK(depth >= 1 && last.size() >= count, ConfigError,
             fmt::format("cross block: depth must be 1 to the encoder's number of blocks ({}), got {}", last.size(), depth));
  if (start == CrossStart::encoder) {
    blocks_.assign(last.end() - depth, last.end());  // not registered: they are the model's
    norm_ = encoder.final_norm();
    return;
  }
  torch::nn::ModuleList list;
  for (auto source = last.end() - depth; source != last.end(); ++source) {
    auto block = std::make_shared<nn::TransformerBlock>((*source)->options());
    list->push_back(block);
    blocks_.push_back(std::move(block));
  }
  register_module("blocks", list);
  norm_ = register_module("norm", torch::nn::LayerNorm(encoder.final_norm()->options));
  restart(encoder);
}

void CrossBlock::restart(const nn::TransformerEncoder& encoder) {
  if (start_ != CrossStart::last_blocks && start_ != CrossStart::mean) return;
  const torch::NoGradGuard no_grad;
  const auto& last = encoder.encoder_blocks();
  const auto first = last.size() - blocks_.size();
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    nn::copy_parameters(*last[first + i], *blocks_[i]);
    if (start_ != CrossStart::mean) continue;
    auto of = blocks_[i]->named_parameters();
    const auto rows = of["attn.qkv.weight"].chunk(3);
    rows[0].zero_();
    torch::nn::init::eye_(rows[2]);
    torch::nn::init::eye_(of["attn.proj.weight"]);
    for (const auto* name : {"attn.qkv.bias", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias", "norm1.bias"}) {
      if (auto* parameter = of.find(name)) parameter->zero_();  // keys, queries and values may have no bias
    }
    of["norm1.weight"].fill_(1);
  }
  nn::copy_parameters(*encoder.final_norm(), *norm_);
}

std::vector<nn::KeysValues> CrossBlock::project(const torch::Tensor& tokens) {
  std::vector<nn::KeysValues> result;
  for (const auto& block : blocks_) result.push_back(block->keys_values(tokens));
  return result;
}

CrossBlock::Output CrossBlock::forward(const torch::Tensor& tokens, const std::vector<nn::KeysValues>& source,
                                       const torch::Tensor& anchors, const torch::Tensor& images,
                                       const torch::Tensor& mask, Attention attention) {
  ops::check_rank(tokens, "cross block", "tokens", 3, "[N, L, D] float");
  REID_CHECK(anchors.dim() == 1 && images.dim() == 2 && images.size(0) == anchors.size(0) && images.size(1) > 0, ShapeError,
             fmt::format("cross block: anchors and images must be [M] and [M, P] int64, got {} and {}",
                         ops::describe(anchors), ops::describe(images)));
  REID_ASSERT(source.size() == blocks_.size());
  const auto m = anchors.size(0), p = images.size(1), length = source[0].size(1);
  const bool all = attention == Attention::all;
  auto x = (all ? tokens : tokens.narrow(1, 0, 1)).index_select(0, anchors);  // [M, Q, D]
  torch::Tensor keys_mask;
  if (mask.defined()) keys_mask = mask.unsqueeze(2).expand({m, p, length}).reshape({m, p * length});
  const auto flat = images.reshape({m * p});
  Output output;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const auto gathered = source[i].index_select(0, flat).view({m, p * length, source[i].size(2)});
    torch::Tensor weights;
    x = blocks_[i]->cross(x, gathered, keys_mask, attention == Attention::none ? nullptr : &weights);
    if (!weights.defined()) continue;
    const auto mean = weights.mean(1).unflatten(2, {p, length}) / static_cast<double>(blocks_.size());  // [M, Q, P, L]
    output.map = output.map.defined() ? output.map + mean : mean;
  }
  output.feature = norm_(x.select(1, 0));
  if (output.map.defined()) output.response = output.map.sum(3).mean(1);
  return output;
}

}  // namespace reid::losses
