// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <unordered_map>

#include "reid/text/tokenizer.hpp"

namespace reid::text {

namespace detail {
/// Lets maps of strings be asked with a view.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using StringIds = std::unordered_map<std::string, int64_t, StringHash, std::equal_to<>>;
}  // namespace detail

/// How a sentence is prepared before it is cut into pieces.
struct BertTextOptions {
  bool lowercase = true;              ///< uncased vocabularies
  std::optional<bool> strip_accents;  ///< default: as `lowercase`
};

/// BERT's basic tokenizer: the words and punctuation marks of a sentence.
///   1. U+0000, U+FFFD, control and format characters and private use vanish; white space becomes a space.
///   2. CJK ideographs stand alone.
///   3. Canonical decomposition, marks (Mn) dropped, if `strip_accents`; lower case, one character at a time, if
///      `lowercase`.
///   4. Cut at white space, and before and after every punctuation mark (Unicode P*, and ASCII's symbols).
/// @throws InputError if `text` isn't UTF-8.
std::vector<std::string> bert_words(std::string_view text, const BertTextOptions& options);

/// BERT's WordPiece.
/// Paper: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019; Wu et al., "Google's
/// Neural Machine Translation System", arXiv:1609.08144, 4.1.
/// Reference: huggingface/tokenizers 0.23 (BertNormalizer, BertPreTokenizer, WordPiece), which google-research/bert
/// agrees with but for rare characters.
/// Every word is cut greedily: the longest piece that begins it, then, marked with "##", the longest that goes on. A
/// word with a part that no piece covers, or of more than 100 characters, is one [UNK].
/// Differs from it: characters that Unicode 16 and later added aren't lower-cased; U+11938 is decomposed. Else ids are
/// equal on every code point: the reference's tables are those of Unicode 8, and they are followed.
/// Cost: about a million tokens of English a second and thread.
class WordPiece final : public Tokenizer {
 public:
  struct Options {
    BertTextOptions text;
    bool special_in_text = true;  ///< "[MASK]" in a sentence is the token, as in the reference
  };
  /// @param file  one piece a line, the line's number from 0 is its id.
  /// @throws InputError naming file and line: missing, not UTF-8, an empty or repeated piece, or without [PAD] as its
  ///   first piece, [UNK], [CLS] or [SEP].
  WordPiece(const std::filesystem::path& file, const Options& options);
  /// The same from pieces in memory. @param where  names them in messages.
  WordPiece(std::vector<std::string> pieces, const Options& options, const std::string& where);

  std::vector<int64_t> pieces(std::string_view text) const override;
  int64_t start() const override { return cls_; }
  int64_t end() const override { return sep_; }
  int64_t size() const override { return static_cast<int64_t>(pieces_.size()); }
  const std::string& piece(int64_t id) const override;

 private:
  void add_words(std::string_view text, std::vector<int64_t>& ids) const;
  void add_word(const std::string& word, std::vector<int64_t>& ids) const;

  Options options_;
  std::vector<std::string> pieces_;
  detail::StringIds first_;  ///< pieces that begin a word
  detail::StringIds next_;   ///< pieces that go on, without "##"
  std::vector<std::pair<std::string, int64_t>> special_;
  std::size_t longest_first_ = 0, longest_next_ = 0;
  int64_t unk_ = 0, cls_ = 0, sep_ = 0;
};

/// Makes a WordPiece vocabulary from sentences: [PAD], [UNK], [CLS], [SEP], [MASK], every character seen (as a
/// beginning and as a "##" one), then pieces joined pair by pair, the most frequent pair first (ties: the smaller
/// pair in byte order), until there are `size` pieces or no pair is seen at least `min_count` times.
/// The result is the same on every machine. A sentence of the training set never gives [UNK], but for words of more
/// than 100 characters.
/// Reference: the training of huggingface/tokenizers' WordPieceTrainer does the same; order among ties may differ.
/// @throws InputError if there is no text, a sentence isn't UTF-8 (names its number), or `size` is less than the
///   special pieces and characters need.
/// Cost: a second or two for 70,000 captions and 8,000 pieces.
std::vector<std::string> build_wordpiece_vocabulary(const std::vector<std::string>& sentences, int64_t size,
                                                    const BertTextOptions& options = {}, int64_t min_count = 2);

/// Writes a vocabulary one piece a line, atomically. @throws WorkError if it can't be written.
void write_vocabulary(const std::filesystem::path& file, const std::vector<std::string>& pieces);

}  // namespace reid::text
