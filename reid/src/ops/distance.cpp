// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/distance.hpp"

#include <ATen/autocast_mode.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>

#include "prepared_rows.hpp"
#include "reid/core/error.hpp"
#include "reid/ops/check.hpp"
#include "reid/ops/parallel.hpp"

namespace reid::ops {
namespace {

using torch::Tensor;

/// Distances of prepared rows [begin, end) of x to all of y, on the fixed grid.
template <class T>
void distance_rows(const PreparedRows& x, const PreparedRows& y, Metric metric, Product product, int64_t begin,
                   int64_t end, T* out) {
  const int64_t columns = y.size();
  if (end <= begin || columns == 0) return;
  const int64_t row_blocks = (end - begin + DistanceRows::kRows - 1) / DistanceRows::kRows;
  const int64_t column_blocks = (columns + DistanceRows::kColumns - 1) / DistanceRows::kColumns;
  parallel_for(0, row_blocks * column_blocks, 1, [&](int64_t first, int64_t last) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    Tensor scratch;
    for (int64_t block = first; block < last; ++block) {
      // Row blocks run fastest: one block of y serves them all while it is in the cache.
      const int64_t row = begin + block % row_blocks * DistanceRows::kRows;
      const int64_t column = block / row_blocks * DistanceRows::kColumns;
      const int64_t n = std::min(DistanceRows::kRows, end - row), m = std::min(DistanceRows::kColumns, columns - column);
      block_distances<T>(x, row, n, y, column, m, metric, product, out + (row - begin) * columns + column, columns, scratch);
    }
  });
}

template <class T>
Tensor distance_on_cpu(const Tensor& x, const Tensor& y, Metric metric, Product product) {
  const PreparedRows x_rows = prepare<T>(x, metric);
  const PreparedRows y_rows = x.is_same(y) ? x_rows : prepare<T>(y, metric);
  Tensor out = at::empty({x.size(0), y.size(0)}, x.options());
  distance_rows<T>(x_rows, y_rows, metric, settled(product), 0, x.size(0), out.mutable_data_ptr<T>());
  return out;
}

/// x / |x| by rows, zero rows as they are, and the norms [N, 1].
std::pair<Tensor, Tensor> unit_rows_anywhere(const Tensor& x) {
  const Tensor norms = at::linalg_vector_norm(x, 2, at::IntArrayRef{1}, true);
  return {x / norms.masked_fill(norms == 0, 1), norms};
}

Tensor distance_anywhere(const Tensor& x, const Tensor& y, Metric metric) {
  if (metric == Metric::cosine) {
    return 1 - matmul(unit_rows(x), unit_rows(y), true, Product::aten);
  }
  return at::addmm(x.square().sum(1, true) + y.square().sum(1).unsqueeze(0), x, y.t(), 1, -2).clamp_min_(0);
}

Tensor forward_distance(const Tensor& x, const Tensor& y, Metric metric, Product product) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  if (!x.device().is_cpu()) return distance_anywhere(x, y, metric);
  return x.scalar_type() == torch::kFloat64 ? distance_on_cpu<double>(x, y, metric, product)
                                            : distance_on_cpu<float>(x, y, metric, product);
}

/// Gradient for x [N, D] of g [N, M] against y [M, D].
Tensor gradient_of(const Tensor& x, const Tensor& y, const Tensor& g, Metric metric, Product product) {
  if (metric == Metric::euclidean) return 2 * (g.sum(1, true) * x - matmul(g, y, false, product));
  const auto [unit, norms] = unit_rows_anywhere(x);
  const Tensor inner = -matmul(g, unit_rows_anywhere(y).first, false, product);  // of the unit row
  const Tensor tangent = (inner - (inner * unit).sum(1, true) * unit) / norms;
  return tangent.masked_fill(norms == 0, 0);
}

class DistanceFunction : public torch::autograd::Function<DistanceFunction> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& y, int64_t metric,
                        int64_t product) {
    context->save_for_backward({x, y});
    context->saved_data["metric"] = metric;
    context->saved_data["product"] = product;
    return forward_distance(x, y, static_cast<Metric>(metric), static_cast<Product>(product));
  }

  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               torch::autograd::tensor_list gradients) {
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    const auto saved = context->get_saved_variables();
    const auto metric = static_cast<Metric>(context->saved_data["metric"].toInt());
    const auto product = static_cast<Product>(context->saved_data["product"].toInt());
    const Tensor& g = gradients[0];
    Tensor x_gradient, y_gradient;
    if (context->needs_input_grad(0)) x_gradient = gradient_of(saved[0], saved[1], g, metric, product);
    if (context->needs_input_grad(1)) y_gradient = gradient_of(saved[1], saved[0], g.t(), metric, product);
    return {x_gradient, y_gradient, Tensor(), Tensor()};
  }
};

Tensor widened(const Tensor& x) {
  return x.scalar_type() == torch::kFloat16 || x.scalar_type() == torch::kBFloat16 ? x.to(torch::kFloat32) : x;
}

void check_rows(const Tensor& x, const Tensor& y, const char* where) {
  check_rank(x, where, "x", 2, "[N, D] float");
  check_rank(y, where, "y", 2, "[M, D] float");
  if (y.size(1) != x.size(1) || x.device() != y.device() ||
      widened(x.narrow(0, 0, 0)).scalar_type() != widened(y.narrow(0, 0, 0)).scalar_type()) {
    throw ShapeError(fmt::format("{}: y must be [M, {}] of the same type and device as {}, got {}", where, x.size(1),
                                 describe(x), describe(y)));
  }
}

}  // namespace

Tensor pairwise_distance(const Tensor& x, const Tensor& y, Metric metric, Product product) {
  check_rows(x, y, "pairwise_distance");
  const Tensor wide_x = widened(x), wide_y = x.is_same(y) ? wide_x : widened(y);
  if (at::GradMode::is_enabled() && (wide_x.requires_grad() || wide_y.requires_grad())) {
    return DistanceFunction::apply(wide_x, wide_y, static_cast<int64_t>(metric), static_cast<int64_t>(product));
  }
  return forward_distance(wide_x, wide_y, metric, product);
}

DistanceRows::DistanceRows(const Tensor& x, const Tensor& y, Metric metric, Product product) : metric_(metric) {
  check_rows(x, y, "distance_rows");
  for (const auto& [name, rows] : {std::pair{"x", &x}, {"y", &y}}) {
    if (rows->is_cpu() && rows->scalar_type() == torch::kFloat32) continue;
    throw ShapeError(fmt::format("distance_rows: {} must be [{}, D] float32 on cpu, got {}", name, name[0] == 'x' ? "N" : "M",
                                 describe(*rows)));
  }
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const PreparedRows x_rows = prepare<float>(x.detach(), metric);
  const PreparedRows y_rows = x.is_same(y) ? x_rows : prepare<float>(y.detach(), metric);
  x_ = x_rows.rows;
  x_norms_ = x_rows.factors;
  y_ = y_rows.rows;
  y_norms_ = y_rows.factors;
  product_ = settled(product);
}

void DistanceRows::compute(int64_t begin, int64_t end, float* out) const {
  REID_ASSERT(begin >= 0 && end <= rows());
  distance_rows<float>({x_, x_norms_}, {y_, y_norms_}, metric_, product_, begin, end, out);
}

}  // namespace reid::ops
