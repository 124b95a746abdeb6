// SPDX-License-Identifier: Apache-2.0
#include "reid/losses/support_fusion.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <cmath>

#include "reid/core/error.hpp"
#include "reid/ops/check.hpp"

namespace reid::losses {

using torch::Tensor;

SupportFusion::SupportFusion(int64_t width, const SupportFusionOptions& options) : width_(width), options_(options) {
  REID_CHECK(width > 0 && options.heads > 0 && width % options.heads == 0, ConfigError,
             fmt::format("support fusion: heads must divide the feature's width {}, got {}", width, options.heads));
  const auto linear = [&](const char* name) {
    return register_module(name, torch::nn::Linear(torch::nn::LinearOptions(width, width).bias(false)));
  };
  query_ = linear("query");
  key_ = linear("key");
  value_ = linear("value");
  out_ = linear("out");
  if (options.start == FusionStart::mean) {
    const torch::NoGradGuard no_grad;
    torch::nn::init::zeros_(query_->weight);
    torch::nn::init::eye_(value_->weight);
    torch::nn::init::eye_(out_->weight);
  }
  const auto layer_norm = [&](const char* name) {
    return register_module(name, torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
  };
  const bool normed = options.norm != FusionNorm::none;
  if (normed) norm_ = layer_norm("norm");
  if (options.ffn) {
    fc1_ = register_module("fc1", torch::nn::Linear(width, width));
    fc2_ = register_module("fc2", torch::nn::Linear(width, width));
    if (normed) ffn_norm_ = layer_norm("ffn_norm");
  }
}

Tensor SupportFusion::forward(const Tensor& sample, const Tensor& support, Tensor* attention) {
  ops::check_rank(sample, "support fusion", "sample", 2, fmt::format("[N, {}]", width_));
  ops::check_rank(support, "support fusion", "support", 3, fmt::format("[N, M, {}]", width_));
  const auto n = sample.size(0);
  REID_CHECK(sample.size(1) == width_ && support.size(0) == n && support.size(2) == width_, ShapeError,
             fmt::format("support fusion: sample and support must be [N, {0}] and [N, M, {0}], got {1} and {2}", width_,
                         ops::describe(sample), ops::describe(support)));
  if (support.size(1) == 0) return sample;
  const Tensor views = torch::cat({sample.unsqueeze(1), support}, 1);  // [N, M + 1, D]
  const auto heads = options_.heads;
  const auto split = [&](const Tensor& x) { return x.view({n, x.size(1), heads, width_ / heads}).transpose(1, 2); };
  const auto place = options_.norm;
  const auto normed = [&](FusionNorm here, torch::nn::LayerNorm& norm, const Tensor& x) { return place == here ? norm(x) : x; };
  const Tensor asking = options_.self_attn_mean ? views : sample.unsqueeze(1);
  const Tensor seen = normed(FusionNorm::before, norm_, views);
  const Tensor q = split(query_(seen.narrow(1, 0, asking.size(1)))), k = split(key_(seen)), v = split(value_(seen));
  const double scale = 1 / std::sqrt(static_cast<double>(width_) / static_cast<double>(heads));
  const Tensor weights = torch::softmax(q.matmul(k.transpose(2, 3)) * scale, 3);  // [N, H, Q, M + 1]
  if (attention != nullptr) *attention = weights.mean(2);
  const Tensor kept = torch::dropout(weights, options_.dropout, is_training());
  const Tensor joined = kept.matmul(v).transpose(1, 2).reshape({n, -1, width_});  // [N, Q, D]
  const Tensor fused = out_(joined);
  const Tensor result = normed(FusionNorm::after, norm_, options_.residual ? asking + fused : fused).mean(1);
  if (!options_.ffn) return result;
  const Tensor inner = fc2_(torch::gelu(fc1_(normed(FusionNorm::before, ffn_norm_, result))));
  return normed(FusionNorm::after, ffn_norm_, result + inner);
}

}  // namespace reid::losses
