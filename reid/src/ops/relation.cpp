// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/relation.hpp"

#include <ATen/autocast_mode.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include "reid/core/error.hpp"
#include "reid/ops/check.hpp"

namespace reid::ops {
namespace {

using torch::Tensor;

/// out + bias [m] in each row of [B, m, N].
Tensor with_bias(const Tensor& out, const Tensor& bias) { return bias.defined() ? out + bias.view({1, -1, 1}) : out; }

Tensor dense_relation(const Tensor& embeddings, const Tensor& weight, const Tensor& bias) {
  const auto halves = embeddings.chunk(2, 1);
  const Tensor map = at::bmm(halves[0].transpose(1, 2), halves[1]);                     // [B, N, N]
  return with_bias(at::matmul(weight, at::cat({map.transpose(1, 2), map}, 1)), bias);  // [m, 2N] x [B, 2N, N]
}

Tensor factored_relation(const Tensor& embeddings, const Tensor& weight, const Tensor& bias, Product product) {
  const int64_t nodes = embeddings.size(2);
  const auto halves = embeddings.chunk(2, 1);
  const Tensor u = linear(halves[1], weight.narrow(1, 0, nodes), {}, product);      // W_in meets phi: [B, r, m]
  const Tensor v = linear(halves[0], weight.narrow(1, nodes, nodes), {}, product);  // W_out meets theta: [B, r, m]
  const Tensor mix = at::cat({u, v}, 1);                                            // [B, 2r, m]
  const Tensor by_node = embeddings.transpose(1, 2);                                // [B, N, 2r]
  return (bias.defined() ? at::baddbmm(bias, by_node, mix) : at::bmm(by_node, mix)).transpose(1, 2);
}

}  // namespace

RelationPath relation_path(int64_t nodes, int64_t rank, int64_t outputs) {
  const bool cheaper = 4 * rank * outputs < nodes * (rank + 2 * outputs);
  return cheaper && nodes >= kFactoredNodes ? RelationPath::factored : RelationPath::dense;
}

Tensor relation(const Tensor& embeddings, const Tensor& weight, const Tensor& bias, RelationPath path,
                Product product) {
  check_rank(embeddings, "relation", "embeddings", 3, "[B, 2r, N] float");
  check_rank(weight, "relation", "weight", 2, "[m, 2N] float");
  if (embeddings.size(1) % 2 != 0) {
    throw ShapeError("relation: embeddings must be [B, 2r, N] float, theta above phi, got " + describe(embeddings));
  }
  if (weight.size(1) != 2 * embeddings.size(2) || weight.device() != embeddings.device()) {
    throw ShapeError(fmt::format("relation: weight must be [m, {}] on {}, got {}", 2 * embeddings.size(2),
                                 embeddings.device().str(), describe(weight)));
  }
  if (bias.defined() && (bias.dim() != 1 || bias.size(0) != weight.size(0) || bias.device() != embeddings.device())) {
    throw ShapeError(fmt::format("relation: bias must be [{}] on {}, got {}", weight.size(0), embeddings.device().str(),
                                 describe(bias)));
  }
  if (path == RelationPath::automatic) {
    path = relation_path(embeddings.size(2), embeddings.size(1) / 2, weight.size(0));
  }
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto type = embeddings.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const Tensor wide = embeddings.to(type), wide_weight = weight.to(type);
  const Tensor wide_bias = bias.defined() ? bias.to(type) : bias;
  const Tensor result = path == RelationPath::dense ? dense_relation(wide, wide_weight, wide_bias)
                                                    : factored_relation(wide, wide_weight, wide_bias, product);
  return result.to(embeddings.scalar_type());
}

}  // namespace reid::ops
