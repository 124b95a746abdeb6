// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "reid/core/preprocess.hpp"
#include "reid/models/body.hpp"
#include "reid/nn/model.hpp"
#include "reid/nn/transformer.hpp"
#include "reid/nn/weight_adapter.hpp"

namespace reid::models {

/// TransReID's jigsaw patch module (JPM): local features beside the whole picture's.
struct JigsawOptions {
  int64_t parts = 4;
  int64_t shift = 5;
  int64_t groups = 2;
  bool shuffle = true;
  template <class V>
  void fields(V&& v) {
    v("parts", parts, "local features, each of as many places", Range{1, 64});
    v("shift", shift, "the token that the shifted order begins with (the class token is 0)", Range{1, 65536});
    v("groups", groups, "shares of the shifted order that are dealt out in turn", Range{1, 1024});
    v("shuffle", shuffle, "shift and deal out; false: parts are the picture's places in their order");
  }
};

/// TransReID's side information embedding (SIE), for cameras.
struct SideInformationOptions {
  int64_t cameras = 1;
  double coefficient = 3;
  template <class V>
  void fields(V&& v) {
    v("cameras", cameras, "cameras, numbered from 1, that have an embedding", Range{1, 65536});
    v("coefficient", coefficient, "factor of the embedding", Range{0, 1e3});
  }
};

/// What every vision transformer here has behind its tokens' making.
struct EncoderOptions {
  int64_t width = 768;
  int64_t depth = 12;
  int64_t heads = 12;
  double mlp_ratio = 4;
  bool qkv_bias = true;
  std::optional<double> attention_scale;
  double drop_path = 0.1;
  double norm_eps = 1e-6;
  bool neck = true;
  nn::Feature feature = nn::Feature::before_neck;
  std::optional<JigsawOptions> jpm;
  std::optional<SideInformationOptions> sie;
  template <class V>
  void fields(V&& v) {
    v("width", width, "width D of the tokens, a multiple of heads", Range{1, 8192});
    v("depth", depth, "number of blocks", Range{1, 128});
    v("heads", heads, "attention heads", Range{1, 256});
    v("mlp_ratio", mlp_ratio, "hidden width of the MLP by D", Range{0.01, 64});
    v("qkv_bias", qkv_bias, "bias of queries, keys and values");
    v("attention_scale", attention_scale, "factor of the attention's products; null: 1 / sqrt(D / heads)", Range{1e-6, 1e3});
    v("drop_path", drop_path, "stochastic depth: rate of the last block, growing linearly from 0", Range{0, 0.99});
    v("norm_eps", norm_eps, "epsilon of the layer norms", Range{0, 1});
    v("neck", neck, "BN neck: a batch norm with beta 0 on the feature");
    v("feature", feature, "which feature is embedded, searched and scored");
    v("jpm", jpm, "jigsaw patch module: local features beside the whole picture's; null: none");
    v("sie", sie, "side information: an embedding of the camera is added to all tokens; null: none");
  }
  /// @throws ConfigError for a width that heads don't divide, the feature of a neck that isn't there, or local features of a
  ///         single block.
  void validate(const std::string& where) const;
  nn::TransformerOptions block() const;
};

/// What makes the tokens of a picture's places.
///   patch  one convolution over each patch
///   ics    three convolutions at half the picture's size with IBN, IBN and batch norm, then one over each patch (TransReID-SSL)
enum class Stem { patch, ics };

/// Options of `vit_b16`, `vit_s16` and `vit_tiny`.
struct VitOptions {
  int64_t patch = 16;
  int64_t stride = 16;
  Stem stem = Stem::patch;
  EncoderOptions encoder;
  PreprocessOptions preprocess{.mean = {0.5, 0.5, 0.5}, .std = {0.5, 0.5, 0.5}};
  template <class V>
  void fields(V&& v) {
    v("patch", patch, "side of a patch in pixels", Range{1, 256});
    v("stride", stride, "step between patches; below `patch` they overlap", Range{1, 256});
    v("stem", stem, "patch: a convolution over each patch; ics: TransReID-SSL's convolutions with IBN before it, for patches of "
      "even side that don't overlap");
    encoder.fields(v);
    v("preprocess", preprocess, "test-time preprocessing; the position table is of its height and width");
  }
  /// @throws ConfigError also for pictures smaller than a patch, and for the stem `ics` with overlapping or odd patches.
  void validate(const std::string& where) const;
};

/// Options of `vit_hybrid`.
struct VitHybridOptions {
  Json body = "mobilenet_v2";
  EncoderOptions encoder{.width = 384, .depth = 4, .heads = 6};
  PreprocessOptions preprocess;
  template <class V>
  void fields(V&& v) {
    v("body", body, "convolutional body: a name or {\"name\": ..., options}");
    encoder.fields(v);
    v("preprocess", preprocess, "test-time preprocessing; the position table is of its height and width");
  }
  void validate(const std::string& where) const { encoder.validate(where); }
};

/// Pictures to the tokens of their places, row by row: [N, 3, H, W] to [N, h w, D].
class PatchEmbedding : public torch::nn::Module {
 public:
  virtual torch::Tensor forward(const torch::Tensor& images) = 0;
  /// h and w.
  virtual MapSize grid() const = 0;
  virtual void fold_batch_norms() {}
  /// Namings of the weights of what is inside; names of the result stand behind "patch_embed.".
  virtual std::vector<nn::StateLayout> layouts() const { return {}; }
};

class Jigsaw;

/// The vision transformer as TransReID uses it, and the hybrid of the ViT paper.
///   Z0 = [cls; E(image)] + P + c S[camera];   Z = blocks(Z0);   f = LN(Z)[cls];   neck = BN(f), beta 0
/// with E a convolution of kernel `patch` and step `stride` (n = floor((L - patch) / stride) + 1 places along a side of
/// length L: 128 at 256x128 and stride 16, 210 at stride 12), or, in the hybrid, a convolutional body whose last map's
/// positions are projected to D; with the stem `ics`, E(x) = conv_{p/2, p/2}(ReLU BN conv3(ReLU IBN conv3(ReLU IBN conv7_2(x)))), 64
/// channels wide; S and c are there with `sie` only. Without `jpm` the embedding is f. With it, Y being the tokens
/// before the last block and pi the order of `JigsawOptions`,
///   l_k = LN'(block'([Y_cls; Y_pi(places of part k)]))[cls],  k = 1 .. P;    embedding [f, l_1 / P, ..., l_P / P]
/// and after the necks, one for each, likewise. block' and LN' begin as copies of the last block and norm.
/// Paper: Dosovitskiy et al., ICLR 2021, arXiv:2010.11929, Sec. 3.1 (and "Hybrid Architecture"); He et al., "TransReID",
/// ICCV 2021, arXiv:2102.04378, Sec. 3.1 to 3.3; Luo et al., "Self-Supervised Pre-Training for Transformer-Based Person
/// Re-Identification", arXiv:2111.12084, Sec. 3.3 (the IBN-based convolution stem, ICS).
/// Reference: damo-cv/TransReID model/backbones/vit_pytorch.py and model/make_model.py (build_transformer and
/// build_transformer_local); damo-cv/TransReID-SSL transreid_pytorch/model/backbones/vit_pytorch.py (PatchEmbed with stem_conv).
/// Differs from it: no classifiers; cameras alone are side information, not viewpoints; the last blocks compute the class token
/// alone unless their tokens are wanted; where the places can't be dealt out in equal shares, one more, the last but one, is
/// taken twice, as there, but sizes for which that doesn't help are an error.
/// Parity: tests/models/vit_parity_test.cpp: features before and after the necks, gradients, position tables, with SIE, JPM and ICS.
/// Names: cls_token, pos_embed [1, 1 + h w, D], patch_embed.proj (hybrid: also patch_embed.backbone; ics: patch_embed.conv), blocks.N, norm,
/// bottleneck; sie_embed [cameras, 1, D]; jigsaw.block, jigsaw.norm, jigsaw.bottleneck_K. Normal(0, 0.02) for tokens, positions and linear layers, biases 0.
/// Tokens: all 1 + h w, class token first, after the last block and before the final norm.
/// Maps: one, [N, 1, h, w]: attention roll-out (Abnar and Zuidema, ACL 2020, arXiv:2005.00928) from the class token,
///   R = A_depth ... A_1,  A = (mean over heads of attention + I) / 2,  divided by its largest place.
/// Weights whose position table has another grid are resized by `resize_positions`. Those of an encoder without a neck (ImageNet)
/// give the jigsaw's block and norm the last ones', and `sie_embed` keeps its start; of weights with a neck nothing may be missing.
/// Cost at 256x128, stride 16: 11.0 GMAC (vit_b16), 2.8 (vit_s16), 0.72 (vit_tiny).
class VisionTransformer : public nn::Model, public nn::TransformerEncoder, public nn::WeightAdapter {
 public:
  /// @param pointer  of the options, for messages.
  VisionTransformer(std::shared_ptr<PatchEmbedding> patches, const EncoderOptions& options,
                    const PreprocessOptions& preprocess, const std::string& pointer = "");

  ~VisionTransformer() override;

  nn::ModelOutput encode_image(const torch::Tensor& images, uint32_t want = nn::want_embedding) override;
  nn::ModelOutput encode_image_from(const torch::Tensor& images, const torch::Tensor& cameras,
                                    uint32_t want = nn::want_embedding) override;
  int64_t cameras() const override { return options_.sie ? options_.sie->cameras : 0; }
  int64_t parts() const override { return options_.jpm ? 1 + options_.jpm->parts : 1; }
  const PreprocessOptions& preprocess() const override { return preprocess_; }
  int64_t embedding_size() const override { return parts() * options_.width; }
  nn::Feature feature() const override { return options_.feature; }
  void fold_batch_norms() override;
  std::vector<nn::StateLayout> layouts() const override;
  void adapt_weights(nn::StateDict& tensors, const std::string& source) const override;

  const std::vector<std::shared_ptr<nn::TransformerBlock>>& encoder_blocks() const override { return blocks_; }
  torch::nn::LayerNorm final_norm() const override { return norm_; }
  /// Places of the tokens behind the class token.
  MapSize grid() const { return patches_->grid(); }

 private:
  /// @param side  what is added to all tokens, [N, 1, D]; undefined: nothing
  nn::ModelOutput encode(const torch::Tensor& images, const torch::Tensor& side, uint32_t want);

  EncoderOptions options_;
  PreprocessOptions preprocess_;
  std::shared_ptr<PatchEmbedding> patches_;
  std::shared_ptr<Jigsaw> jigsaw_;
  torch::Tensor cls_token_, pos_embed_, sie_embed_;
  std::vector<std::shared_ptr<nn::TransformerBlock>> blocks_;
  torch::nn::LayerNorm norm_{nullptr};
  torch::nn::BatchNorm1d neck_{nullptr};
};

/// A position table [1, 1 + old places, D] for another grid: the class token's entry is taken as it is, the grid is
/// resized bilinearly (half-pixel centres, no antialiasing).
/// The old grid is the square of that many places, else the one twice or three times as high as wide; of a table with two
/// tokens before a square grid (distilled DeiT) the second is left out, as the reference does.
/// Reference: damo-cv/TransReID model/backbones/vit_pytorch.py, resize_pos_embed.
/// Differs from it: grids that aren't square are an assertion failure there.
/// @throws CheckpointError if no such grid has that many places.
torch::Tensor resize_positions(const torch::Tensor& table, MapSize grid, const std::string& source);

}  // namespace reid::models

template <>
struct reid::EnumNames<reid::models::Stem> {
  static constexpr std::array<std::pair<reid::models::Stem, const char*>, 2> values{
      {{reid::models::Stem::patch, "patch"}, {reid::models::Stem::ics, "ics"}}};
};
