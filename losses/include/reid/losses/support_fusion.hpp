// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include "reid/core/options.hpp"

namespace reid::losses {

struct SupportFusionOptions {
  int64_t heads = 8;
  double dropout = 0;
  bool ffn = false;
  bool self_attn_mean = false;
  template <class V>
  void fields(V&& v) {
    v("heads", heads, "attention heads; divides the feature's width", Range{1, 1024});
    v("dropout", dropout, "share of attention weights dropped while training", Range{0, 0.99});
    v("ffn", ffn, "add a residual MLP (D -> D -> D) with layer norm behind the fusion");
    v("self_attn_mean", self_attn_mean, "every view asks, and the answers are averaged; else the sample alone asks");
  }
};

/// Multi-head attentional fusion (MHAF) of a sample's feature x_0 with those of its support x_1 .. x_M:
///   X = [x_0; ...; x_M]    a_h = softmax(x_0 Wq_h (X Wk_h)^T / sqrt(D / H))    z = concat_h(a_h X Wv_h) Wo    r = LN(x_0 + z)
/// No biases but the layer norm's. The order of the support has no influence. Without support (M = 0) r = x_0.
/// Paper: Yan et al. (LCR2S), ACM MM 2023, arXiv:2310.11210: that sample and support are fused by multi-head attention.
/// The equations are this library's reading; the authors' repository holds no code.
/// Parameters: query, key, value, out, norm; with `ffn` also fc1, fc2, ffn_norm.
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
