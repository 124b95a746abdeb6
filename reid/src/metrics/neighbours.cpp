// SPDX-License-Identifier: Apache-2.0
#include "neighbours.hpp"

#include <torch/torch.h>

#include <algorithm>

#include "reid/ops/parallel.hpp"
#include "reid/ops/topk.hpp"

namespace reid::metrics {

Neighbours nearest(const torch::Tensor& features, ops::Metric metric, ops::Product product, int64_t count,
                   torch::Device device, const ProgressSink& progress) {
  const auto found = ops::distance_topk_within(features.to(device), count, metric, product, progress);
  return {count, found.index.cpu(), found.distance.cpu(), found.farthest.cpu()};
}

Neighbours nearest_after(const torch::Tensor& features, ops::Metric metric, ops::Product product, int64_t count,
                         const std::function<float(std::span<float>)>& finish, const ProgressSink& progress) {
  const int64_t n = features.size(0);
  const ops::DistanceRows rows(features, features, metric, product);
  Neighbours result{count, torch::empty({n, count}, torch::kInt32), torch::empty({n, count}), torch::empty({n})};
  int32_t* index = result.index.data_ptr<int32_t>();
  float* distance = result.distance.data_ptr<float>();
  float* farthest = result.farthest.data_ptr<float>();
  constexpr int64_t kTile = ops::DistanceRows::kRows;
  const torch::Tensor tile = torch::empty({std::min(kTile, n), n});
  float* distances = tile.data_ptr<float>();
  for (int64_t begin = 0; begin < n; begin += kTile) {
    const int64_t end = std::min(begin + kTile, n);
    rows.compute(begin, end, distances);
    ops::parallel_for(begin, end, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const std::span<float> line(distances + (i - begin) * n, static_cast<std::size_t>(n));
        line[static_cast<std::size_t>(i)] = 0;
        farthest[i] = finish(line);
        const auto width = static_cast<std::size_t>(count);
        ops::smallest(line, {index + i * count, width}, {distance + i * count, width});
      }
    });
    if (progress) progress({"neighbours", end, n, ""});
  }
  return result;
}

}  // namespace reid::metrics
