// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include "reid/core/options.hpp"

namespace reid::ops {

enum class RelationPath { automatic, factored, dense };

/// RGA's relation before its batch norm, R [B, m, N], for nodes N, rank r:
///   theta, phi [B, r, N], weight [m, 2N] = [W_in | W_out]
///   R = (W_in phi^T) theta + (W_out theta^T) phi
/// `dense` forms the N x N map and is the oracle; `factored` never does.
torch::Tensor relation(const torch::Tensor& theta, const torch::Tensor& phi, const torch::Tensor& weight,
                       RelationPath path = RelationPath::automatic);

/// The path that `automatic` takes for these sizes.
RelationPath relation_path(int64_t nodes, int64_t rank, int64_t outputs);

}  // namespace reid::ops

template <>
struct reid::EnumNames<reid::ops::RelationPath> {
  static constexpr std::array<std::pair<reid::ops::RelationPath, const char*>, 3> values{
      {{reid::ops::RelationPath::automatic, "auto"},
       {reid::ops::RelationPath::factored, "factored"},
       {reid::ops::RelationPath::dense, "dense"}}};
};
