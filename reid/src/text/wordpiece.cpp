// SPDX-License-Identifier: Apache-2.0
#include "reid/text/wordpiece.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "unicode.hpp"

namespace reid::text {
namespace {

constexpr int64_t kLongestWord = 100;  ///< characters; longer words are unknown
constexpr std::string_view kContinues = "##";

std::vector<std::string> read_pieces(const std::filesystem::path& file) {
  const std::string contents = read_file(file);
  std::vector<std::string> pieces;
  std::size_t at = 0;
  while (at < contents.size()) {
    const std::size_t stop = std::min(contents.find('\n', at), contents.size());
    std::string piece = contents.substr(at, stop - at);
    if (!piece.empty() && piece.back() == '\r') piece.pop_back();
    pieces.push_back(std::move(piece));
    at = stop + 1;
  }
  return pieces;
}

}  // namespace

WordPiece::WordPiece(const std::filesystem::path& file, const Options& options)
    : WordPiece(read_pieces(file), options, file.string()) {}

WordPiece::WordPiece(std::vector<std::string> pieces, const Options& options, const std::string& where)
    : options_(options), pieces_(std::move(pieces)) {
  detail::StringIds ids;
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    const std::string& piece = pieces_[i];
    const std::string line = fmt::format("{}:{}", where, i + 1);
    REID_CHECK(!piece.empty(), InputError, fmt::format("{}: piece must not be empty, got an empty line", line));
    check_utf8(piece, line);
    const auto id = static_cast<int64_t>(i);
    const auto [first, fresh] = ids.emplace(piece, id);
    REID_CHECK(fresh, InputError,
               fmt::format("{}: piece must be new, got '{}' of line {} again", line, piece, first->second + 1));
    if (piece.size() > kContinues.size() && piece.compare(0, kContinues.size(), kContinues) == 0) {
      next_.emplace(piece.substr(kContinues.size()), id);
      longest_next_ = std::max(longest_next_, piece.size() - kContinues.size());
    }
    // A piece "##x" also covers a word that is written so.
    first_.emplace(piece, id);
    longest_first_ = std::max(longest_first_, piece.size());
  }
  const auto need = [&](const char* name) {
    const auto it = ids.find(std::string_view(name));
    REID_CHECK(it != ids.end(), InputError,
               fmt::format("{}: vocabulary must hold the special piece {}, got {} pieces without it", where, name,
                           pieces_.size()));
    return it->second;
  };
  REID_CHECK(need("[PAD]") == 0, InputError,
             fmt::format("{}: [PAD] must be the first piece, got it in line {}", where, need("[PAD]") + 1));
  unk_ = need("[UNK]");
  cls_ = need("[CLS]");
  sep_ = need("[SEP]");
  for (const char* name : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    if (const auto it = ids.find(std::string_view(name)); it != ids.end()) special_.emplace_back(name, it->second);
  }
}

const std::string& WordPiece::piece(int64_t id) const {
  REID_CHECK(id >= 0 && id < size(), InputError, fmt::format("wordpiece: id must be 0 to {}, got {}", size() - 1, id));
  return pieces_[static_cast<std::size_t>(id)];
}

std::vector<int64_t> WordPiece::pieces(std::string_view text) const {
  check_utf8(text, "text");  // offsets are those of the whole sentence
  std::vector<int64_t> ids;
  if (!options_.special_in_text) {
    add_words(text, ids);
    return ids;
  }
  std::size_t begin = 0;
  for (std::size_t at = text.find('['); at != std::string_view::npos; at = text.find('[', at)) {
    const auto found = std::find_if(special_.begin(), special_.end(), [&](const auto& special) {
      return text.compare(at, special.first.size(), special.first) == 0;
    });
    if (found == special_.end()) {
      ++at;
      continue;
    }
    add_words(text.substr(begin, at - begin), ids);
    ids.push_back(found->second);
    at += found->first.size();
    begin = at;
  }
  add_words(text.substr(begin), ids);
  return ids;
}

void WordPiece::add_words(std::string_view text, std::vector<int64_t>& ids) const {
  for (const auto& word : bert_words(text, options_.text)) add_word(word, ids);
}

void WordPiece::add_word(const std::string& word, std::vector<int64_t>& ids) const {
  const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
  const auto characters = std::count_if(word.begin(), word.end(), [&](char c) { return !continues(c); });
  if (characters > kLongestWord) {
    ids.push_back(unk_);
    return;
  }
  const std::size_t before = ids.size();
  const std::string_view all = word;
  for (std::size_t begin = 0; begin < all.size();) {
    const auto& known = begin == 0 ? first_ : next_;
    std::size_t end = std::min(all.size(), begin + (begin == 0 ? longest_first_ : longest_next_));
    for (; end > begin; --end) {
      if (end < all.size() && continues(all[end])) continue;
      const auto it = known.find(all.substr(begin, end - begin));
      if (it == known.end()) continue;
      ids.push_back(it->second);
      break;
    }
    if (end == begin) {
      ids.resize(before);
      ids.push_back(unk_);
      return;
    }
    begin = end;
  }
}

}  // namespace reid::text
