// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/batch_norm.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/ops/check.hpp"
#include "reid/ops/parallel.hpp"
#include "simd.hpp"

namespace reid::ops {
namespace {

using torch::Tensor;

/// A map that lies channels-last is a matrix of positions x channels. It is worked on in blocks of rows, about as large as half of
/// a core's second-level cache, so that what passes over a block twice reads memory once; the blocks depend on the sizes alone.
struct Blocks {
  int64_t rows, channels;
  int64_t block_rows = std::max<int64_t>(1, (int64_t{1} << 15) / std::max<int64_t>(1, channels));
  int64_t count = (rows + block_rows - 1) / block_rows;

  [[nodiscard]] int64_t begin(int64_t block) const { return block * block_rows; }
  [[nodiscard]] int64_t size(int64_t block) const { return std::min(block_rows, rows - begin(block)); }

  /// f(block), each once, in any order.
  template <class F>
  void each(const F& f) const {
    parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
      for (int64_t block = first; block < last; ++block) f(block);
    });
  }
};

Blocks blocks_of(const Tensor& x) { return {.rows = x.size(0) * x.size(2) * x.size(3), .channels = x.size(1)}; }

/// What turns x into z = (x - mean) scale + bias, scale = gamma / sqrt(var + eps), and where the activation lets z through.
struct Affine {
  const float *mean, *scale, *bias;
  float low, high;
};

std::pair<float, float> limits(Activation act) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  switch (act) {
    case Activation::relu: return {0.0F, kInfinity};
    case Activation::relu6: return {0.0F, 6.0F};
    case Activation::none: break;
  }
  return {-kInfinity, kInfinity};
}

/// What says whether the activation let a value through.
enum class Gate {
  open,    ///< everything passes
  input,   ///< computed again from x
  output,  ///< y itself: with a shortcut, x alone doesn't tell
};

/// mean[c] and m2[c] = sum of (x - mean)^2 of a block.
REID_INLINE void statistics_pass(const float* x, int64_t rows, int64_t channels, float* __restrict mean, float* __restrict m2) {
  for (int64_t c = 0; c < channels; ++c) mean[c] = m2[c] = 0.0F;
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float *x0 = x + r * channels, *x1 = x0 + channels, *x2 = x1 + channels, *x3 = x2 + channels;
    for (int64_t c = 0; c < channels; ++c) mean[c] += (x0[c] + x1[c]) + (x2[c] + x3[c]);
  }
  for (; r < rows; ++r) {
    for (int64_t c = 0; c < channels; ++c) mean[c] += x[r * channels + c];
  }
  for (int64_t c = 0; c < channels; ++c) mean[c] /= static_cast<float>(rows);
  for (r = 0; r + 2 <= rows; r += 2) {
    const float *x0 = x + r * channels, *x1 = x0 + channels;
    for (int64_t c = 0; c < channels; ++c) {
      const float d0 = x0[c] - mean[c], d1 = x1[c] - mean[c];
      m2[c] += d0 * d0 + d1 * d1;
    }
  }
  for (; r < rows; ++r) {
    for (int64_t c = 0; c < channels; ++c) m2[c] += (x[r * channels + c] - mean[c]) * (x[r * channels + c] - mean[c]);
  }
}

template <bool with_shortcut>
REID_INLINE void forward_pass(const float* x, const float* shortcut, int64_t rows, int64_t channels, const Affine& to,
                              float* __restrict y) {
  const float *mean = to.mean, *scale = to.scale, *bias = to.bias;
  const float low = to.low, high = to.high;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < channels; ++c) {
      float z = (x[c] - mean[c]) * scale[c] + bias[c];
      if constexpr (with_shortcut) z += shortcut[c];
      z = z < low ? low : z;
      y[c] = z > high ? high : z;  // a NaN stays
    }
    x += channels;
    y += channels;
    if constexpr (with_shortcut) shortcut += channels;
  }
}

/// The gradient of what `to` maps x[c] to, 0 where the activation cut it off.
template <Gate gate>
REID_INLINE float through(const float* x, const float* y, const float* gradient, int64_t c, const Affine& to) {
  const float g = gradient[c];  // read in any case: a load under a condition keeps the loop from becoming vectors
  if constexpr (gate == Gate::open) return g;
  const float z = gate == Gate::output ? y[c] : (x[c] - to.mean[c]) * to.scale[c] + to.bias[c];
  return ((z <= to.low) | (z >= to.high)) ? 0.0F : g;
}

/// sums[c] = sum of g and products[c] = sum of g (x - mean) over a block, g the gradient that came through.
template <Gate gate>
REID_INLINE void sums_pass(const float* x, const float* y, const float* gradient, int64_t rows, int64_t channels, const Affine& to,
                           float* __restrict sums, float* __restrict products) {
  for (int64_t c = 0; c < channels; ++c) sums[c] = products[c] = 0.0F;
  const Affine map = to;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < channels; ++c) {
      const float g = through<gate>(x, y, gradient, c, map);
      sums[c] += g;
      products[c] += g * (x[c] - map.mean[c]);
    }
    x += channels;
    gradient += channels;
    if constexpr (gate == Gate::output) y += channels;
  }
}

/// dx = scale (g - offset - (x - mean) slope); with a shortcut, its gradient is g.
template <Gate gate>
REID_INLINE void backward_pass(const float* x, const float* y, const float* gradient, int64_t rows, int64_t channels,
                               const Affine& to, const float* offset, const float* slope, float* __restrict dx,
                               float* __restrict shortcut_gradient) {
  const Affine map = to;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < channels; ++c) {
      const float g = through<gate>(x, y, gradient, c, map);
      dx[c] = map.scale[c] * (g - offset[c] - (x[c] - map.mean[c]) * slope[c]);
      if constexpr (gate == Gate::output) shortcut_gradient[c] = g;
    }
    x += channels;
    gradient += channels;
    dx += channels;
    if constexpr (gate == Gate::output) {
      y += channels;
      shortcut_gradient += channels;
    }
  }
}

REID_AVX2 void statistics_avx2(const float* x, int64_t rows, int64_t channels, float* mean, float* m2) {
  statistics_pass(x, rows, channels, mean, m2);
}
template <bool with_shortcut>
REID_AVX2 void forward_avx2(const float* x, const float* shortcut, int64_t rows, int64_t channels, const Affine& to, float* y) {
  forward_pass<with_shortcut>(x, shortcut, rows, channels, to, y);
}
template <Gate gate>
REID_AVX2 void sums_avx2(const float* x, const float* y, const float* gradient, int64_t rows, int64_t channels, const Affine& to,
                         float* sums, float* products) {
  sums_pass<gate>(x, y, gradient, rows, channels, to, sums, products);
}
template <Gate gate>
REID_AVX2 void backward_avx2(const float* x, const float* y, const float* gradient, int64_t rows, int64_t channels,
                             const Affine& to, const float* offset, const float* slope, float* dx, float* shortcut_gradient) {
  backward_pass<gate>(x, y, gradient, rows, channels, to, offset, slope, dx, shortcut_gradient);
}

/// The whole map's mean and sum of squares around it, from its blocks'; in double, in the order of the blocks.
struct Statistics {
  std::vector<double> mean, m2;
};

Statistics statistics_of(const Tensor& x, const Blocks& blocks) {
  const int64_t channels = blocks.channels;
  std::vector<float> means(static_cast<std::size_t>(blocks.count * channels)), m2s(means.size());
  const float* from = x.const_data_ptr<float>();
  const auto pass = has_avx2() ? statistics_avx2 : statistics_pass;
  blocks.each([&](int64_t block) {
    pass(from + blocks.begin(block) * channels, blocks.size(block), channels, &means[block * channels], &m2s[block * channels]);
  });
  Statistics all{std::vector<double>(channels), std::vector<double>(channels)};
  for (int64_t block = 0; block < blocks.count; ++block) {
    const double part = static_cast<double>(blocks.size(block)) / static_cast<double>(blocks.rows);
    for (int64_t c = 0; c < channels; ++c) all.mean[c] += part * means[block * channels + c];
  }
  for (int64_t block = 0; block < blocks.count; ++block) {
    const auto rows = static_cast<double>(blocks.size(block));
    for (int64_t c = 0; c < channels; ++c) {
      const double apart = means[block * channels + c] - all.mean[c];
      all.m2[c] += m2s[block * channels + c] + rows * apart * apart;
    }
  }
  return all;
}

void update_running(const Tensor& running, const std::vector<double>& now, double momentum, double factor) {
  if (!running.defined()) return;
  const torch::NoGradGuard no_grad;
  const auto value = torch::tensor(now, torch::kFloat64).mul_(factor).to(running.scalar_type());
  running.mul_(1.0 - momentum).add_(value, momentum);
}

class BatchNormActFunction : public torch::autograd::Function<BatchNormActFunction> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const std::optional<Tensor>& shortcut, const BatchNormState& state, Activation act) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const auto blocks = blocks_of(x);
    const auto statistics = statistics_of(x, blocks);
    const auto rows = static_cast<double>(blocks.rows);
    update_running(state.running_mean, statistics.mean, state.momentum, 1.0);
    update_running(state.running_var, statistics.m2, state.momentum, 1.0 / (rows - 1.0));

    const auto gamma = weight.contiguous(), beta = bias.contiguous();
    // Rows: mean, 1 / sqrt(var + eps), scale.
    const auto affine = torch::empty({3, blocks.channels});
    auto* mean = affine.mutable_data_ptr<float>();
    float *inverse = mean + blocks.channels, *scale = inverse + blocks.channels;
    for (int64_t c = 0; c < blocks.channels; ++c) {
      const double to_one = 1.0 / std::sqrt(statistics.m2[c] / rows + state.eps);
      mean[c] = static_cast<float>(statistics.mean[c]);
      inverse[c] = static_cast<float>(to_one);
      scale[c] = static_cast<float>(to_one * gamma.const_data_ptr<float>()[c]);
    }

    const auto y = torch::empty_like(x);
    const auto [low, high] = limits(act);
    const Affine to{mean, scale, beta.const_data_ptr<float>(), low, high};
    const float *from = x.const_data_ptr<float>(), *added = shortcut ? shortcut->const_data_ptr<float>() : nullptr;
    auto* into = y.mutable_data_ptr<float>();
    const auto pass = has_avx2() ? (added == nullptr ? forward_avx2<false> : forward_avx2<true>)
                                 : (added == nullptr ? forward_pass<false> : forward_pass<true>);
    blocks.each([&](int64_t block) {
      const int64_t at = blocks.begin(block) * blocks.channels, size = blocks.size(block);
      pass(from + at, added == nullptr ? nullptr : added + at, size, blocks.channels, to, into + at);
    });

    const auto gate = act == Activation::none ? Gate::open : shortcut ? Gate::output : Gate::input;
    context->save_for_backward({x, beta, affine, gate == Gate::output ? y : Tensor()});
    context->saved_data["act"] = static_cast<int64_t>(act);
    context->saved_data["shortcut"] = shortcut.has_value();
    return y;
  }

  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               torch::autograd::tensor_list gradients) {
    REID_CHECK(!at::GradMode::is_enabled(), Error, "batch norm: its gradient must be taken once, got create_graph");
    const auto saved = context->get_saved_variables();
    const auto act = static_cast<Activation>(context->saved_data["act"].toInt());
    const bool shortcut = context->saved_data["shortcut"].toBool();
    const auto gradient = gradients[0].contiguous(torch::MemoryFormat::ChannelsLast);
    if (act == Activation::none) return with_gate<Gate::open>(saved, gradient, act, shortcut);
    return shortcut ? with_gate<Gate::output>(saved, gradient, act, shortcut) : with_gate<Gate::input>(saved, gradient, act, shortcut);
  }

 private:
  template <Gate gate>
  static torch::autograd::tensor_list with_gate(const torch::autograd::variable_list& saved, const Tensor& gradient,
                                                Activation act, bool shortcut) {
    const Tensor &x = saved[0], &beta = saved[1], &affine = saved[2];
    const auto blocks = blocks_of(x);
    const int64_t channels = blocks.channels;
    const auto [low, high] = limits(act);
    const float *mean = affine.const_data_ptr<float>(), *inverse = mean + channels;
    const Affine to{mean, inverse + channels, beta.const_data_ptr<float>(), low, high};
    const float *from = x.const_data_ptr<float>(), *g = gradient.const_data_ptr<float>();
    const float* y = gate == Gate::output ? saved[3].const_data_ptr<float>() : nullptr;

    std::vector<float> sums(static_cast<std::size_t>(blocks.count * channels)), products(sums.size());
    const auto sum = has_avx2() ? sums_avx2<gate> : sums_pass<gate>;
    blocks.each([&](int64_t block) {
      const int64_t at = blocks.begin(block) * channels;
      sum(from + at, y == nullptr ? nullptr : y + at, g + at, blocks.size(block), channels, to, &sums[block * channels],
          &products[block * channels]);
    });
    std::vector<double> total(channels), product(channels);
    for (int64_t i = 0; i < blocks.count; ++i) {
      for (int64_t c = 0; c < channels; ++c) {
        total[c] += sums[i * channels + c];
        product[c] += products[i * channels + c];
      }
    }
    const auto weight_gradient = torch::empty({channels}), bias_gradient = torch::empty({channels});
    std::vector<float> offset(channels), slope(channels);
    const auto rows = static_cast<double>(blocks.rows);
    for (int64_t c = 0; c < channels; ++c) {
      weight_gradient.mutable_data_ptr<float>()[c] = static_cast<float>(product[c] * inverse[c]);
      bias_gradient.mutable_data_ptr<float>()[c] = static_cast<float>(total[c]);
      offset[c] = static_cast<float>(total[c] / rows);
      slope[c] = static_cast<float>(product[c] / rows * inverse[c] * inverse[c]);
    }

    const auto dx = torch::empty_like(x);
    const auto shortcut_gradient = gate == Gate::output ? torch::empty_like(x) : shortcut ? gradient : Tensor();
    auto* into = dx.mutable_data_ptr<float>();
    auto* aside = gate == Gate::output ? shortcut_gradient.template mutable_data_ptr<float>() : nullptr;
    const auto pass = has_avx2() ? backward_avx2<gate> : backward_pass<gate>;
    blocks.each([&](int64_t block) {
      const int64_t at = blocks.begin(block) * channels;
      pass(from + at, y == nullptr ? nullptr : y + at, g + at, blocks.size(block), channels, to, offset.data(), slope.data(),
           into + at, aside == nullptr ? nullptr : aside + at);
    });
    return {dx, weight_gradient, bias_gradient, shortcut_gradient, Tensor(), Tensor()};
  }
};

bool lies_channels_last(const Tensor& x) {
  return x.device().is_cpu() && x.scalar_type() == torch::kFloat32 && x.is_contiguous(torch::MemoryFormat::ChannelsLast);
}

}  // namespace

Tensor activate_(Tensor x, Activation act) {
  switch (act) {
    case Activation::relu: return x.relu_();
    case Activation::relu6: return torch::hardtanh_(x, 0, 6);
    case Activation::none: break;
  }
  return x;
}

Tensor batch_norm_act(const Tensor& x, const BatchNormState& state, Activation act, const Tensor& shortcut) {
  check_rank(x, "batch norm", "x", 4, "[N, C, H, W] float");
  if (shortcut.defined() && (shortcut.sizes() != x.sizes() || shortcut.device() != x.device())) {
    throw ShapeError(fmt::format("batch norm: shortcut must be as x ({}), got {}", describe(x), describe(shortcut)));
  }
  for (const auto& [name, tensor] : {std::pair{"weight", state.weight}, {"bias", state.bias},
                                     {"running_mean", state.running_mean}, {"running_var", state.running_var}}) {
    const bool optional = name[0] == 'r';
    if (optional && !tensor.defined()) continue;
    if (!tensor.defined() || tensor.dim() != 1 || tensor.size(0) != x.size(1) || tensor.device() != x.device()) {
      throw ShapeError(fmt::format("batch norm: {} must be [{}] on {}, got {}", name, x.size(1), x.device().str(), describe(tensor)));
    }
  }
  if (x.size(0) * x.size(2) * x.size(3) < 2) {
    throw ShapeError("batch norm: x must be [N, C, H, W] float with N H W above 1, got " + describe(x));
  }
  const auto is_float = [](const Tensor& tensor) { return tensor.scalar_type() == torch::kFloat32; };
  if (lies_channels_last(x) && is_float(state.weight) && is_float(state.bias) &&
      (!shortcut.defined() || lies_channels_last(shortcut))) {
    return BatchNormActFunction::apply(x, state.weight, state.bias, shortcut.defined() ? std::optional(shortcut) : std::nullopt,
                                       state, act);
  }
  auto y = torch::batch_norm(x, state.weight, state.bias, state.running_mean, state.running_var, /*training=*/true,
                             state.momentum, state.eps, at::globalContext().userEnabledCuDNN());
  if (shortcut.defined()) y = y.add_(shortcut);
  return activate_(std::move(y), act);
}

}  // namespace reid::ops
