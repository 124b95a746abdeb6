// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace reid {

/// One picture of a data set, with what its authors say of it. No pixels.
struct Sample {
  std::string path;                   ///< to be opened as it stands
  int64_t identity = -1;              ///< the set's own number (train: relabelled 0..K-1 by the loader of batches)
  int64_t camera = -1;                ///< the set's own number; -1: not known
  int64_t clothes = -1;               ///< outfit, unique over the set; -1: not known
  std::vector<std::string> captions;  ///< empty where the set has none
};

/// What one training step sees. Undefined tensors: not there.
struct Batch {
  torch::Tensor images;      ///< [N, 3, H, W] float32, preprocessed
  torch::Tensor tokens;      ///< [N, L] int64
  torch::Tensor mask;        ///< [N, L] bool, true where a token is real
  torch::Tensor identities;  ///< [N] int64, 0..K-1
  torch::Tensor cameras;     ///< [N] int64
  torch::Tensor clothes;     ///< [N] int64
  torch::Tensor index;       ///< [N] int64, position in the list of training samples
  torch::Tensor support_images;  ///< [N, M, 3, H, W]: other pictures of the same identity
  torch::Tensor support_tokens;  ///< [N, M, L] int64
  torch::Tensor support_mask;    ///< [N, M, L] bool

  int64_t size() const { return index.defined() ? index.size(0) : 0; }
  /// The same batch on another device (pinned memory is copied without waiting).
  Batch to(torch::Device device) const;
};

/// Where a training run stands when a batch is seen.
struct Progress {
  int64_t epoch = 0;           ///< from 0
  int64_t step = 0;            ///< optimizer steps done since the stage began
  int64_t steps_per_epoch = 0;
  int64_t epochs = 0;          ///< planned for the stage
};

}  // namespace reid
