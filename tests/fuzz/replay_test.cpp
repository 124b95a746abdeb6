// SPDX-License-Identifier: Apache-2.0
// The fuzzing targets without a fuzzer: the seeds, what a fuzzer once found (tests/fuzz/found/<target>/), and a fixed number
// of changed seeds, the same in every run.
#include <filesystem>

#include "fuzz/seeds.hpp"
#include "fuzz/targets.hpp"
#include "reid/core/io.hpp"
#include "reid/core/random.hpp"
#include "support/catch.hpp"

namespace {

using reid::fuzz::Seed;

std::vector<Seed> found_for(const std::string& target) {
  std::vector<Seed> found;
  const auto folder = std::filesystem::path(REID_SOURCE_DIR) / "tests/fuzz/found" / target;
  if (!std::filesystem::exists(folder)) return found;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    found.push_back({entry.path().filename().string(), reid::read_file(entry.path())});
  }
  return found;
}

/// One to four changes: a bit, a byte, a number, a piece cut out, a piece doubled, the end cut off.
std::string changed(std::string bytes, reid::Random& random) {
  for (int64_t left = 1 + random.below(4); left > 0 && !bytes.empty(); --left) {
    const auto size = static_cast<int64_t>(bytes.size());
    const auto at = static_cast<std::size_t>(random.below(size));
    const auto length = static_cast<std::size_t>(1 + random.below(16));
    switch (random.below(6)) {
      case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8))); break;
      case 1: bytes[at] = static_cast<char>(random.below(256)); break;
      case 2:
        for (std::size_t i = at; i < std::min(bytes.size(), at + 8); ++i) bytes[i] = random.chance(0.5) ? '\xff' : '\0';
        break;
      case 3: bytes.erase(at, length); break;
      case 4: bytes.insert(at, bytes.substr(at, length)); break;
      default: bytes.resize(at); break;
    }
  }
  return bytes;
}

void replay(const std::string& name, void (*target)(std::string_view), int64_t changes) {
  const auto seeds = reid::fuzz::seeds_for(name);
  REQUIRE(seeds.size() >= 3);
  for (const auto& seed : seeds) {
    INFO(seed.name);
    CHECK_NOTHROW(target(seed.bytes));
  }
  for (const auto& seed : found_for(name)) {
    INFO(seed.name);
    CHECK_NOTHROW(target(seed.bytes));
  }
  for (int64_t i = 0; i < changes; ++i) {
    reid::Random random({17, static_cast<uint64_t>(i)});
    const auto& seed = seeds[static_cast<std::size_t>(random.below(static_cast<int64_t>(seeds.size())))];
    const auto bytes = changed(seed.bytes, random);
    try {
      target(bytes);
    } catch (const std::exception& error) {
      FAIL_CHECK(seed.name << ", change " << i << ": " << error.what());
    }
  }
}

}  // namespace

TEST_CASE("Weight files: whatever the bytes, weights or a CheckpointError", "[fuzz]") {
  replay("weights", reid::fuzz::weights, 5000);
}
TEST_CASE(".npy files: whatever the bytes, an array or an InputError", "[fuzz]") {
  replay("npy", reid::fuzz::npy, 3000);
}
TEST_CASE("JSON: whatever the bytes, a value or a ConfigError", "[fuzz]") {
  replay("json", reid::fuzz::json, 5000);
}
TEST_CASE("Lists and names: whatever the bytes, samples or a DatasetError", "[fuzz]") {
  replay("lists", reid::fuzz::lists, 3000);
}
TEST_CASE("Pictures: whatever the bytes, a picture or a DatasetError", "[fuzz]") {
  replay("picture", reid::fuzz::picture, 3000);
}
TEST_CASE("MATLAB files of version 5: whatever the bytes, numbers and names or a DatasetError", "[fuzz]") {
  replay("mat5", reid::fuzz::mat5, 3000);
}
TEST_CASE("cuhk-03.mat: whatever the bytes, pictures or a DatasetError", "[fuzz]") {
  replay("cuhk03", reid::fuzz::cuhk03, 500);
}
TEST_CASE("Lists of captions: whatever the bytes, samples, a DatasetError or a ConfigError", "[fuzz]") {
  replay("captions", reid::fuzz::captions, 1000);
}
TEST_CASE("WordPiece vocabularies: whatever the bytes, a tokenizer or an InputError", "[fuzz]") {
  replay("wordpiece", reid::fuzz::wordpiece, 2000);
}
TEST_CASE("CLIP's merges: whatever the bytes, a tokenizer or an InputError", "[fuzz]") {
  replay("clip_bpe", reid::fuzz::clip_bpe, 2000);
}
TEST_CASE("Sentences: whatever the bytes, ids or an InputError", "[fuzz]") {
  replay("sentence", reid::fuzz::sentence, 3000);
}
