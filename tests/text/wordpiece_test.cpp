// SPDX-License-Identifier: Apache-2.0
#include "reid/text/wordpiece.hpp"

#include <algorithm>
#include <array>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using Ids = std::vector<int64_t>;
using Words = std::vector<std::string>;

namespace {

const Words kPieces{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "man", "##ner", "##s", "un", "##aff", "##able", ",", "\xe4\xba\xba"};

text::WordPiece small(text::WordPiece::Options options = {}) { return text::WordPiece(kPieces, options, "small"); }

}  // namespace

TEST_CASE("the longest piece first, then the longest that goes on", "[text]") {
  const auto tokenizer = small();
  CHECK(tokenizer.encode("A man, unaffable") == Ids{2, 5, 6, 12, 9, 10, 11, 3});
  CHECK(tokenizer.encode("manners") == Ids{2, 6, 7, 8, 3});
  CHECK(tokenizer.encode("mannera") == Ids{2, 1, 3});  // a part that nothing covers: the whole word is unknown
  CHECK(tokenizer.encode("man\xe4\xba\xbaman") == Ids{2, 6, 13, 6, 3});  // an ideograph stands alone
  CHECK(tokenizer.encode("") == Ids{2, 3});
  CHECK(tokenizer.start() == 2);
  CHECK(tokenizer.end() == 3);
  CHECK(tokenizer.size() == 14);
  CHECK(tokenizer.piece(7) == "##ner");
  CHECK_THROWS_WITH(tokenizer.piece(14), Contains("id must be 0 to 13, got 14"));
}

TEST_CASE("a cut sentence ends with the end token; padding is 0 and masked", "[text]") {
  const auto tokenizer = small();
  CHECK(tokenizer.encode("a man, a man", 4) == Ids{2, 5, 6, 3});
  CHECK(tokenizer.encode("a man", 4) == Ids{2, 5, 6, 3});
  CHECK(tokenizer.encode("a man", 2) == Ids{2, 3});
  CHECK_THROWS_AS(tokenizer.encode("a man", 1), InputError);
  CHECK_THROWS_AS(tokenizer.encode("a man", -3), InputError);
  std::array<int64_t, 6> ids;
  std::array<bool, 6> mask;
  CHECK(tokenizer.encode_padded("a man", 6, ids.data(), mask.data()) == 4);
  CHECK(ids == std::array<int64_t, 6>{2, 5, 6, 3, 0, 0});
  CHECK(mask == std::array<bool, 6>{true, true, true, true, false, false});
}

TEST_CASE("special pieces in a sentence are text if so asked", "[text]") {
  CHECK(small().encode("a[SEP]man [mask]") == Ids{2, 5, 3, 6, 1, 1, 1, 3});
  text::WordPiece::Options options;
  options.special_in_text = false;
  CHECK(small(options).encode("a[SEP]man") == Ids{2, 5, 1, 1, 1, 6, 3});
}

TEST_CASE("a word of 100 characters is cut, one of 101 is unknown", "[text]") {
  const text::WordPiece tokenizer({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "x", "##x"}, {}, "x");
  CHECK(tokenizer.encode(std::string(100, 'x')).size() == 102);
  CHECK(tokenizer.encode(std::string(101, 'x')) == Ids{2, 1, 3});
}

TEST_CASE("words: cleaning, accents, case and punctuation", "[text]") {
  CHECK(text::bert_words(" H\xc3\xa9llo,\tW\xc3\xb6rld!\xe2\x80\x8b ", {}) == Words{"hello", ",", "world", "!"});
  CHECK(text::bert_words("a\xc2\x85" "b\xc2\xa0" "c", {}) == Words{"ab", "c"});  // a control character, a space
  text::BertTextOptions cased;
  cased.lowercase = false;
  CHECK(text::bert_words("H\xc3\xa9llo", cased) == Words{"H\xc3\xa9llo"});
  cased.strip_accents = true;
  CHECK(text::bert_words("H\xc3\xa9llo", cased) == Words{"Hello"});
}

TEST_CASE("text that isn't UTF-8 is an error that says where", "[text]") {
  const std::string bad = GENERATE("ab\xff", "ab\xc3", "ab\xed\xa0\x80", "ab\xc0\x80", "ab\xf4\x90\x80\x80");
  CHECK_THROWS_AS(small().encode(bad), InputError);
  CHECK_THROWS_WITH(small().encode(bad), Contains("text must be UTF-8, got byte 0x") && Contains("at offset 2"));
  CHECK_THROWS_WITH(text::check_utf8(bad, "captions.json: entry 3"), Contains("captions.json: entry 3: text must be UTF-8"));
  CHECK_NOTHROW(text::check_utf8("\xf0\x9f\x98\x80", ""));
}

TEST_CASE("a wrong vocabulary is an error that names file and line", "[text]") {
  const test::TempDir dir;
  const auto load = [&](const std::string& contents) {
    write_file_atomic(dir / "vocab.txt", contents);
    return text::WordPiece(dir / "vocab.txt", {}).size();
  };
  CHECK(load("[PAD]\n[UNK]\n[CLS]\n[SEP]\na") == 5);
  CHECK(load("[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\na\r\n") == 5);
  CHECK_THROWS_WITH(load("[PAD]\n[UNK]\n[CLS]\na\n"), Contains("vocab.txt: vocabulary must hold the special piece [SEP]"));
  CHECK_THROWS_WITH(load(""), Contains("[PAD]"));
  CHECK_THROWS_WITH(load("[UNK]\n[PAD]\n[CLS]\n[SEP]\n"), Contains("[PAD] must be the first piece"));
  CHECK_THROWS_WITH(load("[PAD]\n[UNK]\n[CLS]\n[SEP]\n\na\n"), Contains("vocab.txt:5: piece must not be empty"));
  CHECK_THROWS_WITH(load("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[UNK]\n"), Contains("vocab.txt:5: piece must be new"));
  CHECK_THROWS_WITH(load("[PAD]\n[UNK]\n[CLS]\n[SEP]\n\xff\n"), Contains("vocab.txt:5: text must be UTF-8"));
  CHECK_THROWS_AS(text::WordPiece(dir / "none.txt", {}), InputError);
  text::TokenizerOptions none;
  CHECK_THROWS_AS(text::make_tokenizer(none), ConfigError);
  none.vocab = (dir / "vocab.txt").string();
  none.kind = text::TokenizerKind::clip_bpe;
  none.lowercase = false;
  CHECK_THROWS_AS(text::make_tokenizer(none), ConfigError);
}

TEST_CASE("a vocabulary from sentences joins the most frequent pairs and covers the text", "[text]") {
  // Pairs: ##o ##w 5+2 = 7 (low, lower), l ##o 7, ... ties by byte order: "##o ##w" before "l ##o".
  const Words text{"low low low low low", "lower lower", "new"};
  const auto pieces = text::build_wordpiece_vocabulary(text, 5 + 12 + 3);
  CHECK(Words(pieces.begin(), pieces.begin() + 5) == Words{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"});
  CHECK(Words(pieces.begin() + 5, pieces.begin() + 17) ==
        Words{"e", "l", "n", "o", "r", "w", "##e", "##l", "##n", "##o", "##r", "##w"});
  CHECK(Words(pieces.begin() + 17, pieces.end()) == Words{"##ow", "low", "##er"});
  const text::WordPiece tokenizer(pieces, {}, "made");
  CHECK(tokenizer.pieces("lower") == Ids{18, 19});
  for (const auto& line : text) {
    const auto ids = tokenizer.pieces(line);
    CHECK(std::count(ids.begin(), ids.end(), 1) == 0);
  }
  CHECK(text::build_wordpiece_vocabulary(text, 1000, {}, 8).size() == 17);  // no pair is seen 8 times
  CHECK_THROWS_WITH(text::build_wordpiece_vocabulary(text, 16), Contains("size must be at least 17"));
  CHECK_THROWS_AS(text::build_wordpiece_vocabulary({"", " "}, 100), InputError);
  CHECK_THROWS_WITH(text::build_wordpiece_vocabulary({"a", "\xff"}, 100), Contains("sentence 2: text must be UTF-8"));
  const test::TempDir dir;
  text::write_vocabulary(dir / "vocab.txt", pieces);
  CHECK(text::WordPiece(dir / "vocab.txt", {}).size() == 20);
}
