// SPDX-License-Identifier: Apache-2.0
#include "neighbours.hpp"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>

namespace reid::metrics {
namespace {

/// The `count` smallest by (distance, index): a threshold by selection on the values, then one scan.
void select(std::span<const float> distances, int64_t count, std::vector<float>& scratch, int32_t* index, float* out) {
  scratch.assign(distances.begin(), distances.end());
  const auto kth = scratch.begin() + static_cast<std::ptrdiff_t>(count - 1);
  std::nth_element(scratch.begin(), kth, scratch.end());
  const float limit = *kth;
  const auto below = static_cast<int64_t>(std::count_if(scratch.begin(), kth, [&](float d) { return d < limit; }));
  int64_t found = 0, ties_left = count - below;
  for (std::size_t j = 0; j < distances.size() && found < count; ++j) {
    if (distances[j] > limit || (distances[j] == limit && ties_left-- <= 0)) continue;
    index[found++] = static_cast<int32_t>(j);
  }
  std::sort(index, index + count, [&](int32_t a, int32_t b) {
    const float x = distances[static_cast<std::size_t>(a)], y = distances[static_cast<std::size_t>(b)];
    return x < y || (x == y && a < b);
  });
  for (int64_t k = 0; k < count; ++k) out[k] = distances[static_cast<std::size_t>(index[k])];
}

}  // namespace

Neighbours nearest(const torch::Tensor& features, ops::Metric metric, ops::Product product, int64_t count,
                   const std::function<float(std::span<float>)>& finish, const ProgressSink& progress) {
  const int64_t n = features.size(0);
  const ops::DistanceRows rows(features, features, metric, product);
  Neighbours result;
  result.count = count;
  result.index.resize(static_cast<std::size_t>(n * count));
  result.distance.resize(result.index.size());
  result.scale.resize(static_cast<std::size_t>(n));
  constexpr int64_t kTile = ops::DistanceRows::kRows;
  const torch::Tensor tile = torch::empty({std::min(kTile, n), n});
  float* distances = tile.data_ptr<float>();
  for (int64_t begin = 0; begin < n; begin += kTile) {
    const int64_t end = std::min(begin + kTile, n);
    rows.compute(begin, end, distances);
    at::parallel_for(begin, end, 1, [&](int64_t first, int64_t last) {
      std::vector<float> scratch;
      for (int64_t i = first; i < last; ++i) {
        const std::span<float> line(distances + (i - begin) * n, static_cast<std::size_t>(n));
        line[static_cast<std::size_t>(i)] = 0;
        result.scale[static_cast<std::size_t>(i)] = finish(line);
        select(line, count, scratch, result.index.data() + i * count, result.distance.data() + i * count);
      }
    });
    if (progress) progress({"neighbours", end, n, ""});
  }
  return result;
}

}  // namespace reid::metrics
