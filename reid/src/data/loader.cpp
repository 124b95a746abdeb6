// SPDX-License-Identifier: Apache-2.0
#include "reid/data/loader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/cuda.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "reid/core/error.hpp"

namespace reid::data {
namespace {

/// Pictures handed to a worker at once: enough to keep the lock quiet, few enough to share a batch.
constexpr std::size_t kChunk = 4;

/// Buffers of one batch, and who supports its samples.
struct Filling {
  torch::Tensor images;
  torch::Tensor support_images;
  std::vector<SupportRows> support;  ///< of each sample; empty without a plan
  std::vector<uint64_t> repetition;  ///< of each sample inside the batch
};

/// One batch in work.
struct Slot {
  Filling filling;
  std::size_t taken = 0;             ///< samples given to workers
  std::size_t done = 0;              ///< samples finished
  std::exception_ptr error;
  std::size_t error_at = 0;  ///< position of the failed sample, the earliest if several fail
};

std::vector<uint64_t> repetitions(const std::vector<int64_t>& batch) {
  std::unordered_map<int64_t, uint64_t> seen;
  std::vector<uint64_t> result;
  result.reserve(batch.size());
  for (const int64_t index : batch) result.push_back(seen[index]++);
  return result;
}

}  // namespace

struct Loader::Impl {
  std::vector<Sample> samples;
  std::vector<int64_t> labels;
  Decoder decoder;
  Transform transform;
  int64_t height;
  int64_t width;
  LoaderOptions options;
  LoaderExtras extras;

  // Written by start() while no worker touches them (generation changes under the lock).
  std::vector<std::vector<int64_t>> batches;
  uint64_t seed = 0;
  uint64_t epoch = 0;

  std::mutex mutex;
  std::condition_variable work_available;
  std::condition_variable batch_done;
  std::deque<Slot> slots;       ///< slots[i] is batch `consumed + i`
  std::size_t consumed = 0;     ///< batches given out
  std::size_t in_work = 0;      ///< chunks that workers hold
  bool stop_epoch = true;
  bool quit = false;
  std::vector<torch::Tensor> pool;  ///< buffers; free where nothing else refers to them
  std::vector<std::thread> workers;

  torch::Tensor buffer(std::vector<int64_t> shape) {
    shape.insert(shape.end(), {3, height, width});
    const auto options_of_images =
        torch::TensorOptions().dtype(torch::kFloat32).pinned_memory(options.pin_memory);
    // Page-locked memory comes from LibTorch's own caching allocator, which knows of copies still under way.
    if (options.pin_memory) return torch::empty(shape, options_of_images);
    for (auto& tensor : pool) {
      if (tensor.sizes() == shape && tensor.use_count() == 1 && tensor.storage().use_count() == 1) return tensor;
    }
    // Batches of other sizes (the last of an epoch) don't pile up.
    std::erase_if(pool, [](const torch::Tensor& tensor) {
      return tensor.use_count() == 1 && tensor.storage().use_count() == 1;
    });
    return pool.emplace_back(torch::empty(shape, options_of_images));
  }

  Filling filling_for(const std::vector<int64_t>& batch) {
    Filling filling;
    const auto n = static_cast<int64_t>(batch.size());
    filling.images = buffer({n});
    filling.repetition = repetitions(batch);
    if (extras.support.members > 0) {
      filling.support_images = buffer({n, extras.support.members});
      filling.support.resize(batch.size());
    }
    return filling;
  }

  /// Opens slots up to the prefetch limit. Called with the lock held.
  void open_slots() {
    const auto limit = static_cast<std::size_t>(options.prefetch) + 1;
    while (slots.size() < limit && consumed + slots.size() < batches.size()) {
      const auto& batch = batches[consumed + slots.size()];
      slots.emplace_back().filling = filling_for(batch);
    }
  }

  void load(int64_t index, Random random, float* out) const {
    const auto& sample = samples[static_cast<std::size_t>(index)];
    try {
      transform(decoder(sample.path), random, out);
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      // Not one of ours (LibTorch's own errors carry a backtrace behind the first line).
      const std::string text = error.what();
      throw DatasetError(fmt::format("{}: picture must be decoded and transformed, got the error '{}'", sample.path,
                                     text.substr(0, text.find('\n'))));
    }
  }

  /// The picture of sample i of a batch, and those that support it.
  void load_sample(const std::vector<int64_t>& batch, Filling& filling, std::size_t i) const {
    const int64_t stride = 3 * height * width;
    const auto key = static_cast<uint64_t>(batch[i]);
    const auto repetition = filling.repetition[i];
    load(batch[i], repetition == 0 ? Random({seed, epoch, key}) : Random({seed, epoch, key, repetition}),
         filling.images.data_ptr<float>() + static_cast<int64_t>(i) * stride);
    const auto& plan = extras.support;
    if (plan.members == 0) return;
    auto& rows = filling.support[i];
    rows = plan.draw(batch[i], seed, static_cast<int64_t>(epoch));
    const auto complete = [&](const std::vector<int64_t>& list) {
      const auto n = static_cast<int64_t>(samples.size());
      return static_cast<int64_t>(list.size()) == plan.members &&
             std::all_of(list.begin(), list.end(), [n](int64_t row) { return row >= 0 && row < n; });
    };
    REID_CHECK(complete(rows.images) && (!extras.sentences.tokens.defined() || complete(rows.sentences)), InputError,
               fmt::format("loader: support of sample {} must be {} samples of the list, got another", batch[i], plan.members));
    float* out = filling.support_images.data_ptr<float>() + static_cast<int64_t>(i) * plan.members * stride;
    for (std::size_t m = 0; m < rows.images.size(); ++m) {
      load(rows.images[m], Random({seed, epoch, key, repetition, m + 1}), out + static_cast<int64_t>(m) * stride);
    }
  }

  /// Does the samples [begin, end) of one batch. Returns where and why it failed.
  std::pair<std::exception_ptr, std::size_t> load_range(const std::vector<int64_t>& batch, Filling& filling,
                                                        std::size_t begin, std::size_t end) const {
    for (std::size_t i = begin; i < end; ++i) {
      try {
        load_sample(batch, filling, i);
      } catch (...) {
        return {std::current_exception(), i};
      }
    }
    return {nullptr, 0};
  }

  void run() {
    std::unique_lock lock(mutex);
    for (;;) {
      Slot* slot = nullptr;
      std::size_t which = 0;
      if (!stop_epoch) {
        for (std::size_t i = 0; i < slots.size(); ++i) {
          if (slots[i].taken < batches[consumed + i].size() && !slots[i].error) {
            slot = &slots[i];
            which = consumed + i;
            break;
          }
          if (slots[i].error) break;  // nothing behind a failed batch will be wanted
        }
      }
      if (quit) return;
      if (slot == nullptr) {
        work_available.wait(lock);
        continue;
      }
      const auto& batch = batches[which];
      const std::size_t begin = slot->taken;
      const std::size_t end = std::min(begin + kChunk, batch.size());
      slot->taken = end;
      auto& filling = slot->filling;  // a deque keeps its elements in place
      ++in_work;
      lock.unlock();
      auto [error, at] = load_range(batch, filling, begin, end);
      lock.lock();
      --in_work;
      // The slot can't have been given out: its `done` still lacks these samples.
      if (error && (!slot->error || at < slot->error_at)) {
        slot->error = error;
        slot->error_at = at;
      }
      slot->done += end - begin;
      if (slot->done == batch.size() || slot->error || stop_epoch) batch_done.notify_all();
    }
  }

  void end_epoch() {
    std::unique_lock lock(mutex);
    stop_epoch = true;
    batch_done.wait(lock, [&] { return in_work == 0; });
    slots.clear();
  }

  /// Rows of a table with one row a sample, those of `list` in its order.
  torch::Tensor rows_of(const torch::Tensor& table, const std::vector<int64_t>& list) const {
    auto rows = table.index_select(0, torch::tensor(list, torch::kInt64));
    return options.pin_memory ? rows.pin_memory() : rows;
  }

  Batch finish(const std::vector<int64_t>& batch, Filling filling) const {
    const auto n = static_cast<int64_t>(batch.size());
    const auto column = [&](auto value) {
      torch::Tensor tensor = torch::empty({n}, torch::TensorOptions().dtype(torch::kInt64).pinned_memory(options.pin_memory));
      auto* out = tensor.data_ptr<int64_t>();
      for (int64_t i = 0; i < n; ++i) out[i] = value(static_cast<std::size_t>(batch[static_cast<std::size_t>(i)]));
      return tensor;
    };
    Batch result;
    result.images = std::move(filling.images);
    result.support_images = std::move(filling.support_images);
    if (extras.sentences.tokens.defined()) {
      result.tokens = rows_of(extras.sentences.tokens, batch);
      result.mask = rows_of(extras.sentences.mask, batch);
      if (!filling.support.empty()) {
        std::vector<int64_t> list;
        for (const auto& rows : filling.support) list.insert(list.end(), rows.sentences.begin(), rows.sentences.end());
        const std::vector<int64_t> shape{n, extras.support.members, extras.sentences.tokens.size(1)};
        result.support_tokens = rows_of(extras.sentences.tokens, list).view(shape);
        result.support_mask = rows_of(extras.sentences.mask, list).view(shape);
      }
    }
    result.identities = column([&](std::size_t i) { return labels.empty() ? samples[i].identity : labels[i]; });
    result.cameras = column([&](std::size_t i) { return samples[i].camera; });
    result.clothes = column([&](std::size_t i) { return samples[i].clothes; });
    result.index = column([](std::size_t i) { return static_cast<int64_t>(i); });
    return result;
  }
};

Loader::Loader(std::vector<Sample> samples, std::vector<int64_t> labels, Decoder decoder, Transform transform,
               int64_t height, int64_t width, const LoaderOptions& options, LoaderExtras extras)
    : impl_(std::make_unique<Impl>()) {
  read_options<LoaderOptions>(write_options(options), "loader");
  if (!labels.empty() && labels.size() != samples.size()) {
    throw InputError(fmt::format("loader: labels must be as many as samples ({}), got {}", samples.size(), labels.size()));
  }
  const auto& sentences = extras.sentences;
  if (sentences.tokens.defined()) {
    const auto n = static_cast<int64_t>(samples.size());
    REID_CHECK(sentences.mask.defined() && sentences.tokens.dim() == 2 && sentences.tokens.size(0) == n &&
                   sentences.mask.sizes() == sentences.tokens.sizes(),
               InputError, fmt::format("loader: sentences must be as many as samples ({}), got {}", n,
                                       fmt::join(sentences.tokens.sizes(), " x ")));
  }
  REID_CHECK(extras.support.members == 0 || (extras.support.members > 0 && extras.support.draw), ConfigError,
             fmt::format("loader: support must have members and a draw, got {} members", extras.support.members));
  if (height < 1 || width < 1) {
    throw ConfigError(fmt::format("loader: height and width must be positive, got {} x {}", height, width));
  }
  if (options.pin_memory && !torch::cuda::is_available()) {
    throw DeviceError("loader: pin_memory must be off where there is no CUDA device, got true");
  }
  impl_->samples = std::move(samples);
  impl_->labels = std::move(labels);
  impl_->decoder = std::move(decoder);
  impl_->transform = std::move(transform);
  impl_->height = height;
  impl_->width = width;
  impl_->options = options;
  impl_->extras = std::move(extras);
  for (int64_t i = 0; i < options.threads; ++i) {
    impl_->workers.emplace_back([impl = impl_.get()] { impl->run(); });
  }
}

Loader::~Loader() {
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->stop_epoch = true;
    impl_->quit = true;
  }
  impl_->work_available.notify_all();
  for (auto& worker : impl_->workers) worker.join();
}

void Loader::start(std::vector<std::vector<int64_t>> batches, uint64_t seed, int64_t epoch) {
  const auto n = static_cast<int64_t>(impl_->samples.size());
  for (const auto& batch : batches) {
    for (const int64_t index : batch) {
      if (index < 0 || index >= n) {
        throw InputError(fmt::format("loader: index of a sample must be in 0..{}, got {}", n - 1, index));
      }
    }
  }
  impl_->end_epoch();
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->batches = std::move(batches);
    impl_->seed = seed;
    impl_->epoch = static_cast<uint64_t>(epoch);
    impl_->consumed = 0;
    impl_->stop_epoch = false;
    if (!impl_->workers.empty()) impl_->open_slots();
  }
  impl_->work_available.notify_all();
}

std::optional<Batch> Loader::next() {
  auto& impl = *impl_;
  if (impl.workers.empty()) {
    if (impl.stop_epoch || impl.consumed == impl.batches.size()) return std::nullopt;
    const auto& batch = impl.batches[impl.consumed++];
    Filling filling = impl.filling_for(batch);
    const auto [error, at] = impl.load_range(batch, filling, 0, batch.size());
    if (error) {
      impl.stop_epoch = true;
      std::rethrow_exception(error);
    }
    return impl.finish(batch, std::move(filling));
  }
  std::unique_lock lock(impl.mutex);
  if (impl.stop_epoch || impl.slots.empty()) return std::nullopt;
  Slot& slot = impl.slots.front();
  const auto& batch = impl.batches[impl.consumed];
  // A failed batch is waited for until nobody works on it, so that the earliest of its errors is the one told.
  impl.batch_done.wait(lock, [&] { return slot.done == batch.size() || (slot.error && slot.done == slot.taken); });
  if (slot.error) {
    const auto error = slot.error;
    lock.unlock();
    impl.end_epoch();
    std::rethrow_exception(error);
  }
  Filling filling = std::move(slot.filling);
  impl.slots.pop_front();
  ++impl.consumed;
  impl.open_slots();
  lock.unlock();
  impl.work_available.notify_all();
  return impl.finish(batch, std::move(filling));
}

}  // namespace reid::data
