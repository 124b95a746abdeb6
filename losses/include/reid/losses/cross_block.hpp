// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <vector>

#include "reid/core/options.hpp"
#include "reid/nn/model.hpp"
#include "reid/nn/transformer.hpp"

namespace reid::losses {

/// What a cross block's weights begin as.
///   last_blocks  copies of the encoder's last blocks and final norm, so that it speaks the encoder's language
///   mean         Wq = 0, Wv = Wo = I, the MLP's last layer 0, all else as last_blocks: A1 = A + the mean of LN(S), A2 = A1
///   random       N(0, 0.02^2), biases 0, norms 1 and 0
///   encoder      no weights of its own: it is the encoder's last blocks and final norm
enum class CrossStart { last_blocks, mean, random, encoder };

/// The cross-instance block X(A <- S): tokens A of an image attend to tokens S of other images.
///   Q = LN(A) Wq    K = LN(S) Wk    V = LN(S) Wv    Att = softmax(Q K^T / sqrt(d)), one softmax over all of S, per head
///   A1 = A + Att V Wo    A2 = A1 + MLP(LN(A1))    g = LN'(A2)[CLS]
/// `depth` such blocks follow one another; each has keys and values of the images' own tokens.
/// Paper: none that says so. X-ReID (cross-instance transformer, 2023), arXiv:2302.02075, speaks of cross attention between
/// images of an identity; formula, depth and place are ours.
/// Of the anchor only the rows that are read are computed: the class token, unless the attention of all is asked for.
/// Parameters: blocks.N (as nn::TransformerBlock), norm; none for CrossStart::encoder.
/// Cost: keys and values once per image, 2 L D^2 multiplications; per anchor 2 P L D + 2 D^2 (1 + mlp_ratio).
class CrossBlock : public torch::nn::Module {
 public:
  /// @throws ConfigError if the encoder has fewer blocks than `depth`.
  CrossBlock(const nn::TransformerEncoder& encoder, CrossStart start, int64_t depth);

  /// Starts anew from the encoder's last blocks and final norm as they are now. Starts that don't depend on them: nothing.
  void restart(const nn::TransformerEncoder& encoder);

  /// Keys and values of all images' tokens [N, L, D], one entry per block.
  std::vector<nn::KeysValues> project(const torch::Tensor& tokens);

  struct Output {
    torch::Tensor feature;   ///< g [M, D]
    torch::Tensor response;  ///< [M, P] if asked for: attention that goes to each source, mean over heads, blocks and queries
    torch::Tensor map;       ///< [M, Q, P, L] if asked for: attention to each token, mean over heads and blocks
  };
  /// What is computed of the attention besides the feature.
  enum class Attention { none, cls, all };

  /// @param tokens    [N, L, D], of which anchors are rows
  /// @param source    `project` of the images that are attended to, of any number of images
  /// @param anchors   [M] int64, rows of tokens
  /// @param images    [M, P] int64, images of `source`
  /// @param mask      [M, P] bool, false where there is no image; undefined: all are there
  Output forward(const torch::Tensor& tokens, const std::vector<nn::KeysValues>& source, const torch::Tensor& anchors,
                 const torch::Tensor& images, const torch::Tensor& mask = {}, Attention attention = Attention::none);

 private:
  CrossStart start_;
  std::vector<std::shared_ptr<nn::TransformerBlock>> blocks_;
  torch::nn::LayerNorm norm_{nullptr};
};

/// The transformer inside `model`. @throws ConfigError naming `where` if there is none.
const nn::TransformerEncoder& encoder_of(const nn::Model& model, const std::string& where);

}  // namespace reid::losses

template <>
struct reid::EnumNames<reid::losses::CrossStart> {
  static constexpr std::array<std::pair<reid::losses::CrossStart, const char*>, 4> values{
      {{reid::losses::CrossStart::last_blocks, "last_blocks"},
       {reid::losses::CrossStart::mean, "mean"},
       {reid::losses::CrossStart::random, "random"},
       {reid::losses::CrossStart::encoder, "encoder"}}};
};
