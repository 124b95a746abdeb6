// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "reid/core/preprocess.hpp"
#include "reid/core/registry.hpp"
#include "reid/nn/state_dict.hpp"

namespace reid::text {
class Tokenizer;
}

namespace reid::nn {

/// What a caller wants from `Model::encode_image` and `encode_text`: nothing is computed or kept that nobody reads.
enum Want : uint32_t {
  want_embedding = 1,  ///< always filled
  want_neck = 2,
  want_tokens = 4,
  want_maps = 8,
  want_parts = 16,
  /// Outside training mode, too, what a frozen part says may come from the model's own cache, if it has one: for a teacher that
  /// sees the same samples over and over. Rounded as in training.
  want_cached = 32,
};

/// What a model says of N pictures (or N sentences).
struct ModelOutput {
  torch::Tensor embedding;          ///< [N, D] before the BN neck
  torch::Tensor neck;               ///< [N, D] after the BN neck; undefined unless wanted or if there is no neck
  torch::Tensor tokens;             ///< [N, L, D] if wanted
  std::vector<torch::Tensor> maps;  ///< attention maps, [N, 1, h, w] each, if wanted
  /// If wanted, of a model with several parts: each part's own feature before and after its neck, [N, D / parts] each, the
  /// whole picture's first. The embedding is made of them.
  std::vector<torch::Tensor> parts, part_necks;
};

/// Which of the two features is deployed: embedded, searched and scored.
enum class Feature { before_neck, after_neck };

/// A part of a model that weights may be loaded into by itself, with the layouts that are known for it.
struct WeightPart {
  torch::nn::Module* module = nullptr;  ///< lives as long as the model
  std::vector<StateLayout> layouts;
};

/// What is deployed: encoders and their preprocessing, one sample at a time. Classifiers and everything else that
/// only teaches belong to an `Objective`. Parameter names are those of the published weights wherever there are
/// any, without a training framework's prefixes, so that `state_dict.hpp` can read and write them.
class Model : public torch::nn::Module {
 public:
  /// Pictures [N, 3, H, W] float32, preprocessed as `preprocess()` says, to features.
  /// In evaluation mode a row's result doesn't depend on the other rows.
  /// @throws ShapeError if rank, channels or size differ from what the model was built for.
  virtual ModelOutput encode_image(const torch::Tensor& images, uint32_t want = want_embedding) = 0;

  /// As `encode_image`, with the camera that took each picture: [N] int64, 1 to `cameras()`. A model that looks at pictures
  /// alone leaves the cameras out; one that doesn't throws ConfigError from `encode_image`, and here for other numbers
  /// (on the CPU; on CUDA, where a look would stop the device, the engine has checked them with the picture's name).
  virtual ModelOutput encode_image_from(const torch::Tensor& images, const torch::Tensor& cameras,
                                        uint32_t want = want_embedding);

  /// The number of cameras that the model knows and looks at beside the pictures; 0: pictures alone.
  virtual int64_t cameras() const { return 0; }

  /// Features of one size that are taught apart and make up the embedding together; 1: the embedding is one feature.
  virtual int64_t parts() const { return 1; }

  /// Token ids [N, L] int64 and mask [N, L] bool to features. Models without a text encoder throw ConfigError.
  virtual ModelOutput encode_text(const torch::Tensor& tokens, const torch::Tensor& mask,
                                  uint32_t want = want_embedding);

  /// Cuts sentences into what `encode_text` takes; null for models without a text encoder. Lives as long as the model.
  virtual const text::Tokenizer* tokenizer() const { return nullptr; }
  /// Ids of a sentence, padded; 0 for models without a text encoder.
  virtual int64_t text_length() const { return 0; }

  virtual const PreprocessOptions& preprocess() const = 0;
  virtual int64_t embedding_size() const = 0;
  virtual Feature feature() const = 0;

  /// Pictures, and for a model that looks at them their cameras, to the deployed feature [N, D].
  /// @throws ConfigError if `feature()` names a neck that isn't there.
  torch::Tensor embed(const torch::Tensor& images, const torch::Tensor& cameras = {});

  /// Folds batch norms into the convolutions before them and sets evaluation mode; the model can't be trained
  /// afterwards. Features agree with the unfolded model's to 1e-4. Models without such pairs do nothing.
  virtual void fold_batch_norms() {}

  /// Published layouts of this architecture: how a file's keys become this model's parameter names.
  virtual std::vector<StateLayout> layouts() const = 0;

  /// A part by name, for weights that were published for it alone ("image", "text"); "" is the whole model.
  /// @throws ConfigError for a name that isn't one of its parts, listing them.
  virtual WeightPart weight_part(const std::string& name);

  /// The options this model was made with, every one written out, and its registry name: {"name": ..., ...}.
  const Json& spec() const { return spec_; }
  void set_spec(Json spec) { spec_ = std::move(spec); }

 private:
  Json spec_;
};

using ModelRegistry = Registry<Model>;

/// Makes a model from `"name"` or `{"name": ..., options}` and sees to it that `spec()` is filled: a model that doesn't
/// set it itself gets its registry defaults with the given options over them.
/// @throws RegistryError for an unknown name, ConfigError for wrong options.
std::shared_ptr<Model> make_model(const ModelRegistry& registry, const Json& part, const std::string& pointer = "");

}  // namespace reid::nn

template <>
struct reid::EnumNames<reid::nn::Feature> {
  static constexpr std::array<std::pair<reid::nn::Feature, const char*>, 2> values{
      {{reid::nn::Feature::before_neck, "before_neck"}, {reid::nn::Feature::after_neck, "after_neck"}}};
};
