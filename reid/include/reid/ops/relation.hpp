// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "reid/core/options.hpp"
#include "reid/ops/matmul.hpp"

namespace reid::ops {

/// How RGA's relation is computed.
///   automatic  by size: `relation_path`
///   factored   through two r x m matrices, never forming an N x N map
///   dense      forms both N x N maps, stacks them and convolves: the published order of operations, and the oracle
enum class RelationPath { automatic, factored, dense };

/// RGA's relation before its batch norm: how every node relates to all nodes, in both directions, mixed to m values.
///   G[i,j] = <theta_i, phi_j>;  R = W_in G^T + W_out G,  W = [W_in | W_out]
///          = (W_in phi^T) theta + (W_out theta^T) phi           (factored: the convolution is linear and G has rank r)
/// where row i of G^T is the first block of the stack: <theta_p, phi_q> for channel q at position p.
/// Paper: Zhang et al., Relation-Aware Global Attention for Person Re-identification, CVPR 2020, arXiv:1904.02998, 3.2.
/// Reference: microsoft/Relation-Aware-Global-Attention-Networks@cdc9965 models/rga_module.py
/// Differs from it: the factored order, exact up to rounding (5e-7 of max |R| in float32). The exchange of
///   W_in and W_out gives another result of the same shape.
/// As one product, the factored form is R = [U; V]^T [theta; phi] with U = phi W_in^T, V = theta W_out^T [r, m],
/// which is why the embeddings come stacked.
/// @param embeddings  [B, 2r, N] floating: theta's r channels of the N nodes above phi's.
/// @param weight      [m, 2N]: the 1x1 convolution's weight [m, 2N, 1, 1] viewed; both halves are used without copies.
/// @param product     library of the one plain product of each factor (factored path).
/// @return            [B, m, N], type of embeddings; of the factored path a view whose nodes lie one after the other, as a map
///                    in channels-last memory does. float16/bfloat16, and any under autocast, are computed in float32.
/// @throws ShapeError if ranks, types or sizes don't fit.
/// Cost per sample: dense N^2 (r + 2m) multiply-adds and 3 N^2 values; factored 4 N r m and 2 r m values.
/// Differentiable: once. Deterministic: with a fixed path, product and number of threads. Devices: cpu, cuda.
torch::Tensor relation(const torch::Tensor& embeddings, const torch::Tensor& weight, RelationPath path = RelationPath::automatic,
                       Product product = Product::automatic);

/// The least number of nodes for which `automatic` takes the factored path. From a first trial on the CPU: from here on it
/// was quicker forward, and as quick or quicker with gradients; at 64 nodes the dense path has the quicker gradient.
/// benchmarks/micro/relation.cpp measures it on the shapes of the published network.
inline constexpr int64_t kFactoredNodes = 128;

/// The path that `automatic` takes: factored where it needs fewer multiply-adds, 4rm < N(r + 2m), and N is at least
/// `kFactoredNodes`; else dense. It depends on the sizes alone, never on the batch, the device or training.
RelationPath relation_path(int64_t nodes, int64_t rank, int64_t outputs);

}  // namespace reid::ops

template <>
struct reid::EnumNames<reid::ops::RelationPath> {
  static constexpr std::array<std::pair<reid::ops::RelationPath, const char*>, 3> values{
      {{reid::ops::RelationPath::automatic, "auto"},
       {reid::ops::RelationPath::factored, "factored"},
       {reid::ops::RelationPath::dense, "dense"}}};
};
