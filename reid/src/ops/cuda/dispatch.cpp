// SPDX-License-Identifier: Apache-2.0
#include "dispatch.hpp"

#include <ATen/autocast_mode.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>

#include "../prepared_rows.hpp"
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
int64_t tile_columns(torch::Device device, int64_t rows) {
  const int64_t bytes = std::min(kMostTileBytes, free_memory(device) / 8);
  return std::max<int64_t>(1024, bytes / (rows * int64_t{sizeof(float)}));
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
  const PreparedRows a = prepare_anywhere(x, metric), b = within ? a : prepare_anywhere(y, metric);
  TopK result{at::empty({n, k}, x.options().dtype(torch::kInt32)), at::empty({n, k}, x.options()), at::empty({n}, x.options())};
  const Tensor state = at::empty({n, k}, x.options().dtype(torch::kInt64));
  auto* best = reinterpret_cast<uint64_t*>(state.mutable_data_ptr<int64_t>());
  float* farthest = result.farthest.mutable_data_ptr<float>();
  check(start_topk(best, farthest, n, k, stream), "distance_topk");
  const int64_t columns = n > 0 && m > 0 ? tile_columns(x.device(), std::min(n, kTileRows)) : 1;
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

namespace {

int number_of(Ties ties) { return ties == Ties::stable ? 0 : ties == Ties::worst ? 1 : 2; }

}  // namespace

void gather_hits(const GalleryPart& part, const Tensor& offsets, const Tensor& items, const Tensor& hit_distances) {
  const Tensor& d = part.distances;
  const c10::cuda::CUDAGuard device(d.device());
  check(gather_hits(d.const_data_ptr<float>(), d.size(0), d.size(1), part.first, offsets.const_data_ptr<int64_t>(),
                    items.const_data_ptr<int32_t>(), hit_distances.mutable_data_ptr<float>(), stream_of(d)),
        "rank_hits");
}

void count_before(const GalleryPart& part, const Tensor& offsets, const Tensor& items, const Tensor& hit_distances, Ties ties,
                  const Tensor& counts) {
  const Tensor& d = part.distances;
  const c10::cuda::CUDAGuard device(d.device());
  check(count_before(d.const_data_ptr<float>(), d.size(0), d.size(1), part.first, offsets.const_data_ptr<int64_t>(),
                     items.const_data_ptr<int32_t>(), hit_distances.const_data_ptr<float>(), number_of(ties),
                     counts.mutable_data_ptr<int64_t>(), stream_of(d)),
        "rank_hits");
}

Tensor rank_hits(const Tensor& distances, const Tensor& offsets, const Tensor& items, const Tensor& removed, Ties ties) {
  const c10::cuda::CUDAGuard device(distances.device());
  const GalleryPart whole{distances.contiguous(), 0};
  const Tensor from = offsets.contiguous(), which = items.contiguous(), out = removed.contiguous();
  const Tensor hit_distances = at::zeros({items.size(0)}, distances.options());
  const Tensor places = at::zeros({items.size(0)}, items.options().dtype(torch::kInt64));
  gather_hits(whole, from, which, hit_distances);
  count_before(whole, from, which, hit_distances, ties, places);
  check(place_hits(distances.size(0), from.const_data_ptr<int64_t>(), which.const_data_ptr<int32_t>(),
                   out.const_data_ptr<bool>(), hit_distances.const_data_ptr<float>(), number_of(ties),
                   places.mutable_data_ptr<int64_t>(), stream_of(distances)),
        "rank_hits");
  return places;
}

BatchHard batch_hard(const Tensor& distances, const Tensor& labels, bool with_self) {
  const c10::cuda::CUDAGuard device(distances.device());
  BatchHard result{at::empty({distances.size(0)}, labels.options()), at::empty({distances.size(0)}, labels.options())};
  const auto run = [&](const auto* data) {
    return batch_hard(data, labels.const_data_ptr<int64_t>(), distances.size(0), with_self,
                      result.positive.mutable_data_ptr<int64_t>(), result.negative.mutable_data_ptr<int64_t>(),
                      stream_of(distances));
  };
  check(distances.scalar_type() == torch::kFloat64 ? run(distances.const_data_ptr<double>())
                                                   : run(distances.const_data_ptr<float>()),
        "batch_hard");
  return result;
}

Tensor sparse_overlap(const SparseRows& x, int64_t begin, int64_t end, const SparseRows& inverted, int64_t columns,
                      Pairing pairing, bool half) {
  const c10::cuda::CUDAGuard device(x.starts.device());
  const Tensor sums = at::empty({end - begin, columns}, x.values.options());
  check(overlap(x.starts.const_data_ptr<int64_t>() + begin, x.items.const_data_ptr<int32_t>(), x.values.const_data_ptr<float>(),
                end - begin, inverted.starts.const_data_ptr<int64_t>(), inverted.items.const_data_ptr<int32_t>(),
                inverted.values.const_data_ptr<float>(), columns, pairing == Pairing::minimum ? 0 : 1, half,
                sums.mutable_data_ptr<float>(), stream_of(sums)),
        "sparse_overlap");
  return sums;
}

Tensor reciprocal_neighbours(const Tensor& index, int64_t count) {
  const c10::cuda::CUDAGuard device(index.device());
  const Tensor mutual = at::empty({index.size(0), count}, index.options().dtype(torch::kBool));
  check(reciprocal(index.const_data_ptr<int32_t>(), index.size(0), index.size(1), count, mutual.mutable_data_ptr<bool>(),
                   stream_of(index)),
        "reciprocal_neighbours");
  return mutual;
}

int64_t free_memory(torch::Device device) {
  const c10::cuda::CUDAGuard guard(device);
  c10::cuda::CUDACachingAllocator::emptyCache();  // what LibTorch keeps for later isn't taken
  std::size_t free = 0, total = 0;
  check(static_cast<int>(cudaMemGetInfo(&free, &total)), "free_memory");
  return static_cast<int64_t>(free);
}

}  // namespace reid::ops::cuda
