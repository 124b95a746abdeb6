// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "reid/models/conv_model.hpp"
#include "reid/ops/relation.hpp"

namespace reid::models {

/// In which order the two attentions of `rga_sc` act.
///   sc        spatial first, channel on its result (the paper's RGA-SC)
///   cs        channel first, spatial on its result
///   parallel  both computed from the module's input; the result is multiplied by both
enum class RgaOrder { sc, cs, parallel };

/// Which blocks of the relation map the relation vector is made of: the official code stacks transpose(G), G.
///   both  transpose(G), then G;   in  transpose(G) alone;   out  G alone
enum class RgaDirections { both, in, out };

/// How a module begins.
///   paper     framework defaults; output a * x
///   identity  gamma of the last batch norm 0; output 2 a * x, so that the module begins as the identity
enum class RgaStart { paper, identity };

/// Options of one RGA module, apart from its size.
struct RgaModuleOptions {
  bool spatial = true;
  bool channel = true;
  RgaOrder order = RgaOrder::sc;
  RgaDirections directions = RgaDirections::both;
  bool own_feature = true;
  ops::RelationPath relation = ops::RelationPath::automatic;
  RgaStart start = RgaStart::paper;
  bool bn_gamma_uniform = false;
  int64_t channel_ratio = 8;
  int64_t spatial_ratio = 8;
  int64_t head_ratio = 8;
};

/// Relation-aware global attention on one feature map. With E(a->b) = 1x1 convolution without bias, batch norm, ReLU,
/// N nodes (spatial: the S = H W positions; channel: the C channels), r = max(1, floor(C / channel_ratio)) (spatial) or
/// max(1, floor(S / spatial_ratio)) (channel), m the other of the two:
///   theta, phi = E(x) [B, r, N];   G = theta^T phi;   R = E_(2N -> m)([transpose(G); G])
///   u = mean over r of E(x);   a = sigmoid(BN(w2 ReLU(BN(W1 [u; R]))));   output = a * x, no residual
/// Paper: Zhang et al., "Relation-Aware Global Attention for Person Re-identification", CVPR 2020, Sec. 3.
/// Reference: microsoft/Relation-Aware-Global-Attention-Networks@cdc9965 reid/models/models_utils/rga_modules.py.
/// Differs from it: the relation is computed without the N x N map where that is cheaper (`ops::relation`); the three
/// embeddings are one product; sizes below 1 become 1; other orders, directions and starts are options.
/// Parity: tests/models/parity_test.cpp, outputs and gradients, 1e-5 (f32), 1e-10 (f64).
/// Parameters: `gx_spatial.0.weight`, `gx_spatial.1.*` (batch norm), `theta_`, `phi_`, `gg_` likewise, `W_spatial.{0,1,3,4}`,
/// and the same with `_channel`.
class RgaModule : public torch::nn::Module {
 public:
  RgaModule(int64_t channels, MapSize size, const RgaModuleOptions& options);
  ~RgaModule() override;

  /// @param x    [B, C, H, W] of the size it was built for.
  /// @param map  if given, set to the spatial attention a [B, 1, H, W]; left alone if there is none.
  /// @return     [B, C, H, W]. @throws ShapeError naming both sizes.
  /// In evaluation on the CPU without gradients, a large batch is worked on a few pictures at a time (about 16 MB of x each).
  torch::Tensor forward(const torch::Tensor& x, torch::Tensor* map = nullptr);

  /// Folds all batch norms into the convolutions before them; afterwards it can't be trained.
  void fold_batch_norms();

 private:
  class Attention;
  torch::Tensor attended(const torch::Tensor& x, torch::Tensor* map, torch::Tensor into);
  torch::Tensor spatial_attention(const torch::Tensor& x);
  torch::Tensor channel_attention(const torch::Tensor& x);

  int64_t channels_;
  MapSize size_;
  RgaModuleOptions options_;
  std::shared_ptr<Attention> spatial_, channel_;
};

/// Options of `rga_s` and `rga_c`.
struct RgaOptions {
  Json body = "resnet50";
  std::array<bool, 4> stages{true, true, true, true};
  RgaDirections directions = RgaDirections::both;
  bool own_feature = true;
  ops::RelationPath relation = ops::RelationPath::automatic;
  RgaStart start = RgaStart::paper;
  bool bn_gamma_uniform = false;
  int64_t channel_ratio = 8;
  int64_t spatial_ratio = 8;
  int64_t head_ratio = 8;
  HeadOptions head;
  PreprocessOptions preprocess;
  template <class V>
  void fields(V&& v) {
    v("body", body, "convolutional body: a name or {\"name\": ..., options}");
    v("stages", stages, "behind which of the four stages a module stands");
    v("directions", directions, "relations used: both, in (transpose of G) or out (G)");
    v("own_feature", own_feature, "put the node's own feature in front of its relations");
    v("relation", relation, "how relations are computed: auto by size, factored or dense (with the N x N map)");
    v("start", start, "paper: framework defaults; identity: modules begin as the identity");
    v("bn_gamma_uniform", bn_gamma_uniform, "batch norm gammas of the modules begin uniform in (0, 1) instead of at 1");
    v("channel_ratio", channel_ratio, "channels are reduced by it", Range{1, 1024});
    v("spatial_ratio", spatial_ratio, "positions are reduced by it", Range{1, 1024});
    v("head_ratio", head_ratio, "relation vectors are reduced by it in the attention head", Range{1, 1024});
    head.fields(v);
    v("preprocess", preprocess, "test-time preprocessing; modules are built for its height and width");
  }
  void validate(const std::string& where) const;
};

/// Options of `rga_sc`.
struct RgaScOptions : RgaOptions {
  RgaOrder order = RgaOrder::sc;
  template <class V>
  void fields(V&& v) {
    RgaOptions::fields(v);
    v("order", order, "order of the two attentions: sc, cs or parallel");
  }
};

/// A body with an RGA module behind each stage, average pooling and BN neck (`feat_bn`).
/// Maps: the spatial attention of every stage that has one, [N, 1, h, w] in (0, 1); none for `rga_c`.
/// Cost at 256x128 on ResNet-50: 9.82 GMAC dense, 5.05 factored, 4.05 without attention.
class RgaModel : public ConvModel {
 public:
  RgaModel(std::shared_ptr<ConvBody> body, const RgaModuleOptions& module_options, const RgaOptions& options);
  void fold_batch_norms() override;

 protected:
  torch::Tensor feature_map(const torch::Tensor& images, std::vector<torch::Tensor>* maps) override;

 private:
  std::array<std::shared_ptr<RgaModule>, 4> modules_;
};

}  // namespace reid::models

template <>
struct reid::EnumNames<reid::models::RgaOrder> {
  static constexpr std::array<std::pair<reid::models::RgaOrder, const char*>, 3> values{
      {{reid::models::RgaOrder::sc, "sc"},
       {reid::models::RgaOrder::cs, "cs"},
       {reid::models::RgaOrder::parallel, "parallel"}}};
};
template <>
struct reid::EnumNames<reid::models::RgaDirections> {
  static constexpr std::array<std::pair<reid::models::RgaDirections, const char*>, 3> values{
      {{reid::models::RgaDirections::both, "both"},
       {reid::models::RgaDirections::in, "in"},
       {reid::models::RgaDirections::out, "out"}}};
};
template <>
struct reid::EnumNames<reid::models::RgaStart> {
  static constexpr std::array<std::pair<reid::models::RgaStart, const char*>, 2> values{
      {{reid::models::RgaStart::paper, "paper"}, {reid::models::RgaStart::identity, "identity"}}};
};
