// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "reid/core/options.hpp"
#include "reid/core/preprocess.hpp"
#include "reid/core/random.hpp"
#include "reid/core/types.hpp"

namespace reid::data {

/// Reads a picture as [H, W, 3] uint8 RGB. The only implementation lives in `reid::datasets`, which has OpenCV.
/// Called from many threads at once; must not start threads of its own.
/// @throws DatasetError naming the file.
using Decoder = std::function<torch::Tensor(const std::string& path)>;

/// Decoded pixels [H, W, 3] uint8 to the float tensor [3, H', W'] that the network sees, written to `out`, which
/// has room for it. Must be safe to call from many threads and should not start threads of its own (the parallel
/// operators of LibTorch do). Randomness comes from `random` alone.
using Transform = std::function<void(const torch::Tensor& pixels, Random& random, float* out)>;

struct LoaderOptions {
  int64_t threads = 2;      ///< 0: no threads, the work is done inside `next`
  int64_t prefetch = 4;     ///< batches ready ahead of the consumer
  bool pin_memory = false;  ///< needs CUDA
  template <class V>
  void fields(V&& v) {
    v("threads", threads, "threads that decode and transform pictures; 0: the caller's own", Range{0, 1024});
    v("prefetch", prefetch, "batches made ahead of the one in use", Range{1, 1024});
    v("pin_memory", pin_memory, "put pictures into page-locked memory, for copies to a CUDA device without waiting");
  }
};

/// The sentence of each sample, already cut into tokens: what `Batch::tokens` and `Batch::mask` are taken from.
struct Sentences {
  torch::Tensor tokens;  ///< [samples, L] int64; undefined: there are none
  torch::Tensor mask;    ///< [samples, L] bool
};

/// Which samples support a sample, by their positions in the list: the pictures of `images`, the sentences of
/// `sentences`, `members` each. Called from many threads at once.
struct SupportRows {
  std::vector<int64_t> images;
  std::vector<int64_t> sentences;
};
struct SupportPlan {
  int64_t members = 0;  ///< 0: batches have no support
  std::function<SupportRows(int64_t sample, uint64_t seed, int64_t epoch)> draw;
};

/// What a sample has besides its picture.
struct LoaderExtras {
  Sentences sentences;
  SupportPlan support;
};

/// Loads batches in the order given.
///
/// Every batch has `images` [N, 3, height, width] float32 and `identities`, `cameras`, `clothes`, `index`, each [N]
/// int64; with sentences also `tokens` and `mask` [N, L]; with a support plan `support_images` [N, M, 3, height, width],
/// and with both `support_tokens` and `support_mask` [N, M, L]; the rest is undefined. A sample's random numbers are those of Random({seed, epoch, index}) (and of
/// Random({seed, epoch, index, k}) for its k-th repetition inside one batch, so that an identity that fills its
/// group with copies still shows different pictures; a supporting picture m has Random({seed, epoch, index, k, m + 1})):
/// batches are the same, bit for bit, for any number of threads,
/// any prefetch and if an epoch is begun again at one of its later batches.
///
/// The first error of a worker, in the order of the batches, is rethrown by `next` when its batch is due; the epoch
/// is over then. Destroying the loader or starting an epoch ends the one that runs; neither waits for more than the
/// pictures in work.
///
/// Memory: (prefetch + 2) batches; their buffers are used again as soon as nothing else refers to them.
/// The loader itself is used from one thread.
class Loader {
 public:
  /// @param labels   identity of each sample as the loss wants it (0..K-1); empty: the sample's own number.
  /// @param height, width  size of what `transform` writes.
  /// @throws InputError if labels, sentences and samples differ in number, ConfigError for senseless options, DeviceError if
  ///   `pin_memory` is asked for without CUDA.
  Loader(std::vector<Sample> samples, std::vector<int64_t> labels, Decoder decoder, Transform transform,
         int64_t height, int64_t width, const LoaderOptions& options, LoaderExtras extras = {});
  ~Loader();
  /// Starts an epoch over batches of indices; ends the one that runs.
  /// @throws InputError if an index is outside the list of samples.
  void start(std::vector<std::vector<int64_t>> batches, uint64_t seed, int64_t epoch);
  /// The next batch, or nullopt at the end of the epoch.
  std::optional<Batch> next();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The test-time transform of a model: Pillow-exact resize, scale, mean and std. Draws no random number.
///   out[c, y, x] = (resized[y, x, c] / 255 - mean[c]) / std[c]       float32, in this order of operations
/// Equal to Pillow's `resize` followed by torchvision's ToTensor and Normalize, bit for bit.
Transform evaluation_transform(const PreprocessOptions& options);

}  // namespace reid::data
