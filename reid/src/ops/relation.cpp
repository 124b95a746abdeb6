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

Tensor dense_relation(const Tensor& embeddings, const Tensor& weight) {
  const auto halves = embeddings.chunk(2, 1);
  const Tensor map = at::bmm(halves[0].transpose(1, 2), halves[1]);   // [B, N, N]
  return at::matmul(weight, at::cat({map.transpose(1, 2), map}, 1));  // [m, 2N] x [B, 2N, N]
}

Tensor factored_relation(const Tensor& embeddings, const Tensor& weight, Product product) {
  const int64_t nodes = embeddings.size(2);
  const auto halves = embeddings.chunk(2, 1);
  const Tensor u = linear(halves[1], weight.narrow(1, 0, nodes), {}, product);       // W_in meets phi: [B, r, m]
  const Tensor v = linear(halves[0], weight.narrow(1, nodes, nodes), {}, product);   // W_out meets theta: [B, r, m]
  return at::bmm(embeddings.transpose(1, 2), at::cat({u, v}, 1)).transpose(1, 2);  // [B, N, 2r] x [B, 2r, m]
}

}  // namespace

RelationPath relation_path(int64_t nodes, int64_t rank, int64_t outputs) {
  const bool cheaper = 4 * rank * outputs < nodes * (rank + 2 * outputs);
  return cheaper && nodes >= kFactoredNodes ? RelationPath::factored : RelationPath::dense;
}

Tensor relation(const Tensor& embeddings, const Tensor& weight, RelationPath path, Product product) {
  check_rank(embeddings, "relation", "embeddings", 3, "[B, 2r, N] float");
  check_rank(weight, "relation", "weight", 2, "[m, 2N] float");
  if (embeddings.size(1) % 2 != 0) {
    throw ShapeError("relation: embeddings must be [B, 2r, N] float, theta above phi, got " + describe(embeddings));
  }
  if (weight.size(1) != 2 * embeddings.size(2) || weight.device() != embeddings.device()) {
    throw ShapeError(fmt::format("relation: weight must be [m, {}] on {}, got {}", 2 * embeddings.size(2),
                                 embeddings.device().str(), describe(weight)));
  }
  if (path == RelationPath::automatic) {
    path = relation_path(embeddings.size(2), embeddings.size(1) / 2, weight.size(0));
  }
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto type = embeddings.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const Tensor wide = embeddings.to(type), wide_weight = weight.to(type);
  const Tensor result = path == RelationPath::dense ? dense_relation(wide, wide_weight)
                                                    : factored_relation(wide, wide_weight, product);
  return result.to(embeddings.scalar_type());
}

}  // namespace reid::ops
