// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

/// Blocks of vision transformers. Tokens are [N, L, D], float32, float64 or bfloat16.
namespace reid::nn {

/// Sizes of a pre-norm transformer block.
struct TransformerOptions {
  int64_t width = 768;    ///< D
  int64_t heads = 12;     ///< h, divides D
  int64_t hidden = 3072;  ///< width inside the MLP
  bool qkv_bias = true;
  double norm_eps = 1e-6;
  std::optional<double> attention_scale;  ///< nullopt: 1 / sqrt(D / h)
};

/// Keys and values of every image's tokens, side by side: [N, L, 2 D].
using KeysValues = torch::Tensor;

/// Stochastic depth: in training each sample's branch is kept with probability 1 - rate and divided by it, else 0.
/// Paper: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, arXiv:1603.09382.
/// Draws N numbers from LibTorch's generator if `training` and rate > 0, none otherwise.
torch::Tensor drop_path(const torch::Tensor& branch, double rate, bool training);

/// The pre-norm block of the vision transformer:
///   q, k, v = LN1(x) Wqkv;   a = softmax(q k^T / sqrt(d)) v;   x1 = x + a Wo;   y = x1 + W2 gelu(W1 LN2(x1))
/// with h heads of d = D / h and the exact (erf) GELU.
/// Paper: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv:2010.11929, Eq. (2)-(3).
/// Reference: damo-cv/TransReID model/backbones/vit_pytorch.py (timm's names).
/// Differs from it: attention through scaled_dot_product_attention; the last block's queries can be the first token
/// alone (`forward_first`); attention dropout isn't there (0 in every recipe of TransReID).
/// Parity: tests/models/vit_parity_test.cpp.
/// Parameters: norm1, attn.qkv, attn.proj, norm2, mlp.fc1, mlp.fc2; 7,087,872 values at D = 768, hidden 3072.
class TransformerBlock : public torch::nn::Module {
 public:
  explicit TransformerBlock(const TransformerOptions& options, double drop_path = 0);

  /// Tokens [N, L, D] to tokens [N, L, D].
  /// @param attention  if given, set to the attention [N, h, L, L], which is then computed explicitly.
  torch::Tensor forward(const torch::Tensor& tokens, torch::Tensor* attention = nullptr);

  /// The first token of `forward`'s result, [N, 1, D]: one query against all keys, one row through the MLP.
  torch::Tensor forward_first(const torch::Tensor& tokens);

  /// Keys and values of tokens [N, L, D], with this block's LN1: [N, L, 2 D].
  KeysValues keys_values(const torch::Tensor& tokens);

  /// Cross attention: the block with queries from `anchor` [M, Q, D] and keys and values `source` [M, S, 2 D].
  /// @param mask       [M, S] bool, true where a key may be attended to; undefined: everywhere.
  /// @param attention  if given, set to the attention [M, h, Q, S]; rows sum to 1.
  /// @return           [M, Q, D]
  /// @throws ShapeError if ranks or sizes don't fit.
  torch::Tensor cross(const torch::Tensor& anchor, const KeysValues& source, const torch::Tensor& mask = {},
                      torch::Tensor* attention = nullptr);

  const TransformerOptions& options() const { return options_; }

 private:
  torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                       const torch::Tensor& mask, torch::Tensor* attention);
  torch::Tensor finish(const torch::Tensor& residual, const torch::Tensor& attended);
  torch::Tensor queries(const torch::Tensor& normed);
  KeysValues keys_values_of_normed(const torch::Tensor& normed);

  TransformerOptions options_;
  double drop_path_;
  torch::nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
  torch::nn::Linear qkv_{nullptr}, proj_{nullptr}, fc1_{nullptr}, fc2_{nullptr};
};

/// Copies parameters of one module to another of the same structure, without gradient.
void copy_parameters(const torch::nn::Module& from, torch::nn::Module& to);

/// What a network whose encoder is a transformer shows of it, for objectives that build on its tokens. Tokens of its
/// `ModelOutput` are [N, 1 + positions, D], CLS first, after the last block and before the final norm; the embedding is
/// the final norm of the first.
class TransformerEncoder {
 public:
  virtual ~TransformerEncoder() = default;
  virtual const std::vector<std::shared_ptr<TransformerBlock>>& encoder_blocks() const = 0;
  /// The LayerNorm behind the last block.
  virtual torch::nn::LayerNorm final_norm() const = 0;
};

}  // namespace reid::nn
