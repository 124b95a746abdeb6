// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "reid/core/registry.hpp"
#include "reid/nn/state_dict.hpp"

/// Encoders of sentences: token ids in, a feature for every token out. They are parts of models, not models.
namespace reid::models {

class TextEncoder : public torch::nn::Module {
 public:
  /// @param tokens  [N, L] int64, ids of the vocabulary
  /// @param mask    [N, L] bool, true where a token is real; padding influences no real token
  /// @return        [N, L, width()]
  /// @throws ShapeError if rank, type or sizes don't fit, L is beyond `longest()`, an id is outside the vocabulary, or
  ///   a sentence has no real token.
  virtual torch::Tensor forward(const torch::Tensor& tokens, const torch::Tensor& mask) = 0;
  virtual int64_t width() const = 0;
  virtual int64_t vocabulary() const = 0;
  virtual int64_t longest() const = 0;
  /// Published layouts of weight files, for `nn::load_state`.
  virtual std::vector<nn::StateLayout> layouts() const = 0;
};

/// How token features become one of the sentence.
enum class TextPooling {
  mean,  ///< sum_l m_l x_l / sum_l m_l over real tokens: sentence-transformers
  cls,   ///< the first token's: BERT, TransReID's convention
  max,   ///< the largest of each channel over real tokens
  eot,   ///< the last real token's, which is the end token: CLIP's. CLIP looks for the largest id; ids aren't known here
};

/// Token features [N, L, D] and mask [N, L] to [N, D].
torch::Tensor pool_tokens(const torch::Tensor& features, const torch::Tensor& mask, TextPooling pooling);

/// Options of BERT and its sizes.
///   `bert_base` 12 layers, 768 wide, 12 heads; `bert_small` 4, 512, 8; `minilm_l6` 6, 384, 12; hidden = 4 width.
struct BertOptions {
  int64_t layers = 12;
  int64_t width = 768;
  int64_t heads = 12;
  int64_t hidden = 3072;
  int64_t vocabulary = 30522;
  int64_t positions = 512;
  double norm_eps = 1e-12;
  double dropout = 0.1;
  template <class V>
  void fields(V&& v) {
    v("layers", layers, "blocks", Range{1, 64});
    v("width", width, "width of a token's feature", Range{1, 8192});
    v("heads", heads, "attention heads; divides width", Range{1, 128});
    v("hidden", hidden, "width inside the MLP", Range{1, 65536});
    v("vocabulary", vocabulary, "pieces of the tokenizer", Range{5, 1 << 24});
    v("positions", positions, "longest sentence in tokens", Range{2, 65536});
    v("norm_eps", norm_eps, "epsilon of the layer norms", Range{0, 1});
    v("dropout", dropout, "share dropped after embeddings, attention and MLP while training", Range{0, 0.99});
  }
};

/// BERT's encoder, post-norm, without the pooler:
///   x_0 = LN(word + position + type_0);   a = LN(x + Wo softmax(q k^T / sqrt(d)) v);   y = LN(a + W2 gelu(W1 a))
/// with the exact (erf) GELU; padding is left out of the softmax.
/// Paper: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", NAACL 2019,
/// arXiv:1810.04805. MiniLM: Wang et al., NeurIPS 2020, arXiv:2002.10957.
/// Reference: huggingface/transformers models/bert/modeling_bert.py. Differs from it: nothing known, but that there is one
/// sentence only (type 0).
/// Parity: tests/models/text_encoder_test.cpp.
/// Names are the published ones: embeddings.word_embeddings.weight, encoder.layer.0.attention.self.query.weight, ...
/// Layouts: as they are; prefix `bert.`; LayerNorm's `gamma` and `beta` of old files; heads (`cls.`, `pooler.`) are left out.
std::shared_ptr<TextEncoder> make_bert(const BertOptions& options);

/// A trained embedding of tokens alone, without context: what stands before a TextCNN or LSTM that learns from scratch.
struct EmbeddingOptions {
  int64_t vocabulary = 8000;
  int64_t width = 256;
  int64_t positions = 128;
  template <class V>
  void fields(V&& v) {
    v("vocabulary", vocabulary, "pieces of the tokenizer", Range{5, 1 << 24});
    v("width", width, "width of a token's feature", Range{1, 8192});
    v("positions", positions, "longest sentence in tokens", Range{2, 65536});
  }
};

/// Text encoders by name: `bert_base`, `bert_small`, `minilm_l6`, `clip_text` (reid/models/clip.hpp), `text_transformer`
/// (two blocks of 256, to be trained from scratch) and `embedding`. Users add their own.
using TextEncoderRegistry = Registry<TextEncoder>;
TextEncoderRegistry& text_encoders();

/// What turns token features [N, L, D] into one vector of a sentence.
class TextHead : public torch::nn::Module {
 public:
  /// @return [N, width()]; padding has no influence.
  virtual torch::Tensor forward(const torch::Tensor& features, const torch::Tensor& mask) = 0;
  virtual int64_t width() const = 0;
};

struct TextCnnOptions {
  int64_t width = 2048;
  int64_t stem = 1024;
  int64_t inner = 512;
  int64_t blocks = 3;
  template <class V>
  void fields(V&& v) {
    v("width", width, "channels of the result", Range{1, 16384});
    v("stem", stem, "channels after the first convolution", Range{1, 16384});
    v("inner", inner, "channels inside a bottleneck", Range{1, 16384});
    v("blocks", blocks, "bottlenecks", Range{1, 32});
  }
};

/// The convolutions over words that TIPCB puts on BERT, one branch:
///   [N, D, 1, L] -> 1x1 conv to `stem`, BN, ReLU -> `blocks` bottlenecks (1x1 to `inner`, 1x3, 1x1 to `width`, each with
///   BN, ReLU between, residual; the first has a 1x1 shortcut with BN), each followed by ReLU -> max over real positions.
/// Paper: Chen et al., "TIPCB: A Simple but Effective Part-based Convolutional Baseline for Text-based Person Search",
/// Neurocomputing 2022, arXiv:2105.11628, 3.2.
/// Differs from it: features of padding are set to 0 before every convolution that sees neighbours, and don't take part in
/// the maximum; batch statistics are taken over all positions, as there.
class TextCnn final : public TextHead {
 public:
  using Options = TextCnnOptions;
  TextCnn(int64_t input, const TextCnnOptions& options);
  torch::Tensor forward(const torch::Tensor& features, const torch::Tensor& mask) override;
  int64_t width() const override { return options_.width; }

 private:
  int64_t input_;
  TextCnnOptions options_;
  std::vector<std::shared_ptr<torch::nn::Module>> blocks_;
  std::shared_ptr<torch::nn::Module> stem_;
};

struct BiLstmOptions {
  int64_t width = 2048;
  template <class V>
  void fields(V&& v) {
    v("width", width, "units of each direction, and channels of the result", Range{1, 16384});
  }
};

/// A bidirectional LSTM over the real tokens: the mean of both directions' states, the maximum over words.
/// Paper: Yan et al., "Image-Specific Information Suppression and Implicit Local Alignment for Text-based Person Search"
/// (MANet), TNNLS 2023, arXiv:2208.14365.
/// Padding isn't read by either direction (sequences are packed).
class BiLstm final : public TextHead {
 public:
  using Options = BiLstmOptions;
  BiLstm(int64_t input, const BiLstmOptions& options);
  torch::Tensor forward(const torch::Tensor& features, const torch::Tensor& mask) override;
  int64_t width() const override { return options_.width; }

 private:
  struct Parts;
  BiLstmOptions options_;
  std::shared_ptr<Parts> parts_;
};

}  // namespace reid::models

template <>
struct reid::EnumNames<reid::models::TextPooling> {
  using P = reid::models::TextPooling;
  static constexpr std::array<std::pair<P, const char*>, 4> values{
      {{P::mean, "mean"}, {P::cls, "cls"}, {P::max, "max"}, {P::eot, "eot"}}};
};
