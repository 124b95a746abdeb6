// SPDX-License-Identifier: Apache-2.0
#include "reid/data/loader.hpp"

#include <atomic>
#include <filesystem>
#include <thread>

#include "data/support.hpp"
#include "reid/core/error.hpp"
#include "reid/data/transforms.hpp"
#include "support/catch.hpp"

using namespace reid;
using namespace reid::data;
using Catch::Matchers::Contains;

namespace {

std::vector<Sample> samples_of(int64_t count) {
  std::vector<Sample> samples;
  for (int64_t i = 0; i < count; ++i) samples.push_back({std::to_string(i), 100 + i, i % 6, i % 3, {}});
  return samples;
}

torch::Tensor decode(const std::string& path) {
  const int64_t i = std::stoll(path);
  // Later samples are ready sooner, so that order has to be made, not found.
  std::this_thread::sleep_for(std::chrono::microseconds(i % 7 == 0 ? 500 : 10));
  return test::picture(20 + i % 5, 10 + i % 3);
}

std::vector<std::vector<int64_t>> batches_of(int64_t count, int64_t size) {
  std::vector<std::vector<int64_t>> batches;
  for (int64_t i = 0; i < count; i += size) {
    auto& batch = batches.emplace_back();
    for (int64_t j = i; j < std::min(count, i + size); ++j) batch.push_back(j * 7 % count);
  }
  return batches;
}

PreprocessOptions small() {
  PreprocessOptions options;
  options.height = 24;
  options.width = 12;
  return options;
}

Transform augmented() {
  return training_transform(small(), Json::parse(R"(["rga_crop", "flip", "pad_crop",
      {"name": "random_erasing", "fill": "pixel", "probability": 1}])"));
}

std::vector<Batch> run(int64_t threads, int64_t prefetch, std::vector<std::vector<int64_t>> batches, int64_t epoch = 3) {
  Loader loader(samples_of(50), {}, decode, augmented(), 24, 12, {threads, prefetch, false});
  loader.start(std::move(batches), 9, epoch);
  std::vector<Batch> result;
  while (auto batch = loader.next()) result.push_back(*batch);
  REQUIRE_FALSE(loader.next());
  return result;
}

std::size_t threads_of_process() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) ++count;
  return count;
}

}  // namespace

TEST_CASE("batches are the same for any number of threads", "[data]") {
  const auto expected = run(0, 1, batches_of(50, 8));
  REQUIRE(expected.size() == 7);
  REQUIRE(expected.back().size() == 2);
  for (const int64_t threads : {1, 2, 5}) {
    for (const int64_t prefetch : {1, 3, 20}) {
      const auto got = run(threads, prefetch, batches_of(50, 8));
      REQUIRE(got.size() == expected.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        REQUIRE(torch::equal(got[i].images, expected[i].images));
        REQUIRE(torch::equal(got[i].index, expected[i].index));
      }
    }
  }
  // Another epoch draws other numbers; an epoch begun at a later batch goes on as it would have.
  REQUIRE_FALSE(torch::equal(run(2, 2, batches_of(50, 8), 4)[0].images, expected[0].images));
  auto tail = batches_of(50, 8);
  tail.erase(tail.begin(), tail.begin() + 3);
  REQUIRE(torch::equal(run(2, 2, tail)[0].images, expected[3].images));
}

TEST_CASE("a batch says whose pictures it holds", "[data]") {
  std::vector<int64_t> labels(50);
  for (std::size_t i = 0; i < 50; ++i) labels[i] = static_cast<int64_t>(i) / 4;
  Loader loader(samples_of(50), labels, decode, evaluation_transform(small()), 24, 12, {2, 2, false});
  loader.start({{9, 3, 9}}, 0, 0);
  const auto batch = *loader.next();
  REQUIRE(batch.images.sizes() == torch::IntArrayRef({3, 3, 24, 12}));
  REQUIRE(torch::equal(batch.index, torch::tensor({9, 3, 9}, torch::kInt64)));
  REQUIRE(torch::equal(batch.identities, torch::tensor({2, 0, 2}, torch::kInt64)));
  REQUIRE(torch::equal(batch.cameras, torch::tensor({3, 3, 3}, torch::kInt64)));
  REQUIRE(torch::equal(batch.clothes, torch::tensor({0, 0, 0}, torch::kInt64)));
  Loader unlabelled(samples_of(50), {}, decode, evaluation_transform(small()), 24, 12, {0, 2, false});
  unlabelled.start({{9}}, 0, 0);
  REQUIRE(unlabelled.next()->identities.item<int64_t>() == 109);
}

TEST_CASE("a sample that a batch repeats is augmented anew", "[data]") {
  const auto batches = run(2, 2, {{4, 5, 4, 4}});
  const auto& images = batches[0].images;
  REQUIRE_FALSE(torch::equal(images[0], images[2]));
  REQUIRE_FALSE(torch::equal(images[2], images[3]));
  REQUIRE(torch::equal(images[0], run(2, 2, {{4}})[0].images[0]));
}

TEST_CASE("batches that are kept aren't written over", "[data]") {
  const auto expected = run(0, 1, batches_of(48, 8));
  Loader loader(samples_of(50), {}, decode, augmented(), 24, 12, {2, 1, false});
  loader.start(batches_of(48, 8), 9, 3);
  torch::Tensor view;  // of the first batch, whose own handle is let go
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto batch = *loader.next();
    if (i == 0) view = batch.images[1];
    REQUIRE(torch::equal(batch.images, expected[i].images));
  }
  REQUIRE(torch::equal(view, expected[0].images[1]));
}

TEST_CASE("the first error comes when its batch is due and ends the epoch", "[data]") {
  const auto failing = [](const std::string& path) {
    if (path == "21" || path == "22") throw DatasetError(path + ".jpg: picture must be whole, got a part");
    if (path == "30") throw std::runtime_error("out of order\nbacktrace");
    return decode(path);
  };
  for (const int64_t threads : {0, 1, 4}) {
    Loader loader(samples_of(50), {}, failing, augmented(), 24, 12, {threads, 3, false});
    loader.start({{0, 1, 2}, {3, 4, 5}, {20, 21, 22, 23}, {6, 7}}, 1, 0);
    REQUIRE(loader.next());
    REQUIRE(loader.next());
    REQUIRE_THROWS_WITH(loader.next(), Contains("21.jpg"));
    REQUIRE_FALSE(loader.next());
    loader.start({{1}, {30}}, 1, 0);
    REQUIRE(loader.next());
    REQUIRE_THROWS_WITH(loader.next(), Contains("30: picture") && Contains("out of order") && !Contains("backtrace"));
  }
}

TEST_CASE("an epoch may be left in the middle", "[data]") {
  std::atomic<int64_t> decoded = 0;
  const auto counting = [&](const std::string& path) {
    ++decoded;
    return decode(path);
  };
  for (int round = 0; round < 20; ++round) {
    Loader loader(samples_of(50), {}, counting, augmented(), 24, 12, {3, 2, false});
    loader.start(batches_of(50, 4), 1, 0);
    if (round % 2 == 0) REQUIRE(loader.next());
    loader.start(batches_of(50, 4), 1, 1);
    const auto batch = loader.next();
    REQUIRE(batch->index[0].item<int64_t>() == 0);
  }
  // No more than the prefetched batches were worked on.
  REQUIRE(decoded < 20 * 2 * 5 * 4 + 20 * 4 * 4);
}

TEST_CASE("loading starts no threads besides the workers", "[data]") {
  const std::size_t before = threads_of_process();
  Loader loader(samples_of(50), {}, decode, augmented(), 24, 12, {2, 4, false});
  loader.start(batches_of(50, 8), 1, 0);
  while (loader.next()) REQUIRE(threads_of_process() == before + 2);
}

TEST_CASE("the loader refuses senseless input", "[data]") {
  const auto make = [](std::vector<int64_t> labels, LoaderOptions options) {
    return Loader(samples_of(5), std::move(labels), decode, augmented(), 24, 12, options);
  };
  REQUIRE_THROWS_AS(make({1, 2}, {}), InputError);
  REQUIRE_THROWS_AS(make({}, {-1, 2, false}), ConfigError);
  REQUIRE_THROWS_AS(make({}, {1, 0, false}), ConfigError);
  auto loader = make({}, {});
  REQUIRE_THROWS_WITH(loader.start({{0, 5}}, 0, 0), Contains("0..4, got 5"));
  REQUIRE_FALSE(loader.next());
}
