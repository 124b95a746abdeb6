// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reid/core/options.hpp"

/// Sentences to token ids, as the text encoders of published weights expect them.
namespace reid::text {

/// Cuts a sentence into the pieces of a fixed vocabulary. Immutable, safe to use from many threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// The ids of one sentence with the start and end token around them. A sentence that needs more than `length` ids
  /// is cut so that the end token is still the last one. Nothing is padded.
  /// @param length  most ids, at least 2; 0: no limit.
  /// @throws InputError if `text` isn't UTF-8 (says at which byte) or `length` is 1 or negative.
  std::vector<int64_t> encode(std::string_view text, int64_t length = 0) const;

  /// As `encode`, padded with `pad()` to exactly `length` ids written to `ids`; `mask[i]` says whether id i is real.
  /// Returns the number of real ids.
  int64_t encode_padded(std::string_view text, int64_t length, int64_t* ids, bool* mask) const;

  /// Ids of a sentence without start and end token. @throws InputError if `text` isn't UTF-8.
  virtual std::vector<int64_t> pieces(std::string_view text) const = 0;

  virtual int64_t start() const = 0;  ///< [CLS], <|startoftext|>
  virtual int64_t end() const = 0;    ///< [SEP], <|endoftext|>
  int64_t pad() const { return 0; }   ///< what fills a row up: 0, as BERT and CLIP have it
  /// Number of ids: they are 0..size()-1.
  virtual int64_t size() const = 0;
  /// The piece of an id as the vocabulary writes it ("##ing", "dog</w>"). @throws InputError for an id outside.
  virtual const std::string& piece(int64_t id) const = 0;
};

enum class TokenizerKind { wordpiece, clip_bpe };

}  // namespace reid::text

template <>
struct reid::EnumNames<reid::text::TokenizerKind> {
  using K = reid::text::TokenizerKind;
  static constexpr std::array<std::pair<K, const char*>, 2> values{{{K::wordpiece, "wordpiece"}, {K::clip_bpe, "clip_bpe"}}};
};

namespace reid::text {

/// Which tokenizer, and its vocabulary file.
struct TokenizerOptions {
  TokenizerKind kind = TokenizerKind::wordpiece;
  std::string vocab;
  bool lowercase = true;
  std::optional<bool> strip_accents;
  bool special_in_text = true;
  template <class V>
  void fields(V&& v) {
    v("kind", kind, "wordpiece (BERT) or clip_bpe (CLIP)");
    v("vocab", vocab, "vocabulary: one piece a line (wordpiece), or CLIP's merges, .txt or .txt.gz (clip_bpe)");
    v("lowercase", lowercase, "wordpiece: uncased vocabulary");
    v("strip_accents", strip_accents, "wordpiece: drop accents (default: as lowercase)");
    v("special_in_text", special_in_text, "wordpiece: '[SEP]' written in a sentence is the special token, not text");
  }
};

/// @throws InputError if the vocabulary is missing or wrong, ConfigError for options that don't fit the kind.
std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerOptions& options);

/// Throws unless `text` is UTF-8 (no surrogates, no overlong forms, at most U+10FFFF).
/// @param where  begins the message: "captions.json: entry 3".
/// @throws InputError `<where>: text must be UTF-8, got byte 0xC3 at offset 12`.
void check_utf8(std::string_view text, const std::string& where);

}  // namespace reid::text
