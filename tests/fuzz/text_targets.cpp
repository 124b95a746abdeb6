// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <vector>

#include "fuzz/targets.hpp"
#include "reid/core/error.hpp"
#include "reid/text/clip_bpe.hpp"

namespace reid::fuzz {
namespace {

/// What every tokenizer promises of every text.
void check_ids(const text::Tokenizer& tokenizer, std::string_view sentence) {
  constexpr int64_t kLength = 16;
  const auto ids = tokenizer.encode(sentence);
  require(ids.size() >= 2 && ids.front() == tokenizer.start() && ids.back() == tokenizer.end(), "ids must have a start and an end");
  for (const int64_t id : ids) {
    require(id >= 0 && id < tokenizer.size(), "ids must be the vocabulary's");
    require(!tokenizer.piece(id).empty(), "ids must have a piece");
  }
  std::array<int64_t, kLength> padded{};
  std::array<bool, kLength> mask{};
  const auto real = static_cast<std::size_t>(tokenizer.encode_padded(sentence, kLength, padded.data(), mask.data()));
  require(real == std::min<std::size_t>(ids.size(), kLength), "ids must be cut at the length, not before");
  require(std::equal(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(real) - 1, padded.begin()), "cut ids must be the first ones");
  require(padded[real - 1] == tokenizer.end() && mask[real - 1], "cut ids must end with the end token");
  for (std::size_t i = real; i < kLength; ++i) require(padded[i] == tokenizer.pad() && !mask[i], "the rest must be padding");
}

constexpr const char* kSentences[] = {"", "A man, in a BLUE shirt &amp; caf\xc3\xa9 carries 2 bags. [MASK] <|endoftext|>"};

template <class Make>
void vocabulary(std::string_view bytes, Make make) {
  const std::string path = scratch_file("vocabulary.txt", bytes);
  try {
    const auto tokenizer = make(path);
    for (const char* sentence : kSentences) check_ids(tokenizer, sentence);
  } catch (const InputError& error) {
    require_sentence(error.what(), path);
  }
}

const std::vector<std::string>& small_pieces() {
  static const std::vector<std::string> pieces = [] {
    std::vector<std::string> result{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    for (char c = 'a'; c <= 'z'; ++c) {
      result.emplace_back(1, c);
      result.push_back(std::string("##") + c);
    }
    for (const char* piece : {",", ".", "the", "##ing", "\xc3\xa9", "##\xc3\xa9", "\xe4\xb8\xad"}) result.emplace_back(piece);
    return result;
  }();
  return pieces;
}

}  // namespace

void wordpiece(std::string_view bytes) {
  vocabulary(bytes, [](const std::string& path) { return text::WordPiece(path, {}); });
}

void clip_bpe(std::string_view bytes) {
  vocabulary(bytes, [](const std::string& path) { return text::ClipBpe(path); });
}

void sentence(std::string_view bytes) {
  static const text::WordPiece uncased(small_pieces(), {}, "small");
  static const text::WordPiece cased(small_pieces(), {{false, false}, false}, "small");
  static const text::ClipBpe clip(scratch_file("merges.txt", "#version: 0.2\nt h\nth e</w>\na n\nan d</w>\n"));
  for (const text::Tokenizer* tokenizer : {static_cast<const text::Tokenizer*>(&uncased), static_cast<const text::Tokenizer*>(&cased),
                                           static_cast<const text::Tokenizer*>(&clip)}) {
    try {
      check_ids(*tokenizer, bytes);
    } catch (const InputError& error) {
      require_sentence(error.what(), "text");
    }
  }
  try {
    const std::string clean = text::clip_clean(bytes);
    text::check_utf8(clean, "clean text");
    require(clean.find("  ") == std::string::npos, "white space must be collapsed");
  } catch (const InputError& error) {
    require_sentence(error.what(), "text");
  }
}

}  // namespace reid::fuzz
