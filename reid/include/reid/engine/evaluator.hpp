// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reid/core/progress.hpp"
#include "reid/data/dataset.hpp"
#include "reid/data/loader.hpp"
#include "reid/engine/device.hpp"
#include "reid/metrics/evaluate.hpp"
#include "reid/metrics/rerank.hpp"
#include "reid/nn/model.hpp"

namespace reid::engine {

/// Which feature is embedded and scored.
enum class FeatureChoice { deployed, before_neck, after_neck };

/// How features are computed. None of it changes what they are, beyond the rounding that is stated.
struct ExtractOptions {
  FeatureChoice feature = FeatureChoice::deployed;
  bool flip = false;
  int64_t batch = 0;
  bool fold = true;
  bool channels_last = true;
  Precision precision = Precision::fp32;
  template <class V>
  void fields(V&& v) {
    v("feature", feature, "deployed (what the model says), before_neck or after_neck");
    v("flip", flip, "mean of the features of a picture and its mirror image, before normalisation");
    v("batch", batch, "pictures in one pass; 0: 16 a thread on the CPU, 128 on CUDA", Range{0, 4096});
    v("fold", fold, "fold batch norms into convolutions (features equal to 1e-4)");
    v("channels_last", channels_last, "keep pictures with channels innermost");
    v("precision", precision, "type of products and convolutions");
  }
};

/// How a model is scored on a data set.
struct EvaluationOptions : ExtractOptions {
  std::string protocol;
  std::optional<ops::Metric> metric;
  std::optional<metrics::RerankOptions> rerank;
  int64_t resamples = 1000;
  template <class V>
  void fields(V&& v) {
    v("protocol", protocol, "name of the protocol; empty: the data set's own");
    v("metric", metric, "distance; null: the protocol's own");
    v("rerank", rerank, "re-ranking variant and its parameters; null: none");
    v("resamples", resamples, "bootstrap samples of the interval", Range{10, 1e6});
    ExtractOptions::fields(v);
  }
};

/// Evaluation mode, device, memory layout and, if asked, folded batch norms. A folded model can't be trained any more; weights below
/// 1.2e-38, which float32 holds only as subnormals and some processors multiply a hundred times as slowly, are 0 in it.
void prepare_for_inference(nn::Model& model, const ExtractOptions& options, const Runtime& runtime);

/// Features of pictures, a row each, in the order given: [N, D] float32 on the CPU, not normalised.
///
/// On the CPU every thread decodes and encodes batches of its own, one thread to a batch: decoding hides behind the
/// network, no thread waits for another, and a row's bits don't depend on the number of threads. On CUDA, threads
/// decode ahead of the device. The matrix is allocated once; above 1 GiB it lies in a temporary file that is mapped
/// into memory, so that the system may write it out.
/// The model must have been prepared for inference.
/// @param cameras  the camera of each picture, for models that look at it (`Model::cameras`); others leave it out.
/// @throws DatasetError naming the picture that can't be read; ConfigError if `after_neck` is asked of a model
///         without neck, or naming the picture whose camera the model must know and doesn't.
torch::Tensor extract_features(nn::Model& model, const std::vector<std::string>& paths, const data::Decoder& decoder,
                               const ExtractOptions& options, const Runtime& runtime,
                               const ProgressSink& progress = {}, const std::vector<int64_t>& cameras = {});

/// Features of sentences, a row each, in the order given: [N, D] float32 on the CPU, not normalised. As
/// `extract_features`, by the model's text encoder; a row doesn't depend on how many threads there are.
/// @throws ConfigError for a model without one; InputError naming the sentence that isn't UTF-8.
torch::Tensor extract_sentence_features(nn::Model& model, const std::vector<std::string>& sentences,
                                        const ExtractOptions& options, const Runtime& runtime,
                                        const ProgressSink& progress = {});

/// Extracts query and gallery of a data set and scores them under a protocol; sets with several splits are scored on
/// each, a picture that several splits share is encoded once. Under `text_to_image` and `image_to_text` one side is
/// sentences. The result's JSON is that of `metrics::evaluate` with:
/// dataset, data_fingerprint, notes, model, feature, flip, seed, weights_fingerprint, environment and seconds.
/// @param seed  of the bootstrap and of sampled galleries.
/// @param prepared  whether `prepare_for_inference` is left out because the caller's model must stay trainable.
metrics::Result evaluate_model(nn::Model& model, const data::DataSet& dataset, const EvaluationOptions& options,
                               const data::Decoder& decoder, const Runtime& runtime,
                               uint64_t seed = metrics::kScoringSeed, const ProgressSink& progress = {}, bool prepared = false);

}  // namespace reid::engine

template <>
struct reid::EnumNames<reid::engine::FeatureChoice> {
  static constexpr std::array<std::pair<reid::engine::FeatureChoice, const char*>, 3> values{
      {{reid::engine::FeatureChoice::deployed, "deployed"},
       {reid::engine::FeatureChoice::before_neck, "before_neck"},
       {reid::engine::FeatureChoice::after_neck, "after_neck"}}};
};
