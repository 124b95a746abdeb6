// SPDX-License-Identifier: Apache-2.0
#include "reranked_distances.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "reid/core/error.hpp"
#include "reid/ops/parallel.hpp"
#include "reid/ops/wide_sum.hpp"
#include "rerank_spec.hpp"

namespace reid::metrics {
namespace {

using torch::Tensor;

/// The first `count` rows.
ops::SparseRows first_rows(const ops::SparseRows& rows, int64_t count) {
  const int64_t entries = rows.starts.const_data_ptr<int64_t>()[count];
  return {rows.starts.narrow(0, 0, count + 1), rows.items.narrow(0, 0, entries), rows.values.narrow(0, 0, entries)};
}

}  // namespace

torch::Device first_device(const Placement& placement) {
  return placement.devices.empty() ? torch::Device(torch::kCPU) : placement.devices.front();
}

void check_count(const std::string& variant, const char* what, int64_t value, int64_t extra, int64_t items) {
  REID_CHECK(value <= items - extra, InputError,
             fmt::format("rerank {}: {} must be at most queries + gallery = {}, got {}", variant, what, items,
                         static_cast<uint64_t>(value) + static_cast<uint64_t>(extra)));
}

void make_unit_rows(Tensor& x) {
  const int64_t columns = x.size(1);
  float* data = x.data_ptr<float>();
  ops::parallel_for(0, x.size(0), 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* row = data + i * columns;
      const double length = std::sqrt(ops::wide_dot(row, row, columns));
      const double scale = length > 0 ? 1 / length : 0;
      for (int64_t k = 0; k < columns; ++k) row[k] = static_cast<float>(static_cast<double>(row[k]) * scale);
    }
  });
}

void Accumulator::add(const SparseRow& row, double weight) {
  for (const auto& entry : row) {
    const auto item = static_cast<std::size_t>(entry.item);
    if (!seen_[item]) {
      seen_[item] = 1;
      touched_.push_back(entry.item);
    }
    values_[item] += weight * static_cast<double>(entry.value);
  }
}

SparseRow Accumulator::take(double factor) {
  std::sort(touched_.begin(), touched_.end());
  SparseRow row;
  row.reserve(touched_.size());
  for (const int32_t touched : touched_) {
    const auto item = static_cast<std::size_t>(touched);
    row.push_back({touched, static_cast<float>(values_[item] * factor)});
    values_[item] = 0;
    seen_[item] = 0;
  }
  touched_.clear();
  return row;
}

ops::SparseRows packed(const RowList& rows) {
  ops::SparseRows result{at::empty({static_cast<int64_t>(rows.size()) + 1}, torch::dtype(torch::kInt64)), {}, {}};
  auto* starts = result.starts.mutable_data_ptr<int64_t>();
  starts[0] = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) starts[i + 1] = starts[i] + static_cast<int64_t>(rows[i].size());
  result.items = at::empty({starts[rows.size()]}, torch::dtype(torch::kInt32));
  result.values = at::empty({starts[rows.size()]}, torch::dtype(torch::kFloat32));
  auto* items = result.items.mutable_data_ptr<int32_t>();
  auto* values = result.values.mutable_data_ptr<float>();
  for (const auto& row : rows) {
    for (const auto& entry : row) {
      *items++ = entry.item;
      *values++ = entry.value;
    }
  }
  return result;
}

OverlapParts::OverlapParts(const ops::SparseRows& rows, int64_t queries, const std::vector<PartedGallery::Part>& parts) {
  const ops::SparseRows own = first_rows(rows, queries);
  for (const auto& part : parts) {
    const int64_t first = queries + part.first;
    queries_.push_back(own.to(part.device));
    inverted_.push_back(ops::transposed(rows, first, first + part.count, rows.rows()).to(part.device));
    columns_.push_back(part.count);
  }
}

Tensor OverlapParts::overlap(std::size_t part, int64_t begin, int64_t end, ops::Pairing pairing, bool half) const {
  return ops::sparse_overlap(queries_[part], begin, end, inverted_[part], columns_[part], pairing, half);
}

std::unique_ptr<DistanceSource> reranked_distances(const Tensor& query, const Tensor& gallery, ops::Metric metric,
                                                   const Placement& placement, const RerankOptions& resolved,
                                                   const ProgressSink& progress) {
  switch (rerank_spec(resolved.variant).kind) {
    case RerankKind::k_reciprocal:
      return k_reciprocal_distances(query, gallery, metric, placement, resolved, progress);
    case RerankKind::gnn:
      return propagated_distances(query, gallery, placement, resolved, progress);
    case RerankKind::aqe:
      return expanded_distances(query, gallery, metric, placement, resolved, progress);
  }
  REID_ASSERT(false);
  return nullptr;
}

}  // namespace reid::metrics
