// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "reid/data/loader.hpp"
#include "reid/engine/experiment.hpp"
#include "reid/nn/model.hpp"
#include "reid/nn/objective.hpp"

namespace reid::engine {

/// The training list as the loader wants it. A sample is a picture, or, for a model that reads sentences, a picture
/// with one of its sentences; the samples of one picture follow each other.
struct TrainingData {
  std::vector<Sample> samples;
  std::vector<int64_t> labels;  ///< 0..K-1 in the order of the sorted identities
  data::Sentences sentences;    ///< undefined without a text encoder
  nn::TrainingFacts facts;
  int64_t pictures = 0;

  std::vector<int64_t> picture_of;  ///< of each sample
  std::vector<int64_t> first_of;    ///< of each picture, its first sample
};

/// @param name  of the data set, for messages
/// @throws DatasetError if there is no picture, or one without sentence where the model reads them; InputError naming
///   the picture whose sentence isn't UTF-8.
TrainingData prepare_training(std::vector<Sample> samples, const nn::Model& model, bool drop_lonely, const std::string& name);

/// How a stage's support is drawn. @throws ConfigError if every pool of others is smaller than the support wanted.
data::SupportPlan support_plan(const TrainingData& data, const SupportOptions& options, const std::string& pointer);

}  // namespace reid::engine
