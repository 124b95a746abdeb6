// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/matmul.hpp"

#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/ops/check.hpp"

namespace reid::ops {
namespace {

using torch::Tensor;

constexpr double kTimedFlop = 2e6;      // smaller products aren't worth a choice
constexpr double kCalibrationFlop = 2e8;
constexpr int kCalibrationRuns = 3;
constexpr double kOneDnnMustWinBy = 1.1;

using LinearPointwise = Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view,
                               c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);

/// oneDNN's product on plain strided tensors: x [M, K], weight [N, K], bias [N]. Null if this LibTorch lacks it.
const c10::TypedOperatorHandle<LinearPointwise>* onednn_operator() {
  static const auto handle = []() -> std::optional<c10::TypedOperatorHandle<LinearPointwise>> {
    if (!at::globalContext().hasMKLDNN()) return std::nullopt;
    const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    if (!found) return std::nullopt;
    return found->typed<LinearPointwise>();
  }();
  return handle ? &*handle : nullptr;
}

bool is_dense(const Tensor& matrix) { return matrix.is_contiguous() || matrix.t().is_contiguous(); }

/// The matrix without gaps between its rows, or its columns if those lie one after the other.
Tensor dense(const Tensor& matrix) {
  if (is_dense(matrix)) return matrix;
  return matrix.stride(0) == 1 ? matrix.t().contiguous().t() : matrix.contiguous();
}

/// Weights with gaps (a part of a larger matrix) are copied: oneDNN has only its reference kernel for them, a thousand
/// times slower than the copy.
Tensor onednn_product(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  return onednn_operator()->call(x, dense(weight), bias, "none", c10::List<std::optional<at::Scalar>>(),
                                 std::string_view(""));
}

/// x [M, K], weight [N, K].
Tensor aten_product(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  return bias ? at::addmm(*bias, x, weight.t()) : at::mm(x, weight.t());
}

bool autocast_in_force(const Tensor& x) {
  return at::autocast::is_autocast_enabled(x.device().type()) &&
         !c10::impl::tls_is_dispatch_keyset_excluded(c10::autocast_dispatch_keyset);
}

bool onednn_can(const Tensor& x, const Tensor& weight) {
  return x.device().is_cpu() && x.scalar_type() == torch::kFloat32 && weight.scalar_type() == torch::kFloat32 &&
         x.numel() > 0 && weight.numel() > 0 && at::globalContext().userEnabledMkldnn() && onednn_operator() != nullptr;
}

// Remembered choices -------------------------------------------------------------------------------------------

struct ShapeClass {
  int64_t rows, inner, columns;
  bool x_rows, weight_rows;  // rows of the operand lie one after the other (stride 1 along K)
  int threads;
  auto key() const { return std::tie(rows, inner, columns, x_rows, weight_rows, threads); }
  bool operator<(const ShapeClass& other) const { return key() < other.key(); }
};

struct Choice {
  Product product;
  double aten_gflops, onednn_gflops;
};

struct Choices {
  std::mutex mutex;
  std::map<ShapeClass, Choice> made;
};

Choices& choices() {
  static Choices instance;
  return instance;
}

int64_t class_of(int64_t size) { return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(size))); }

template <class F>
double best_seconds(const F& run) {
  run();  // warm: packs, code generation
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kCalibrationRuns; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

Choice calibrate(Tensor x, Tensor weight) {
  const auto flop = [&] {
    return 2.0 * static_cast<double>(x.size(0)) * static_cast<double>(x.size(1)) * static_cast<double>(weight.size(0));
  };
  // Halve the longer side until a run is short; the inner size stays.
  const bool whole = is_dense(weight);
  while (flop() > kCalibrationFlop && std::max(x.size(0), weight.size(0)) > 64) {
    Tensor& longer = x.size(0) > weight.size(0) ? x : weight;
    longer = longer.narrow(0, 0, (longer.size(0) + 1) / 2);
  }
  if (whole) weight = dense(weight);  // the half of a matrix without gaps may have some: they aren't its shape's cost
  const double aten = best_seconds([&] { aten_product(x, weight, std::nullopt); });
  const double onednn = best_seconds([&] { onednn_product(x, weight, std::nullopt); });
  return {aten > kOneDnnMustWinBy * onednn ? Product::onednn : Product::aten, flop() / aten * 1e-9,
          flop() / onednn * 1e-9};
}

/// x [M, K], weight [N, K]; neither requires a gradient here.
Product choose(const Tensor& x, const Tensor& weight) {
  if (!onednn_can(x, weight)) return Product::aten;
  const double flop = 2.0 * static_cast<double>(x.numel()) * static_cast<double>(weight.size(0));
  if (flop < kTimedFlop) return Product::aten;
  const ShapeClass key{class_of(x.size(0)), class_of(x.size(1)), class_of(weight.size(0)), x.stride(1) == 1,
                       weight.stride(1) == 1, at::in_parallel_region() ? 1 : at::get_num_threads()};
  auto& known = choices();
  const std::lock_guard lock(known.mutex);  // held while timing, so that two calibrations don't disturb each other
  const auto found = known.made.find(key);
  if (found != known.made.end()) return found->second.product;
  return known.made.emplace(key, calibrate(x, weight)).first->second.product;
}

/// x [M, K] times weight [N, K]^T below autograd.
Tensor raw_linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, Product product) {
  if (!onednn_can(x, weight)) return aten_product(x, weight, bias);
  if (product == Product::automatic) product = choose(x, weight);
  return product == Product::onednn ? onednn_product(x, weight, bias) : aten_product(x, weight, bias);
}

class LinearFunction : public torch::autograd::Function<LinearFunction> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias, int64_t product) {
    context->save_for_backward({x, weight});
    context->saved_data["product"] = product;
    context->saved_data["bias"] = bias.has_value();
    return raw_linear(x, weight, bias, static_cast<Product>(product));
  }

  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               torch::autograd::tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto product = static_cast<Product>(context->saved_data["product"].toInt());
    const Tensor& gradient = gradients[0];
    Tensor x_gradient, weight_gradient, bias_gradient;
    if (context->needs_input_grad(0)) x_gradient = raw_linear(gradient, saved[1].t(), std::nullopt, product);
    if (context->needs_input_grad(1)) weight_gradient = raw_linear(gradient.t(), saved[0].t(), std::nullopt, product);
    if (context->saved_data["bias"].toBool() && context->needs_input_grad(2)) bias_gradient = gradient.sum(0);
    return {x_gradient, weight_gradient, bias_gradient, Tensor()};
  }
};

/// For each b, x[b] [M, K] times weight[b] [N, K]^T below autograd, [B, M, N]; `choose` looks at the first pair.
Tensor raw_batched(const Tensor& x, const Tensor& weight) {
  if (x.size(0) == 0 || !onednn_can(x, weight) || choose(x[0], weight[0]) == Product::aten) return at::bmm(x, weight.transpose(1, 2));
  std::vector<Tensor> products;
  for (int64_t b = 0; b < x.size(0); ++b) products.push_back(onednn_product(x[b], weight[b], std::nullopt));
  return at::stack(products);
}

class ColumnsFunction : public torch::autograd::Function<ColumnsFunction> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& weight) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    context->save_for_backward({x, weight});
    return raw_batched(x.transpose(1, 2), for_each(x, weight));
  }

  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               torch::autograd::tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &gradient = gradients[0];
    Tensor x_gradient, weight_gradient;
    if (context->needs_input_grad(0)) x_gradient = raw_batched(for_each(x, weight.t()), gradient);
    if (context->needs_input_grad(1)) {
      // One after the other into one matrix: a batched product would make a matrix for each before they are added up.
      weight_gradient = torch::zeros_like(weight);
      for (int64_t b = 0; b < x.size(0); ++b) {
        const Tensor own = gradient[b].t();
        if (onednn_can(own, x[b]) && choose(own, x[b]) == Product::onednn) {
          weight_gradient.add_(onednn_product(own, x[b], std::nullopt));
        } else {
          weight_gradient.addmm_(own, x[b].t());
        }
      }
    }
    return {x_gradient, weight_gradient};
  }

 private:
  static Tensor for_each(const Tensor& x, const Tensor& matrix) { return matrix.unsqueeze(0).expand({x.size(0), -1, -1}); }
};

bool needs_gradient(const Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); }

/// x [M, K], weight [N, K], checked.
Tensor linear_2d(const Tensor& x, const Tensor& weight, const Tensor& bias, Product product) {
  const bool recorded =
      at::GradMode::is_enabled() && (needs_gradient(x) || needs_gradient(weight) || needs_gradient(bias));
  const auto optional_bias = bias.defined() ? std::optional<Tensor>(bias) : std::nullopt;
  if (product == Product::aten || autocast_in_force(x) || !onednn_can(x, weight)) {
    return aten_product(x, weight, optional_bias);
  }
  if (!recorded) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    return raw_linear(x, weight, optional_bias, product);
  }
  return LinearFunction::apply(x, weight, optional_bias, static_cast<int64_t>(product));
}

void check_pair(const Tensor& a, const Tensor& b, const char* where, const char* b_name, const std::string& expectation,
                int64_t inner, int64_t b_inner) {
  const bool types_fit = a.scalar_type() == b.scalar_type() || autocast_in_force(a);
  if (inner != b_inner || !types_fit || a.device() != b.device()) {
    throw ShapeError(fmt::format("{}: {} must be {} of the same type and device as {}, got {}", where, b_name,
                                 expectation, describe(a), describe(b)));
  }
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_b, Product product) {
  check_rank(a, "matmul", "a", 2, "[M, K] float");
  check_rank(b, "matmul", "b", 2, transpose_b ? "[N, K] float" : "[K, N] float");
  check_pair(a, b, "matmul", "b", transpose_b ? fmt::format("[N, {}]", a.size(1)) : fmt::format("[{}, N]", a.size(1)),
             a.size(1), b.size(transpose_b ? 1 : 0));
  return linear_2d(a, transpose_b ? b : b.t(), {}, product);
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, Product product) {
  if (!x.defined() || x.dim() < 1 || !x.is_floating_point()) {
    throw ShapeError(fmt::format("linear: x must be [..., K] float, got {}", describe(x)));
  }
  check_rank(weight, "linear", "weight", 2, "[N, K] float");
  check_pair(x, weight, "linear", "weight", fmt::format("[N, {}]", x.size(-1)), x.size(-1), weight.size(1));
  if (bias.defined()) {
    check_rank(bias, "linear", "bias", 1, "[N] float");
    check_pair(x, bias, "linear", "bias", fmt::format("[{}]", weight.size(0)), weight.size(0), bias.size(0));
  }
  if (x.dim() == 2) return linear_2d(x, weight, bias, product);
  auto sizes = x.sizes().vec();
  int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < sizes.size(); ++i) rows *= sizes[i];
  sizes.back() = weight.size(0);
  return linear_2d(x.reshape({rows, x.size(-1)}), weight, bias, product).reshape(sizes);
}

Tensor linear_of_columns(const Tensor& x, const Tensor& weight) {
  check_rank(x, "linear of columns", "x", 3, "[B, K, M] float");
  check_rank(weight, "linear of columns", "weight", 2, "[N, K] float");
  check_pair(x, weight, "linear of columns", "weight", fmt::format("[N, {}]", x.size(1)), x.size(1), weight.size(1));
  if (autocast_in_force(x)) return at::matmul(x.transpose(1, 2), weight.t());
  return ColumnsFunction::apply(x, weight);
}

Json product_choices() {
  auto& known = choices();
  const std::lock_guard lock(known.mutex);
  Json list = Json::array();
  for (const auto& [key, choice] : known.made) {
    const auto order = [](bool rows) { return rows ? "rows" : "columns"; };
    list.push_back({{"rows", key.rows},
                    {"inner", key.inner},
                    {"columns", key.columns},
                    {"layout", fmt::format("{} x {}", order(key.x_rows), order(key.weight_rows))},
                    {"threads", key.threads},
                    {"product", enum_name(choice.product)},
                    {"gflops", {{"aten", choice.aten_gflops}, {"onednn", choice.onednn_gflops}}}});
  }
  return list;
}

void restore_product_choices(const Json& list) {
  std::map<ShapeClass, Choice> restored;
  try {
    for (const auto& item : list) {
      const auto layout = item.at("layout").get<std::string>();
      const bool x_rows = layout.rfind("rows", 0) == 0;
      const bool weight_rows = layout.size() > 4 && layout.compare(layout.size() - 4, 4, "rows") == 0;
      const ShapeClass key{item.at("rows").get<int64_t>(),    item.at("inner").get<int64_t>(),
                           item.at("columns").get<int64_t>(), x_rows,
                           weight_rows,                       item.at("threads").get<int>()};
      restored.insert_or_assign(key, Choice{parse_enum<Product>("product", item.at("product").get<std::string>()),
                                            item.at("gflops").at("aten").get<double>(),
                                            item.at("gflops").at("onednn").get<double>()});
    }
  } catch (const Json::exception& error) {
    throw ConfigError(fmt::format("product choices: value must be a list as product_choices() writes it, got {}",
                                  error.what()));
  }
  auto& known = choices();
  const std::lock_guard lock(known.mutex);
  for (const auto& [key, choice] : restored) known.made.insert_or_assign(key, choice);
}

}  // namespace reid::ops
