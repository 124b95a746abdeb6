// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/mining.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <cmath>

#include "reid/core/error.hpp"
#include "reid/ops/check.hpp"
#include "reid/ops/parallel.hpp"

#ifdef REID_WITH_CUDA
#include "cuda/dispatch.hpp"
#endif

namespace reid::ops {
namespace {

using torch::Tensor;

/// Whether `value` takes the place of `best`, in ascending order of indices.
template <class T>
bool greater(T value, T best) {
  return value > best || (std::isnan(value) && !std::isnan(best));
}

template <class T>
void mine(const Tensor& distances, const int64_t* labels, bool with_self, int64_t* positive, int64_t* negative) {
  const int64_t rows = distances.size(0);
  const T* data = distances.const_data_ptr<T>();
  parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* line = data + i * rows;
      int64_t best[2] = {-1, -1};
      for (int64_t j = 0; j < rows; ++j) {
        const bool other = labels[j] != labels[i];
        if (j == i && !with_self) continue;
        int64_t& at = best[other];
        if (at < 0 || (other ? greater(-line[j], -line[at]) : greater(line[j], line[at]))) at = j;
      }
      positive[i] = best[0];
      negative[i] = best[1];
    }
  });
}

}  // namespace

BatchHard batch_hard(const Tensor& distances, const Tensor& labels, bool with_self) {
  check_rank(distances, "batch_hard", "distances", 2, "[N, N] float");
  check_rank(labels, "batch_hard", "labels", 1, "[N] int64", false);
  const bool floats = distances.scalar_type() == torch::kFloat32 || distances.scalar_type() == torch::kFloat64;
  REID_CHECK(floats && distances.size(0) == distances.size(1), ShapeError,
             fmt::format("batch_hard: distances must be [N, N] float32 or float64, got {}", describe(distances)));
  REID_CHECK(labels.scalar_type() == torch::kInt64 && labels.size(0) == distances.size(0) && labels.device() == distances.device(),
             ShapeError, fmt::format("batch_hard: labels must be [{}] int64 on {}, got {}", distances.size(0),
                                     distances.device().str(), describe(labels)));
  const Tensor lines = distances.detach().contiguous(), of = labels.contiguous();
#ifdef REID_WITH_CUDA
  if (lines.is_cuda()) return cuda::batch_hard(lines, of, with_self);
#endif
  REID_CHECK(lines.is_cpu(), ShapeError,
             fmt::format("batch_hard: distances must be on a device with this operator, got {}", describe(distances)));
  BatchHard result{at::empty({lines.size(0)}, of.options()), at::empty({lines.size(0)}, of.options())};
  auto* positive = result.positive.mutable_data_ptr<int64_t>();
  auto* negative = result.negative.mutable_data_ptr<int64_t>();
  const int64_t* label = of.const_data_ptr<int64_t>();
  if (lines.scalar_type() == torch::kFloat64) {
    mine<double>(lines, label, with_self, positive, negative);
  } else {
    mine<float>(lines, label, with_self, positive, negative);
  }
  return result;
}

}  // namespace reid::ops
