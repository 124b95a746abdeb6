// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <memory>
#include <string>
#include <vector>

#include "reid/models/text_encoder.hpp"
#include "reid/nn/model.hpp"
#include "reid/nn/model_files.hpp"
#include "reid/nn/weight_adapter.hpp"
#include "reid/text/tokenizer.hpp"

namespace reid::models {

class TokenCache;

/// Text heads by name: `text_cnn`, `bi_lstm` and `pool` (no parameters; option `pooling`). Factories are given the
/// width of the token features. Users add their own.
using TextHeadRegistry = Registry<TextHead, int64_t>;
TextHeadRegistry& text_heads();

/// How a dual encoder reads sentences.
struct TextSideOptions {
  Json encoder = "bert_base";
  Json head = "text_cnn";
  text::TokenizerOptions tokenizer;
  int64_t length = 64;
  bool frozen = true;
  std::string cache;
  template <class V>
  void fields(V&& v) {
    v("encoder", encoder, "text encoder: name, or name and options; its vocabulary is the tokenizer's unless given");
    v("head", head, "what makes one feature of the tokens': text_cnn, bi_lstm or pool");
    v("tokenizer", tokenizer, "how sentences are cut, and the vocabulary's file");
    v("length", length, "tokens of a sentence with start and end; longer ones are cut", Range{2, 65536});
    v("frozen", frozen, "the encoder doesn't learn and stays in evaluation mode (the head learns)");
    v("cache", cache,
      "file that keeps what the frozen encoder says of each training sentence, as float16; empty: computed each time");
  }
};

struct DualEncoderOptions {
  Json image = "resnet50";
  TextSideOptions text;
  int64_t width = 2048;
  int64_t reason_mlp = 0;
  template <class V>
  void fields(V&& v) {
    v("image", image, "any model of the registry that encodes pictures; its feature before the neck is taken");
    v("text", text, "encoder of sentences");
    v("width", width, "channels of the common space; 0: no projections, both sides must have the same width", Range{0, 16384});
    v("reason_mlp", reason_mlp, "width inside a residual MLP behind each projection; 0: none", Range{0, 65536});
  }
};

/// An encoder of pictures and one of sentences into one space, where their cosine says how well they fit.
///   v = P_v f(image) + b_v        t = P_t g(h(tokens)) + b_t
/// with f any image model before its neck, h a text encoder, g a head over its tokens. With `reason_mlp` = W
///   s = x + W2 gelu(W1 LN(x))     D -> W -> D, on each side by itself
/// Paper: the student and the baseline of Yan et al. (LCR2S), ACM MM 2023, arXiv:2310.11210, section 3: ResNet-50 with global
/// maximum, BERT with TextCNN. That the student may hold an MLP is this library's reading. With CLIP's towers and `width` 0
/// it is the dual encoder of IRRA (Jiang and Ye, CVPR 2023, arXiv:2303.12501) without its training-only branch.
/// Parameters: image.*, text.*, head.*, image_projection, text_projection, {image,text}_reason.{norm,fc1,fc2}.
/// Parts for weights: "image" and "text", each with the layouts of its own.
/// The vocabulary's file must be at its place when the model is made; it isn't part of the weights (a training run keeps a
/// copy). Without a name for it the model has no tokenizer: it encodes token ids, but can't be given sentences.
class DualEncoder final : public nn::Model, public nn::WeightAdapter, public nn::MadeFromFiles {
 public:
  using Options = DualEncoderOptions;
  /// @param options  `image` and `text` are written back with every option resolved.
  /// @throws ConfigError if a sentence could be longer than the encoder reads, the vocabularies differ in size, or widths
  ///   don't fit; InputError if the vocabulary's file is wrong.
  DualEncoder(Options& options, const std::string& pointer);

  nn::ModelOutput encode_image(const torch::Tensor& images, uint32_t want = nn::want_embedding) override;
  /// Rows are cut to the longest real sentence before the encoder, and filled up with zeros behind it. With `text.cache`, in
  /// training mode or with `want_cached`, a sentence's token features are taken from the file, rounded to float16; models of one
  /// process share the file if their encoders have the same weights.
  nn::ModelOutput encode_text(const torch::Tensor& tokens, const torch::Tensor& mask,
                              uint32_t want = nn::want_embedding) override;
  const text::Tokenizer* tokenizer() const override { return tokenizer_.get(); }
  int64_t text_length() const override { return length_; }
  const PreprocessOptions& preprocess() const override { return image_->preprocess(); }
  int64_t embedding_size() const override { return width_; }
  nn::Feature feature() const override { return nn::Feature::before_neck; }
  void fold_batch_norms() override { image_->fold_batch_norms(); }
  /// Of files that hold both sides: the layouts that both have under one name (CLIP's: clip, irra).
  std::vector<nn::StateLayout> layouts() const override;
  /// Hands the picture side's weights to it.
  void adapt_weights(nn::StateDict& tensors, const std::string& source) const override;
  nn::WeightPart weight_part(const std::string& name) override;
  /// The vocabulary.
  std::vector<std::string> file_options() const override { return {"/text/tokenizer/vocab"}; }
  void train(bool on = true) override;
  ~DualEncoder() override;

 private:
  struct Reason : torch::nn::Module {
    Reason(int64_t width, int64_t inner);
    torch::Tensor forward(const torch::Tensor& x);
    torch::nn::LayerNorm norm{nullptr};
    torch::nn::Linear fc1{nullptr}, fc2{nullptr};
  };
  torch::Tensor token_features(const torch::Tensor& tokens, const torch::Tensor& mask, int64_t longest);
  torch::Tensor project(const torch::nn::Linear& projection, const std::shared_ptr<Reason>& reason, torch::Tensor x);

  std::shared_ptr<nn::Model> image_;
  std::shared_ptr<TextEncoder> text_;
  std::shared_ptr<TextHead> head_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  torch::nn::Linear image_projection_{nullptr}, text_projection_{nullptr};
  std::shared_ptr<Reason> image_reason_, text_reason_;
  int64_t length_, width_;
  bool frozen_;
  std::string cache_file_;
  std::shared_ptr<TokenCache> cache_;  ///< opened at the first sentence that may come from it, when the weights are there
};

}  // namespace reid::models
