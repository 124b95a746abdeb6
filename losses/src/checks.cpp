// SPDX-License-Identifier: Apache-2.0
#include "checks.hpp"

#include <fmt/format.h>

#include "reid/core/error.hpp"
#include "reid/ops/check.hpp"

namespace reid::losses {

void check_rows_and_labels(const torch::Tensor& rows, const torch::Tensor& labels, const std::string& where,
                           const std::string& name, const std::string& expectation) {
  ops::check_rank(rows, where, name, 2, expectation);
  REID_CHECK(rows.size(0) > 0 && rows.size(1) > 0, ShapeError,
             fmt::format("{}: {} must be {} with N and the width at least 1, got {}", where, name, expectation,
                         ops::describe(rows)));
  ops::check_rank(labels, where, "labels", 1, "[N] int64", /*floating=*/false);
  REID_CHECK(labels.scalar_type() == torch::kInt64 && labels.size(0) == rows.size(0) &&
                 labels.device() == rows.device(),
             ShapeError,
             fmt::format("{}: labels must be [{}] int64 on {}, got {}", where, rows.size(0), rows.device().str(),
                         ops::describe(labels)));
}

}  // namespace reid::losses
