// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/text/wordpiece.hpp"
#include "unicode.hpp"

namespace reid::text {
namespace {

constexpr std::array<const char*, 5> kSpecial{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

/// A word as it stands: its pieces, and how often it was seen.
struct Word {
  std::vector<int64_t> pieces;
  int64_t count = 0;
};

using Pair = std::pair<int64_t, int64_t>;

class Trainer {
 public:
  Trainer(const std::map<std::string, int64_t>& words, int64_t size) : size_(size) {
    for (const char* special : kSpecial) pieces_.emplace_back(special);
    std::set<std::string> characters;
    for (const auto& [word, count] : words) {
      for (const char32_t c : unicode::decode(word, "text")) {
        std::string one;
        unicode::append(c, one);
        characters.insert(one);
      }
    }
    for (const auto& one : characters) id_of(one);
    for (const auto& one : characters) id_of("##" + one);
    REID_CHECK(static_cast<int64_t>(pieces_.size()) <= size, InputError,
               fmt::format("vocabulary: size must be at least {}, the special pieces and characters of the text, got {}",
                           pieces_.size(), size));
    for (const auto& [text, count] : words) {
      Word word;
      word.count = count;
      std::string prefix;
      for (const char32_t c : unicode::decode(text, "text")) {
        std::string one = prefix;
        unicode::append(c, one);
        word.pieces.push_back(id_of(one));
        prefix = "##";
      }
      words_.push_back(std::move(word));
    }
    for (std::size_t i = 0; i < words_.size(); ++i) count_pairs(i, 1);
  }

  std::vector<std::string> train(int64_t min_count) {
    while (static_cast<int64_t>(pieces_.size()) < size_ && !by_count_.empty()) {
      const auto best = *by_count_.begin();
      if (-best.first < min_count) break;
      join(best.second.pair);
    }
    return pieces_;
  }

 private:
  /// A pair with its text, so that ties don't depend on the order in which pieces were made.
  struct Named {
    std::string first, second;
    Pair pair;
    bool operator<(const Named& other) const {
      return std::tie(first, second) < std::tie(other.first, other.second);
    }
  };
  struct Seen {
    int64_t count = 0;
    std::set<std::size_t> words;
  };

  int64_t id_of(const std::string& piece) {
    const auto [it, fresh] = ids_.emplace(piece, static_cast<int64_t>(pieces_.size()));
    if (fresh) pieces_.push_back(piece);
    return it->second;
  }
  const std::string& piece(int64_t id) const { return pieces_[static_cast<std::size_t>(id)]; }

  /// Adds (sign 1) or takes away (-1) the pairs of one word.
  void count_pairs(std::size_t index, int64_t sign) {
    const Word& word = words_[index];
    for (std::size_t i = 0; i + 1 < word.pieces.size(); ++i) {
      const Pair pair{word.pieces[i], word.pieces[i + 1]};
      Seen& seen = pairs_[pair];
      if (seen.count > 0) by_count_.erase({-seen.count, name(pair)});
      seen.count += sign * word.count;
      if (sign > 0) {
        seen.words.insert(index);
      } else {
        seen.words.erase(index);
      }
      if (seen.count > 0) {
        by_count_.insert({-seen.count, name(pair)});
      } else {
        pairs_.erase(pair);
      }
    }
  }
  Named name(const Pair& pair) const { return {piece(pair.first), piece(pair.second), pair}; }

  void join(const Pair& pair) {
    const std::string& second = piece(pair.second);
    const int64_t joined = id_of(piece(pair.first) + second.substr(2));
    const std::set<std::size_t> touched = pairs_.at(pair).words;
    for (const std::size_t index : touched) {
      count_pairs(index, -1);
      auto& pieces = words_[index].pieces;
      std::vector<int64_t> now;
      for (std::size_t i = 0; i < pieces.size(); ++i) {
        if (i + 1 < pieces.size() && pieces[i] == pair.first && pieces[i + 1] == pair.second) {
          now.push_back(joined);
          ++i;
        } else {
          now.push_back(pieces[i]);
        }
      }
      pieces.swap(now);
      count_pairs(index, 1);
    }
  }

  int64_t size_;
  std::vector<std::string> pieces_;
  std::map<std::string, int64_t> ids_;
  std::vector<Word> words_;
  std::map<Pair, Seen> pairs_;
  std::set<std::pair<int64_t, Named>> by_count_;
};

}  // namespace

std::vector<std::string> build_wordpiece_vocabulary(const std::vector<std::string>& sentences, int64_t size,
                                                    const BertTextOptions& options, int64_t min_count) {
  std::map<std::string, int64_t> words;
  for (std::size_t i = 0; i < sentences.size(); ++i) {
    check_utf8(sentences[i], fmt::format("sentence {}", i + 1));
    for (auto& word : bert_words(sentences[i], options)) ++words[std::move(word)];
  }
  REID_CHECK(!words.empty(), InputError,
             fmt::format("vocabulary: text must hold words, got none in {} sentences", sentences.size()));
  return Trainer(words, size).train(std::max<int64_t>(1, min_count));
}

void write_vocabulary(const std::filesystem::path& file, const std::vector<std::string>& pieces) {
  std::string text;
  for (const auto& piece : pieces) text += piece + "\n";
  write_file_atomic(file, text);
}

}  // namespace reid::text
