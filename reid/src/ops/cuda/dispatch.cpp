// SPDX-License-Identifier: Apache-2.0
#include "dispatch.hpp"

#include <ATen/autocast_mode.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>

#include "kernels.hpp"
#include "reid/core/error.hpp"

namespace reid::ops::cuda {
namespace {

using torch::Tensor;

constexpr int64_t kTileRows = 2048;
constexpr int64_t kMostTileBytes = int64_t{1} << 30;

void check(int error, const char* where) {
  REID_CHECK(error == 0, WorkError,
             fmt::format("{}: the CUDA device must do its work, got {}", where, error_name(error)));
}

Stream stream_of(const Tensor& tensor) { return c10::cuda::getCurrentCUDAStream(tensor.get_device()).stream(); }

/// Columns of a tile: an eighth of the device's free memory at most.
int64_t tile_columns(int64_t rows) {
  std::size_t free = 0, total = 0;
  check(static_cast<int>(cudaMemGetInfo(&free, &total)), "distance_topk");
  const int64_t bytes = std::min(kMostTileBytes, static_cast<int64_t>(free / 8));
  return std::max<int64_t>(1024, bytes / (rows * int64_t{sizeof(float)}));
}

struct Prepared {
  Tensor rows, factors;
};

Prepared prepared(const Tensor& x, Metric metric) {
  if (metric == Metric::euclidean) return {x, x.square().sum(1)};
  const Tensor norms = at::linalg_vector_norm(x, 2, at::IntArrayRef{1}, true);
  return {x / norms.masked_fill(norms == 0, 1), (norms != 0).to(torch::kFloat32).view(-1)};
}

}  // namespace

TopK distance_topk(const Tensor& x, const Tensor& y, int64_t k, Metric metric, bool within, const ProgressSink& progress) {
  REID_CHECK(k <= kMostNeighbours, ShapeError,
             fmt::format("distance_topk: k must be at most {} on cuda, got {}", kMostNeighbours, k));
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const c10::cuda::CUDAGuard device(x.device());
  const Stream stream = stream_of(x);
  const int64_t n = x.size(0), m = y.size(0);
  const Prepared a = prepared(x.contiguous(), metric), b = within ? a : prepared(y.contiguous(), metric);
  TopK result{at::empty({n, k}, x.options().dtype(torch::kInt32)), at::empty({n, k}, x.options()), at::empty({n}, x.options())};
  const Tensor state = at::empty({n, k}, x.options().dtype(torch::kInt64));
  auto* best = reinterpret_cast<uint64_t*>(state.mutable_data_ptr<int64_t>());
  float* farthest = result.farthest.mutable_data_ptr<float>();
  check(start_topk(best, farthest, n, k, stream), "distance_topk");
  const int64_t columns = n > 0 && m > 0 ? tile_columns(std::min(n, kTileRows)) : 1;
  for (int64_t row = 0; row < n; row += kTileRows) {
    const int64_t height = std::min(kTileRows, n - row);
    for (int64_t column = 0; column < m; column += columns) {
      const int64_t width = std::min(columns, m - column);
      const Tensor dots = at::mm(a.rows.narrow(0, row, height), b.rows.narrow(0, column, width).t()).contiguous();
      check(add_topk(dots.const_data_ptr<float>(), a.factors.const_data_ptr<float>() + row,
                     b.factors.const_data_ptr<float>() + column, metric == Metric::cosine, height, width, column,
                     within ? row : -1, best + row * k, farthest + row, k, stream),
            "distance_topk");
    }
    if (progress) progress({"neighbours", row + height, n, ""});
  }
  check(finish_topk(best, n, k, result.index.mutable_data_ptr<int32_t>(), result.distance.mutable_data_ptr<float>(), stream),
        "distance_topk");
  return result;
}

Tensor rank_hits(const Tensor& distances, const Tensor& offsets, const Tensor& items, const Tensor& removed, Ties ties) {
  const c10::cuda::CUDAGuard device(distances.device());
  const Tensor places = at::zeros({items.size(0)}, items.options().dtype(torch::kInt64));
  const Tensor d = distances.contiguous(), from = offsets.contiguous(), which = items.contiguous(), out = removed.contiguous();
  const int order = ties == Ties::stable ? 0 : ties == Ties::worst ? 1 : 2;
  check(rank_hits(d.const_data_ptr<float>(), d.size(0), d.size(1), from.const_data_ptr<int64_t>(),
                  which.const_data_ptr<int32_t>(), out.const_data_ptr<bool>(), order, places.mutable_data_ptr<int64_t>(),
                  stream_of(d)),
        "rank_hits");
  return places;
}

}  // namespace reid::ops::cuda
