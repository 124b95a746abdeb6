// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "reid/text/wordpiece.hpp"

namespace reid::text {

/// CLIP's text cleaning: `fix_common_damage`, HTML entities resolved twice, white space collapsed, lower case.
/// Reference: openai/CLIP clip/simple_tokenizer.py `basic_clean`, `whitespace_clean`.
/// @throws InputError if `text` isn't UTF-8.
std::string clip_clean(std::string_view text);

/// The repairs of the Python package ftfy 6 that its `fix_text` makes by default, again until nothing changes: HTML
/// entities (in lines without "<"), UTF-8 that was read as Windows-1252, C1 controls as Windows-1252, Latin ligatures,
/// half and full width, straight quotes, line breaks, terminal escapes, control characters, NFC.
/// Differs from it: of wrongly read UTF-8 only what was read as Windows-1252 or Latin-1 is repaired, where a run of
/// such characters is unmistakable (a letter followed by symbols that form one character, not two letters); ftfy also knows
/// other code pages and judges by statistics of the whole line.
std::string fix_common_damage(std::string_view text);

/// Resolves HTML 5 character references as Python's `html.unescape` does, those without a semicolon included.
std::string html_unescape(std::string_view text);

/// CLIP's byte-level byte-pair encoding.
/// Paper: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, 2.4;
/// Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", ACL 2016.
/// Reference: openai/CLIP clip/simple_tokenizer.py.
/// Cleaned text is cut into contractions ('s 't 're 've 'm 'll 'd), runs of letters, single digits and runs of other
/// signs; each is spelled in UTF-8 bytes, the last marked as the word's end, and pairs are joined in the order of the
/// merges. Ids: 256 bytes, 256 bytes at a word's end, one per merge, <|startoftext|>, <|endoftext|>.
/// Differs from it: nothing known, but for `fix_common_damage`.
/// Cost: about a million tokens of English a second and thread.
class ClipBpe final : public Tokenizer {
 public:
  /// Merges of the published vocabulary that are used (the file holds more).
  static constexpr int64_t kMerges = 48894;
  /// @param file  the published `bpe_simple_vocab_16e6.txt.gz`, or its text: a line of heading, then two parts a line.
  /// @throws InputError naming file and line: missing, not gzip or cut off, larger than 64 MiB unpacked, a line that
  ///   isn't two known parts.
  explicit ClipBpe(const std::filesystem::path& file, int64_t merges = kMerges);

  std::vector<int64_t> pieces(std::string_view text) const override;
  int64_t start() const override { return size() - 2; }
  int64_t end() const override { return size() - 1; }
  int64_t size() const override { return static_cast<int64_t>(pieces_.size()); }
  const std::string& piece(int64_t id) const override;

 private:
  void add_word(std::string_view word, std::vector<int64_t>& ids) const;
  /// Rank of a pair of pieces, or -1.
  int64_t rank(int64_t first, int64_t second) const;
  void merge_short(std::vector<int64_t>& symbols) const;
  void merge_long(std::vector<int64_t>& symbols) const;

  std::vector<std::string> pieces_;
  std::unordered_map<uint64_t, int64_t> ranks_;  ///< pair of ids -> rank
  std::vector<int64_t> merged_;                  ///< rank -> id
  std::array<int64_t, 256> bytes_{};             ///< byte -> id; at a word's end 256 more
};

}  // namespace reid::text
