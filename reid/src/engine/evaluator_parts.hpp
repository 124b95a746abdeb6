// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "reid/engine/evaluator.hpp"

namespace reid::engine {

/// Changes the features of one split between extraction and scoring; rows are in the order of the lists.
using Enrich = std::function<void(const std::vector<Sample>& query, torch::Tensor& query_features,
                                  const std::vector<Sample>& gallery, torch::Tensor& gallery_features)>;

/// `evaluate_model`, with features that are changed before they are scored. @param enrich  may be empty.
metrics::Result evaluate_enriched(nn::Model& model, const data::DataSet& dataset, const EvaluationOptions& options,
                                  const data::Decoder& decoder, const Runtime& runtime, uint64_t seed,
                                  const ProgressSink& progress, bool prepared, const Enrich& enrich);

}  // namespace reid::engine
