// SPDX-License-Identifier: Apache-2.0
#include "reid/text/tokenizer.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "reid/core/error.hpp"
#include "reid/text/clip_bpe.hpp"
#include "reid/text/wordpiece.hpp"
#include "unicode.hpp"

namespace reid::text {

std::vector<int64_t> Tokenizer::encode(std::string_view text, int64_t length) const {
  REID_CHECK(length == 0 || length >= 2, InputError,
             fmt::format("tokenizer: length must be at least 2 (start and end token) or 0 for no limit, got {}", length));
  std::vector<int64_t> ids = pieces(text);
  if (length > 0 && static_cast<int64_t>(ids.size()) > length - 2) ids.resize(static_cast<std::size_t>(length - 2));
  ids.insert(ids.begin(), start());
  ids.push_back(end());
  return ids;
}

int64_t Tokenizer::encode_padded(std::string_view text, int64_t length, int64_t* ids, bool* mask) const {
  REID_CHECK(length >= 2, InputError,
             fmt::format("tokenizer: length must be at least 2 (start and end token), got {}", length));
  const auto encoded = encode(text, length);
  const auto real = static_cast<int64_t>(encoded.size());
  std::copy(encoded.begin(), encoded.end(), ids);
  std::fill(ids + real, ids + length, pad());
  std::fill(mask, mask + real, true);
  std::fill(mask + real, mask + length, false);
  return real;
}

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerOptions& options) {
  REID_CHECK(!options.vocab.empty(), ConfigError, "tokenizer: vocab must name a vocabulary file, got \"\"");
  if (options.kind == TokenizerKind::clip_bpe) {
    REID_CHECK(options.lowercase && options.strip_accents.value_or(false) == false, ConfigError,
               "tokenizer: lowercase and strip_accents must be left out for clip_bpe, whose cleaning is fixed, got them");
    return std::make_unique<ClipBpe>(options.vocab);
  }
  WordPiece::Options made;
  made.text.lowercase = options.lowercase;
  made.text.strip_accents = options.strip_accents;
  made.special_in_text = options.special_in_text;
  return std::make_unique<WordPiece>(options.vocab, made);
}

void check_utf8(std::string_view text, const std::string& where) {
  if (!unicode::is_ascii(text)) static_cast<void>(unicode::decode(text, where));
}

}  // namespace reid::text
