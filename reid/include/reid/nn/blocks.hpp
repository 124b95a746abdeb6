// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/instancenorm.h>
#include <torch/types.h>

#include <array>
#include <cstdint>
#include <utility>

#include "reid/core/options.hpp"
#include "reid/ops/batch_norm.hpp"

/// Building blocks that several networks share. Tensors are [N, C, H, W] unless said; every function takes both memory
/// formats and keeps the one it is given.
namespace reid::nn {

/// How a feature map [N, C, H, W] becomes a vector [N, C].
///   avg   mean over positions
///   max   maximum over positions
///   gem   (mean_s max(x_s, 1e-6)^p)^(1/p), one p >= 1e-6 for all channels, learned, starting at 3
enum class Pooling { avg, gem, max };

using ops::Activation;

/// Mean over height and width of x [N, C, H, W]: [N, C]. Equal to `x.mean({2, 3})`; where x lies channels-last its gradient does
/// too (that of `mean` doesn't, and the layers below would take their slow paths).
torch::Tensor mean_of_positions(const torch::Tensor& x);

/// Global pooling, one of `Pooling`.
/// Paper (gem): Radenovic, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019, Eq. (3).
/// Reference: JDAI-CV/fast-reid fastreid/layers/pooling.py, GeneralizedMeanPoolingP.
/// Differs from it: p is kept at 1e-6 or more. The gradient of max is shared between equal maxima.
/// Parameter: `p` [1] for gem, none otherwise.
class GlobalPool : public torch::nn::Module {
 public:
  explicit GlobalPool(Pooling kind);
  /// @param x  [N, C, H, W] with at least one position.
  /// @return   [N, C], same type.
  torch::Tensor forward(const torch::Tensor& x);

 private:
  Pooling kind_;
  torch::Tensor p_;
};

/// The neck of the strong baseline: BatchNorm1d whose beta stays 0 (`bias` is kept, so that published weights fit, but
/// takes no gradient). Starts at gamma 1.
/// Paper: Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification", CVPRW 2019, 3.5.
torch::nn::BatchNorm1d make_bn_neck(int64_t features);

/// IBN-a: instance norm on the first floor(C/2) channels, batch norm on the others.
/// Paper: Pan et al., "Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net", ECCV 2018, Fig. 3a.
/// Reference: XingangPan/IBN-Net; the same block in KaiyangZhou/deep-person-reid torchreid/models/resnet_ibn_a.py.
/// Differs from it: nothing known. Children: `IN`, `BN`.
class IbnAImpl : public torch::nn::Module {
 public:
  explicit IbnAImpl(int64_t channels);
  torch::Tensor forward(const torch::Tensor& x);

 private:
  int64_t half_;
  torch::nn::InstanceNorm2d in_{nullptr};
  torch::nn::BatchNorm2d bn_{nullptr};
};
TORCH_MODULE(IbnA);

/// Convolution options without bias and with "same" padding for odd kernels.
torch::nn::Conv2dOptions conv_options(int64_t in, int64_t out, int64_t kernel, int64_t stride = 1,
                                      int64_t groups = 1);

/// act(bn(conv(x))); an empty `bn` (after `fold_batch_norm`) is left out.
torch::Tensor conv_bn_act(const torch::Tensor& x, torch::nn::Conv2d& conv, torch::nn::BatchNorm2d& bn,
                          Activation act = Activation::relu);

/// relu(bn(conv(x)) + shortcut), the end of a residual block.
torch::Tensor conv_bn_add_relu(const torch::Tensor& x, torch::nn::Conv2d& conv, torch::nn::BatchNorm2d& bn,
                               const torch::Tensor& shortcut);

/// act(bn(x) + shortcut) for a map x [N, C, H, W], training (`ops::batch_norm_act`) or not as `bn` is; an empty `bn` is left out,
/// and so is an undefined shortcut. `x` must not be needed any more by its producer's gradient.
torch::Tensor batch_norm_act(torch::Tensor x, torch::nn::BatchNorm2d& bn, Activation act,
                             const torch::Tensor& shortcut = {});

/// bn(x) for x [N, C] or [N, C, ...] of any rank, training or not as `bn` is; x itself if `bn` is empty.
torch::Tensor apply_batch_norm(const torch::Tensor& x, torch::nn::BatchNorm2d& bn);

/// Folds `bn`, a child of `owner` named `bn_name`, into the convolution before it, for inference:
///   W' = W gamma / sqrt(var + eps),   b' = beta + (b - mean) gamma / sqrt(var + eps)
/// computed in double. `conv` gains a bias, `bn` becomes empty and is no longer a child. Nothing happens if it is empty.
void fold_batch_norm(torch::nn::Module& owner, const char* bn_name, torch::nn::Conv2d& conv,
                     torch::nn::BatchNorm2d& bn);

/// A convolution, its batch norm and its activation, as children of the given names.
class ConvBnAct : public torch::nn::Module {
 public:
  ConvBnAct(const torch::nn::Conv2dOptions& options, Activation act, const char* conv_name = "conv",
            const char* bn_name = "bn");
  torch::Tensor forward(const torch::Tensor& x) { return conv_bn_act(x, conv, bn, act_); }
  void fold_batch_norms() { fold_batch_norm(*this, bn_name_, conv, bn); }

  torch::nn::Conv2d conv{nullptr};
  torch::nn::BatchNorm2d bn{nullptr};

 private:
  Activation act_;
  const char* bn_name_;
};

/// He's initialisation of every convolution below `module`, N(0, 2 / (k k out)), as torchvision's ResNets begin.
/// Biases 0; all else is left as it is.
void init_convolutions(torch::nn::Module& module);

/// Puts the weights of all convolutions into channels-last memory; inputs then follow by themselves. Values, names and
/// shapes stay. Faster for convolutions in float32 and bfloat16 on the CPU and on CUDA.
void use_channels_last(torch::nn::Module& module);

}  // namespace reid::nn

template <>
struct reid::EnumNames<reid::nn::Pooling> {
  static constexpr std::array<std::pair<reid::nn::Pooling, const char*>, 3> values{
      {{reid::nn::Pooling::avg, "avg"}, {reid::nn::Pooling::gem, "gem"}, {reid::nn::Pooling::max, "max"}}};
};
