// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include "reid/core/options.hpp"

namespace reid::losses {

/// Where the fusion's layer norm stands: `before` the attention, which then is of LN(X), while r keeps the encoder's own scale;
/// `after` the sum, r = LN(x_0 + z); or nowhere (`none`).
enum class FusionNorm { before, after, none };
/// What the fusion begins as: with the identity for Wv and Wo and zero for Wq, z is the `mean` of the views; or `random` projections.
enum class FusionStart { mean, random };

struct SupportFusionOptions {
  int64_t heads = 8;
  FusionNorm norm = FusionNorm::before;
  FusionStart start = FusionStart::mean;
  bool residual = true;
  double dropout = 0;
  bool ffn = false;
  bool self_attn_mean = false;
  template <class V>
  void fields(V&& v) {
    v("heads", heads, "attention heads; divides the feature's width", Range{1, 1024});
    v("norm", norm, "layer norm before the attention (the feature keeps the encoder's scale), after the sum, or none");
    v("start", start, "the fusion begins as the mean of the views, or with random projections");
    v("residual", residual, "the sample's own feature is added to what is attended to; else it counts as one of the views alone");
    v("dropout", dropout, "share of attention weights dropped while training", Range{0, 0.99});
    v("ffn", ffn, "add a residual MLP (D -> D -> D) behind the fusion, with a layer norm of its own where `norm` has one");
    v("self_attn_mean", self_attn_mean, "every view asks, and the answers are averaged; else the sample alone asks");
  }
};

/// Multi-head attentional fusion (MHAF) of a sample's feature x_0 with those of its support x_1 .. x_M:
///   X = [x_0; ...; x_M]   Y = LN(X)   a_h = softmax(y_0 Wq_h (Y Wk_h)^T / sqrt(D / H))   z = concat_h(a_h Y Wv_h) Wo   r = x_0 + z
/// With `norm: after` Y = X and r = LN(x_0 + z), with `none` there is no LN; without `residual` x_0 isn't added.
/// No biases but the layer norm's. The order of the support has no influence. Without support (M = 0) r = x_0.
/// Paper: Yan et al. (LCR2S), ACM MM 2023, arXiv:2310.11210: that sample and support are fused by multi-head attention.
/// The equations are this library's reading; the authors' repository holds no code. The defaults are those of several readings
/// with which a teacher was seen to learn (docs/methods/lcr2s.md); with the norm after the sum and random projections, as
/// transformers have it, it didn't.
/// Parameters: query, key, value, out, norm; with `ffn` also fc1, fc2, ffn_norm; no norms with `none`.
class SupportFusion : public torch::nn::Module {
 public:
  /// @throws ConfigError unless heads divide `width`.
  SupportFusion(int64_t width, const SupportFusionOptions& options);

  /// @param sample     [N, D]
  /// @param support    [N, M, D]
  /// @param attention  if given, set to the weights over views [N, H, M + 1] (with self_attn_mean averaged over those who
  ///                   ask); rows sum to 1. Left undefined for M = 0.
  /// @return           [N, D]
  /// @throws ShapeError if ranks or sizes don't fit.
  torch::Tensor forward(const torch::Tensor& sample, const torch::Tensor& support, torch::Tensor* attention = nullptr);

 private:
  int64_t width_;
  SupportFusionOptions options_;
  torch::nn::Linear query_{nullptr}, key_{nullptr}, value_{nullptr}, out_{nullptr}, fc1_{nullptr}, fc2_{nullptr};
  torch::nn::LayerNorm norm_{nullptr}, ffn_norm_{nullptr};
};

}  // namespace reid::losses

template <>
struct reid::EnumNames<reid::losses::FusionNorm> {
  using F = reid::losses::FusionNorm;
  static constexpr std::array<std::pair<F, const char*>, 3> values{{{F::before, "before"}, {F::after, "after"}, {F::none, "none"}}};
};
template <>
struct reid::EnumNames<reid::losses::FusionStart> {
  using F = reid::losses::FusionStart;
  static constexpr std::array<std::pair<F, const char*>, 2> values{{{F::mean, "mean"}, {F::random, "random"}}};
};
