// SPDX-License-Identifier: Apache-2.0
#include "prepared_rows.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <type_traits>

#include "reid/ops/parallel.hpp"
#include "reid/ops/wide_sum.hpp"
#include "scan.hpp"

namespace reid::ops {
namespace {

using torch::Tensor;

// Rows of other lengths are scaled first, so that a product of two of them is neither infinite nor lost in float32.
constexpr double kShortest = 1e-15, kLongest = 1e15;

/// x with its rows scaled to length 1; zero rows stay.
template <class T>
Tensor unit_copy(const Tensor& x) {
  const int64_t n = x.size(0), d = x.size(1);
  Tensor unit = at::empty_like(x);
  const T* from = x.const_data_ptr<T>();
  T* to = unit.mutable_data_ptr<T>();
  parallel_for(0, n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double length = std::sqrt(wide_dot(from + i * d, from + i * d, d));
      const double scale = length > 0 ? 1.0 / length : 0.0;
      for (int64_t k = 0; k < d; ++k) to[i * d + k] = static_cast<T>(static_cast<double>(from[i * d + k]) * scale);
    }
  });
  return unit;
}

}  // namespace

template <class T>
PreparedRows prepare(const Tensor& x, Metric metric) {
  PreparedRows prepared{x.contiguous(), at::empty({x.size(0)}, x.options())};
  const int64_t n = x.size(0), d = x.size(1);
  const T* from = prepared.rows.template const_data_ptr<T>();
  T* factor = prepared.factors.template mutable_data_ptr<T>();
  std::atomic<bool> unusual = false;
  parallel_for(0, n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double squares = wide_dot(from + i * d, from + i * d, d);
      if (metric == Metric::euclidean) {
        factor[i] = static_cast<T>(squares);
        continue;
      }
      const double length = std::sqrt(squares);
      factor[i] = static_cast<T>(length > 0 ? 1.0 / length : 0.0);
      if (length > 0 && !(length > kShortest && length < kLongest)) unusual = true;
    }
  });
  if (unusual) {
    prepared.rows = unit_copy<T>(prepared.rows);
    prepared.factors = (prepared.factors != 0).to(x.scalar_type());
  }
  return prepared;
}

Tensor unit_rows(const Tensor& x) {
  if (x.size(1) == 0) return x;
  const Tensor largest = x.abs().amax(1, true);
  const Tensor tamed = x / largest.masked_fill(largest == 0, 1);
  const Tensor norms = at::linalg_vector_norm(tamed, 2, at::IntArrayRef{1}, true);
  return tamed / norms.masked_fill(norms == 0, 1);
}

PreparedRows prepare_anywhere(const Tensor& x, Metric metric) {
  if (metric == Metric::euclidean) return {x.contiguous(), x.square().sum(1)};
  const Tensor unit = unit_rows(x).contiguous();
  return {unit, (unit != 0).any(1).to(x.scalar_type())};
}

template <class T>
void block_distances(const PreparedRows& x, int64_t row, int64_t n, const PreparedRows& y, int64_t column, int64_t m,
                     Metric metric, Product product, T* out, int64_t stride, Tensor& scratch) {
  const Tensor a = x.rows.narrow(0, row, n), b = y.rows.narrow(0, column, m);
  Tensor dot;
  if (product == Product::aten) {
    if (!scratch.defined() || scratch.numel() < n * m) scratch = at::empty({n * m}, a.options());
    dot = scratch.narrow(0, 0, n * m).view({n, m});
    at::mm_out(dot, a, b.t());
  } else {
    dot = matmul(a, b, true, product).contiguous();
  }
  const T* from = dot.const_data_ptr<T>();
  const T* own = x.factors.template const_data_ptr<T>() + row;
  const T* other = y.factors.template const_data_ptr<T>() + column;
  for (int64_t i = 0; i < n; ++i) {
    T* to = out + i * stride;
    const T* line = from + i * m;
    const T factor = own[i];
    if constexpr (std::is_same_v<T, float>) {
      metric == Metric::cosine ? cosine_of(line, other, factor, m, to) : euclidean_of(line, other, factor, m, to);
    } else if (metric == Metric::cosine) {
      for (int64_t j = 0; j < m; ++j) to[j] = T(1) - line[j] * (factor * other[j]);
    } else {
      for (int64_t j = 0; j < m; ++j) to[j] = std::max(factor + other[j] - T(2) * line[j], T(0));
    }
  }
}

template PreparedRows prepare<float>(const Tensor&, Metric);
template PreparedRows prepare<double>(const Tensor&, Metric);
template void block_distances<float>(const PreparedRows&, int64_t, int64_t, const PreparedRows&, int64_t, int64_t, Metric,
                                     Product, float*, int64_t, Tensor&);
template void block_distances<double>(const PreparedRows&, int64_t, int64_t, const PreparedRows&, int64_t, int64_t,
                                      Metric, Product, double*, int64_t, Tensor&);

}  // namespace reid::ops
