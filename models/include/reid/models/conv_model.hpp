// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "reid/core/preprocess.hpp"
#include "reid/models/body.hpp"
#include "reid/nn/blocks.hpp"
#include "reid/nn/model.hpp"

namespace reid::models {

/// How a convolutional network's last map becomes the feature.
struct HeadOptions {
  nn::Pooling pooling = nn::Pooling::avg;
  bool neck = true;
  nn::Feature feature = nn::Feature::after_neck;
  template <class V>
  void fields(V&& v) {
    v("pooling", pooling, "global pooling of the last map");
    v("neck", neck, "BN neck: a batch norm with beta 0 behind the pooling");
    v("feature", feature, "which feature is embedded, searched and scored");
  }
  /// @throws ConfigError if the feature after the neck is asked for and there is none.
  void validate(const std::string& where) const;
};

/// A body, global pooling and a BN neck: the strong baseline's network without its classifier.
///   embedding = pool(body(images)) [N, C],   neck = BN(embedding) [N, C],   tokens = the last map [N, h w, C]
/// Paper: Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification", CVPRW 2019.
class ConvModel : public nn::Model {
 public:
  /// @param neck_name  name of the neck among the parameters: "bottleneck" as in BoT, "feat_bn" as in RGA.
  ConvModel(std::shared_ptr<ConvBody> body, const HeadOptions& head, const PreprocessOptions& preprocess,
            std::string neck_name);

  nn::ModelOutput encode_image(const torch::Tensor& images, uint32_t want = nn::want_embedding) override;
  const PreprocessOptions& preprocess() const override { return preprocess_; }
  int64_t embedding_size() const override { return embedding_size_; }
  nn::Feature feature() const override { return head_.feature; }
  void fold_batch_norms() override;
  std::vector<nn::StateLayout> layouts() const override;

 protected:
  /// Pictures to the last map; fills `maps` if it isn't null.
  virtual torch::Tensor feature_map(const torch::Tensor& images, std::vector<torch::Tensor>* maps);
  ConvBody& body() { return *body_; }

 private:
  void take_over_body();

  std::shared_ptr<ConvBody> body_;
  HeadOptions head_;
  PreprocessOptions preprocess_;
  int64_t embedding_size_;
  std::string neck_name_;
  std::shared_ptr<nn::GlobalPool> pool_;
  torch::nn::BatchNorm1d neck_{nullptr};
};

/// Throws ShapeError unless `images` is [N, 3, height, width] of a floating type; names both sizes.
void check_images(const torch::Tensor& images, const PreprocessOptions& expected, const std::string& where);

}  // namespace reid::models
