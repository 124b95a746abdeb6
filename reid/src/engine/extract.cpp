// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <atomic>
#include <exception>
#include <functional>
#include <limits>
#include <mutex>
#include <numeric>
#include <thread>

#include "camera_check.hpp"
#include "reid/core/error.hpp"
#include "reid/engine/evaluator.hpp"
#include "reid/ops/memory.hpp"
#include "sentences.hpp"

namespace reid::engine {
namespace {

constexpr int64_t kBatchCpu = 16;
constexpr int64_t kBatchCuda = 128;

constexpr int64_t kSentencesCpu = 32;
constexpr int64_t kSentencesCuda = 256;

torch::Tensor choose(const nn::ModelOutput& output, bool after_neck) {
  REID_CHECK(!after_neck || output.neck.defined(), ConfigError,
             "feature: value must be before_neck for a model without BN neck, got after_neck");
  return after_neck ? output.neck : output.embedding;
}

class Encoder {
 public:
  Encoder(nn::Model& model, const ExtractOptions& options, const Runtime& runtime)
      : model_(model), options_(options), runtime_(runtime) {
    after_neck_ = options.feature == FeatureChoice::after_neck ||
                  (options.feature == FeatureChoice::deployed && model.feature() == nn::Feature::after_neck);
  }

  /// @param cameras  [n] int64
  /// @return         [n, D] float32 on the CPU
  torch::Tensor operator()(torch::Tensor images, torch::Tensor cameras) const {
    images = images.to(runtime_.device, /*non_blocking=*/images.is_pinned());
    cameras = cameras.to(runtime_.device);
    auto features = encode(images, cameras);
    if (options_.flip) features = (features + encode(images.flip({3}), cameras)) / 2;
    return features.cpu();
  }

 private:
  torch::Tensor encode(torch::Tensor images, const torch::Tensor& cameras) const {
    if (options_.channels_last) images = images.contiguous(torch::MemoryFormat::ChannelsLast);
    const Autocast autocast(runtime_.device, options_.precision);
    const uint32_t want = nn::want_embedding | (after_neck_ ? nn::want_neck : 0u);
    return choose(model_.encode_image_from(images, cameras, want), after_neck_).to(torch::kFloat32);
  }

  nn::Model& model_;
  const ExtractOptions& options_;
  const Runtime& runtime_;
  bool after_neck_ = false;
};

/// Fills `features` by batches [begin, end), many at a time, each on one thread of its own.
/// The error of the earliest batch that fails is rethrown.
void encode_by_batches(const std::function<torch::Tensor(int64_t begin, int64_t end)>& encode, int64_t batch, int64_t threads,
                       torch::Tensor& features, const ProgressSink& progress) {
  const int64_t count = features.size(0);
  const int64_t batches = (count + batch - 1) / batch;
  std::atomic<int64_t> next{0}, done{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  int64_t error_batch = batches;
  std::exception_ptr error;

  const auto work = [&](bool reports) {
    const c10::InferenceMode inference;
    for (;;) {
      const int64_t index = next.fetch_add(1);
      if (index >= batches || failed) return;
      const int64_t begin = index * batch, end = std::min(count, begin + batch);
      try {
        features.slice(0, begin, end).copy_(encode(begin, end));
      } catch (...) {
        const std::lock_guard lock(mutex);
        failed = true;
        if (index < error_batch) {
          error_batch = index;
          error = std::current_exception();
        }
        return;
      }
      const int64_t total = done.fetch_add(end - begin) + end - begin;
      if (reports && progress && total < count) progress({"features", total, count, ""});
    }
  };

  const int former = at::get_num_threads();
  const auto workers = static_cast<int64_t>(std::min(threads, batches));
  std::vector<std::thread> pool;
  // Every worker computes on one thread; LibTorch keeps this number by thread.
  const auto on_one_thread = [&](bool reports) {
    at::set_num_threads(1);
    work(reports);
  };
  for (int64_t i = 1; i < workers; ++i) pool.emplace_back(on_one_thread, false);
  on_one_thread(true);
  for (auto& thread : pool) thread.join();
  at::set_num_threads(former);
  if (error) std::rethrow_exception(error);
  if (progress) progress({"features", count, count, ""});
}

void extract_on_cpu(const Encoder& encode, const std::vector<Sample>& samples, const data::Decoder& decoder,
                    const data::Transform& transform, const PreprocessOptions& size, int64_t batch, int64_t threads,
                    torch::Tensor& features, const ProgressSink& progress) {
  const auto encode_range = [&](int64_t begin, int64_t end) {
    auto images = torch::empty({end - begin, 3, size.height, size.width});
    auto cameras = torch::empty({end - begin}, torch::kInt64);
    const int64_t stride = 3 * size.height * size.width;
    for (int64_t i = begin; i < end; ++i) {
      Random unused{static_cast<uint64_t>(i)};
      const auto& sample = samples[static_cast<std::size_t>(i)];
      transform(decoder(sample.path), unused, images.data_ptr<float>() + (i - begin) * stride);
      cameras.data_ptr<int64_t>()[i - begin] = sample.camera;
    }
    return encode(images, cameras);
  };
  encode_by_batches(encode_range, batch, threads, features, progress);
}

void extract_on_device(const Encoder& encode, const std::vector<Sample>& samples, const data::Decoder& decoder,
                       const data::Transform& transform, const PreprocessOptions& size, int64_t batch,
                       int64_t threads, torch::Tensor& features, const ProgressSink& progress) {
  const auto count = static_cast<int64_t>(samples.size());
  data::LoaderOptions loading;
  loading.threads = threads;
  loading.pin_memory = true;
  data::Loader loader(samples, std::vector<int64_t>(samples.size(), 0), decoder, transform, size.height, size.width,
                      loading);
  std::vector<std::vector<int64_t>> batches;
  for (int64_t begin = 0; begin < count; begin += batch) {
    auto& indices = batches.emplace_back(static_cast<std::size_t>(std::min(batch, count - begin)));
    std::iota(indices.begin(), indices.end(), begin);
  }
  loader.start(batches, 0, 0);
  const c10::InferenceMode inference;
  int64_t begin = 0;
  while (const auto loaded = loader.next()) {
    const int64_t n = loaded->images.size(0);
    features.slice(0, begin, begin + n).copy_(encode(loaded->images, loaded->cameras));
    begin += n;
    if (progress) progress({"features", begin, count, ""});
  }
}

/// Sets weights that float32 holds only as subnormals (below 1.2e-38) to 0: dead channels of networks trained with weight decay are
/// full of them, and some processors take a hundred times as long for a product with one.
void flush_subnormals(nn::Model& model) {
  const auto flush = [](torch::Tensor tensor) {
    if (tensor.is_floating_point()) tensor.masked_fill_(tensor.abs() < std::numeric_limits<float>::min(), 0);
  };
  for (const auto& parameter : model.parameters()) flush(parameter);
  for (const auto& buffer : model.buffers()) flush(buffer);
}

}  // namespace

void prepare_for_inference(nn::Model& model, const ExtractOptions& options, const Runtime& runtime) {
  const torch::NoGradGuard no_grad;
  model.eval();
  if (options.fold) {
    model.fold_batch_norms();
    flush_subnormals(model);
  }
  model.to(runtime.device);
  if (options.channels_last) {
    for (auto& parameter : model.parameters()) {
      if (parameter.dim() == 4) parameter.set_data(parameter.contiguous(torch::MemoryFormat::ChannelsLast));
    }
  }
}

torch::Tensor extract_features(nn::Model& model, const std::vector<std::string>& paths, const data::Decoder& decoder,
                               const ExtractOptions& options, const Runtime& runtime, const ProgressSink& progress,
                               const std::vector<int64_t>& cameras) {
  REID_ASSERT(!model.is_training() && (cameras.empty() || cameras.size() == paths.size()));
  std::vector<Sample> samples;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    samples.push_back(Sample{.path = paths[i]});
    if (!cameras.empty()) samples.back().camera = cameras[i];
    check_camera(model, samples.back());
  }
  auto features = ops::large_matrix(static_cast<int64_t>(paths.size()), model.embedding_size());
  if (paths.empty()) return features;
  const auto& size = model.preprocess();
  const auto transform = data::evaluation_transform(size);
  const Encoder encode(model, options, runtime);
  const bool cpu = runtime.device.is_cpu();
  const int64_t batch = options.batch > 0 ? options.batch : cpu ? kBatchCpu : kBatchCuda;
  (cpu ? extract_on_cpu : extract_on_device)(encode, samples, decoder, transform, size, batch, runtime.threads,
                                             features, progress);
  return features;
}

torch::Tensor extract_sentence_features(nn::Model& model, const std::vector<std::string>& sentences,
                                        const ExtractOptions& options, const Runtime& runtime, const ProgressSink& progress) {
  REID_ASSERT(!model.is_training());
  REID_CHECK(model.tokenizer() != nullptr, ConfigError, "sentences: model must have a text encoder and its vocabulary (text.tokenizer.vocab), got none");
  const auto count = static_cast<int64_t>(sentences.size());
  auto features = ops::large_matrix(count, model.embedding_size());
  if (sentences.empty()) return features;
  const auto cut = tokenized(
      model, count, [&](int64_t i) -> const std::string& { return sentences[static_cast<std::size_t>(i)]; },
      [](int64_t i) { return fmt::format("sentence {}", i); });
  const auto& device = runtime.device;
  const auto encode = [&](int64_t begin, int64_t end) {
    const Autocast autocast(device, options.precision);
    return model.encode_text(cut.tokens.slice(0, begin, end).to(device), cut.mask.slice(0, begin, end).to(device))
        .embedding.to(torch::kFloat32)
        .cpu();
  };
  if (device.is_cpu()) {
    encode_by_batches(encode, kSentencesCpu, runtime.threads, features, progress);
    return features;
  }
  const c10::InferenceMode inference;
  for (int64_t begin = 0; begin < count; begin += kSentencesCuda) {
    const int64_t end = std::min(count, begin + kSentencesCuda);
    features.slice(0, begin, end).copy_(encode(begin, end));
    if (progress) progress({"features", end, count, ""});
  }
  return features;
}

}  // namespace reid::engine
