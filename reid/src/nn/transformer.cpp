// SPDX-License-Identifier: Apache-2.0
#include "reid/nn/transformer.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <cmath>
#include <limits>

#include "reid/core/error.hpp"
#include "reid/ops/check.hpp"
#include "reid/ops/matmul.hpp"

namespace reid::nn {

namespace {

using torch::Tensor;

torch::nn::LayerNorm layer_norm(int64_t width, double eps) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}).eps(eps));
}

Tensor product(const torch::nn::Linear& linear, const Tensor& x) { return ops::linear(x, linear->weight, linear->bias); }

/// Rows [begin, begin + count) of a linear layer, its weight not copied.
Tensor product_of_rows(const torch::nn::Linear& linear, const Tensor& x, int64_t begin, int64_t count) {
  return ops::linear(x, linear->weight.narrow(0, begin, count),
                     linear->bias.defined() ? linear->bias.narrow(0, begin, count) : Tensor());
}

/// branch + residual. A branch is a product's result, new and nobody else's: without gradients the sum is written into
/// it, unless autocast made it of another type.
Tensor sum(Tensor branch, const Tensor& residual) {
  if (at::GradMode::is_enabled() || branch.scalar_type() != residual.scalar_type()) return residual + branch;
  return branch.add_(residual);
}

}  // namespace

Tensor drop_path(const Tensor& branch, double rate, bool training) {
  if (!training || rate == 0) return branch;
  std::vector<int64_t> sizes(static_cast<std::size_t>(branch.dim()), 1);
  sizes[0] = branch.size(0);
  const double keep = 1 - rate;
  return branch * (torch::rand(sizes, branch.options().requires_grad(false)) + keep).floor_().div_(keep);
}

TransformerBlock::TransformerBlock(const TransformerOptions& options, double drop_path)
    : options_(options), drop_path_(drop_path) {
  REID_CHECK(options.heads > 0 && options.width % options.heads == 0, ConfigError,
             fmt::format("transformer: width must be a multiple of heads, got {} and {}", options.width, options.heads));
  const auto width = options.width;
  norm1_ = register_module("norm1", layer_norm(width, options.norm_eps));
  auto attention = std::make_shared<torch::nn::Module>("attn");
  qkv_ = attention->register_module(
      "qkv", torch::nn::Linear(torch::nn::LinearOptions(width, 3 * width).bias(options.qkv_bias)));
  proj_ = attention->register_module("proj", torch::nn::Linear(width, width));
  register_module("attn", attention);
  norm2_ = register_module("norm2", layer_norm(width, options.norm_eps));
  auto mlp = std::make_shared<torch::nn::Module>("mlp");
  fc1_ = mlp->register_module("fc1", torch::nn::Linear(width, options.hidden));
  fc2_ = mlp->register_module("fc2", torch::nn::Linear(options.hidden, width));
  register_module("mlp", mlp);
  const torch::NoGradGuard no_grad;
  for (auto* linear : {&qkv_, &proj_, &fc1_, &fc2_}) {
    (*linear)->weight.normal_(0, 0.02);
    if ((*linear)->bias.defined()) (*linear)->bias.zero_();
  }
}

Tensor TransformerBlock::queries(const Tensor& normed) { return product_of_rows(qkv_, normed, 0, options_.width); }

KeysValues TransformerBlock::keys_values_of_normed(const Tensor& normed) {
  return product_of_rows(qkv_, normed, options_.width, 2 * options_.width);
}

KeysValues TransformerBlock::keys_values(const Tensor& tokens) { return keys_values_of_normed(norm1_(tokens)); }

/// q [N, Q, D], k and v [N, S, D] to [N, Q, D].
Tensor TransformerBlock::attend(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                                Tensor* attention) {
  const auto split = [&](const Tensor& x) {
    return x.unflatten(2, {options_.heads, options_.width / options_.heads}).transpose(1, 2);
  };
  const auto by_head = mask.defined() ? mask.unsqueeze(1).unsqueeze(2) : Tensor();  // [N, 1, 1, S]
  Tensor result;
  if (attention == nullptr) {
    const auto bias = mask.defined() ? std::optional<Tensor>(by_head) : std::nullopt;
    result = at::scaled_dot_product_attention(split(q), split(k), split(v), bias, 0.0, false, options_.attention_scale);
  } else {
    const auto head = static_cast<double>(options_.width / options_.heads);
    auto scores = torch::matmul(split(q) * options_.attention_scale.value_or(1 / std::sqrt(head)),
                                split(k).transpose(2, 3));
    if (mask.defined()) scores = scores.masked_fill(~by_head, -std::numeric_limits<double>::infinity());
    *attention = torch::softmax(scores, -1);
    result = torch::matmul(attention->to(v.scalar_type()), split(v));
  }
  return result.transpose(1, 2).flatten(2);
}

/// The projection, both residual sums and the MLP.
Tensor TransformerBlock::finish(const Tensor& residual, const Tensor& attended) {
  const bool training = is_training();
  const auto x = sum(drop_path(product(proj_, attended), drop_path_, training), residual);
  auto hidden = product(fc1_, norm2_(x));
  hidden = at::GradMode::is_enabled() ? at::gelu(hidden) : at::gelu_(hidden);
  return sum(drop_path(product(fc2_, hidden), drop_path_, training), x);
}

Tensor TransformerBlock::forward(const Tensor& tokens, Tensor* attention) {
  const auto parts = product(qkv_, norm1_(tokens)).chunk(3, 2);
  return finish(tokens, attend(parts[0], parts[1], parts[2], {}, attention));
}

Tensor TransformerBlock::forward_first(const Tensor& tokens) {
  const auto normed = norm1_(tokens);
  const auto parts = keys_values_of_normed(normed).chunk(2, 2);
  return finish(tokens.narrow(1, 0, 1), attend(queries(normed.narrow(1, 0, 1)), parts[0], parts[1], {}, nullptr));
}

Tensor TransformerBlock::cross(const Tensor& anchor, const KeysValues& source, const Tensor& mask, Tensor* attention) {
  const auto width = options_.width;
  const bool fits = anchor.defined() && source.defined() && anchor.dim() == 3 && source.dim() == 3 &&
                    anchor.size(2) == width && source.size(2) == 2 * width && anchor.size(0) == source.size(0);
  if (!fits) {
    throw ShapeError(fmt::format("cross attention: anchor and source must be [M, Q, {}] and [M, S, {}] float, got {} and {}",
                                 width, 2 * width, ops::describe(anchor), ops::describe(source)));
  }
  if (mask.defined() && (mask.dim() != 2 || mask.size(0) != source.size(0) || mask.size(1) != source.size(1) ||
                         mask.scalar_type() != torch::kBool)) {
    throw ShapeError(fmt::format("cross attention: mask must be [{}, {}] bool, got {}", source.size(0), source.size(1),
                                 ops::describe(mask)));
  }
  const auto parts = source.chunk(2, 2);
  return finish(anchor, attend(queries(norm1_(anchor)), parts[0], parts[1], mask, attention));
}

void copy_parameters(const torch::nn::Module& from, torch::nn::Module& to) {
  const torch::NoGradGuard no_grad;
  const auto source = from.named_parameters();
  for (auto& item : to.named_parameters()) item.value().copy_(source[item.key()]);
}

}  // namespace reid::nn
