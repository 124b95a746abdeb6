// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "reid/core/preprocess.hpp"
#include "reid/core/random.hpp"
#include "reid/core/types.hpp"

namespace reid::data {

/// Reads a picture as [H, W, 3] uint8 RGB. The only implementation lives in `reid::datasets`, which has OpenCV.
/// @throws DatasetError naming the file.
using Decoder = std::function<torch::Tensor(const std::string& path)>;

/// Decoded pixels to the float tensor [3, H, W] that the network sees; must be safe to call from many threads.
/// Randomness comes from `random` alone.
using Transform = std::function<void(const torch::Tensor& pixels, Random& random, float* out)>;

struct LoaderOptions {
  int64_t threads = 2;
  int64_t prefetch = 4;     ///< batches ready ahead of the consumer
  bool pin_memory = false;  ///< needs CUDA
};

/// Loads batches in the order given, whatever the number of threads; each sample's random numbers come from
/// (seed, epoch, sample index) only. The first error of a worker is rethrown by `next`, workers then stop.
class Loader {
 public:
  Loader(std::vector<Sample> samples, std::vector<int64_t> labels, Decoder decoder, Transform transform,
         int64_t height, int64_t width, const LoaderOptions& options);
  ~Loader();
  /// Starts an epoch over batches of indices; ends the one that runs.
  void start(std::vector<std::vector<int64_t>> batches, uint64_t seed, int64_t epoch);
  /// The next batch, or nullopt at the end of the epoch.
  std::optional<Batch> next();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The test-time transform of a model: Pillow-exact resize, scale, mean and std.
Transform evaluation_transform(const PreprocessOptions& options);

}  // namespace reid::data
