// SPDX-License-Identifier: Apache-2.0
// Ids by the reference tokenizers: tests/reference/tokenizer_ids.py.
#include <filesystem>

#include "reid/core/json.hpp"
#include "reid/text/clip_bpe.hpp"
#include "reid/text/wordpiece.hpp"
#include "support/catch.hpp"

using namespace reid;
namespace fs = std::filesystem;

namespace {

const fs::path kFolder = fs::path(REID_FIXTURES) / "text";

const Json& fixture() {
  static const Json json = read_json_file(kFolder / "tokenizers.json");
  return json;
}

/// Every line of the fixture gives the ids listed under `name`.
void check_equal(const text::Tokenizer& tokenizer, const char* name) {
  const auto& lines = fixture().at("lines");
  const auto& expected = fixture().at(name);
  REQUIRE(lines.size() >= 500);
  REQUIRE(expected.size() == lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto line = lines[i].get<std::string>();
    INFO("line " << i << ": " << line);
    CHECK(tokenizer.encode(line) == expected[i].get<std::vector<int64_t>>());
  }
}

}  // namespace

TEST_CASE("WordPiece, uncased: ids equal the reference's", "[text][parity]") {
  check_equal(text::WordPiece(kFolder / "wordpiece_uncased.txt", {}), "wordpiece_uncased");
}

TEST_CASE("WordPiece, cased: ids equal the reference's", "[text][parity]") {
  text::WordPiece::Options options;
  options.text.lowercase = false;
  check_equal(text::WordPiece(kFolder / "wordpiece_cased.txt", options), "wordpiece_cased");
}

TEST_CASE("CLIP's byte pairs: ids equal the reference's", "[text][parity]") {
  check_equal(text::ClipBpe(kFolder / "clip_merges.txt"), "clip_small");
}

// Published vocabularies: scripts/get_weights.sh minilm_l6 clip_bpe bring them.
TEST_CASE("WordPiece with the published vocabulary: ids equal the reference's", "[.nightly][text][parity]") {
  check_equal(text::WordPiece(fs::path(REID_SOURCE_DIR) / "weights/minilm_l6/vocab.txt", {}), "wordpiece_published");
}

TEST_CASE("CLIP's published byte pairs: ids equal the reference's", "[.nightly][text][parity]") {
  check_equal(text::ClipBpe(fs::path(REID_SOURCE_DIR) / "weights/bpe_simple_vocab_16e6.txt.gz"), "clip_published");
}
