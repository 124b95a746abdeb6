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

Tensor dense_relation(const Tensor& theta, const Tensor& phi, const Tensor& weight) {
  const Tensor map = at::bmm(theta.transpose(1, 2), phi);            // [B, N, N]
  return at::matmul(weight, at::cat({map.transpose(1, 2), map}, 1));  // [m, 2N] x [B, 2N, N]
}

Tensor factored_relation(const Tensor& theta, const Tensor& phi, const Tensor& weight, Product product) {
  const int64_t nodes = theta.size(2);
  const Tensor u = linear(phi, weight.narrow(1, 0, nodes), {}, product);        // W_in meets phi: [B, r, m]
  const Tensor v = linear(theta, weight.narrow(1, nodes, nodes), {}, product);  // W_out meets theta: [B, r, m]
  return at::baddbmm(at::bmm(u.transpose(1, 2), theta), v.transpose(1, 2), phi);
}

}  // namespace

RelationPath relation_path(int64_t nodes, int64_t rank, int64_t outputs) {
  const bool cheaper = 4 * rank * outputs < nodes * (rank + 2 * outputs);
  return cheaper && nodes >= kFactoredNodes ? RelationPath::factored : RelationPath::dense;
}

Tensor relation(const Tensor& theta, const Tensor& phi, const Tensor& weight, RelationPath path, Product product) {
  check_rank(theta, "relation", "theta", 3, "[B, r, N] float");
  check_rank(phi, "relation", "phi", 3, "[B, r, N] float");
  check_rank(weight, "relation", "weight", 2, "[m, 2N] float");
  if (phi.sizes() != theta.sizes() || phi.scalar_type() != theta.scalar_type() || phi.device() != theta.device()) {
    throw ShapeError(
        fmt::format("relation: phi must be like theta, {}, got {}", describe(theta), describe(phi)));
  }
  if (weight.size(1) != 2 * theta.size(2) || weight.device() != theta.device()) {
    throw ShapeError(fmt::format("relation: weight must be [m, {}] on {}, got {}", 2 * theta.size(2),
                                 theta.device().str(), describe(weight)));
  }
  if (path == RelationPath::automatic) path = relation_path(theta.size(2), theta.size(1), weight.size(0));
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto type = theta.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const Tensor wide_theta = theta.to(type), wide_phi = phi.to(type), wide_weight = weight.to(type);
  const Tensor result = path == RelationPath::dense ? dense_relation(wide_theta, wide_phi, wide_weight)
                                                    : factored_relation(wide_theta, wide_phi, wide_weight, product);
  return result.to(theta.scalar_type());
}

}  // namespace reid::ops
