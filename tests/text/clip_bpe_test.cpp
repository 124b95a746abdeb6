// SPDX-License-Identifier: Apache-2.0
#include "reid/text/clip_bpe.hpp"

#include <zlib.h>

#include <algorithm>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/core/random.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using Ids = std::vector<int64_t>;

namespace {

text::ClipBpe make(const test::TempDir& dir, const std::string& merges) {
  write_file_atomic(dir / "merges.txt", "heading\n" + merges);
  return text::ClipBpe(dir / "merges.txt");
}

std::string gzip(const std::string& text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(text.size() + 1000, '\0');
  std::string in = text;
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// Joins by the definition: the pair of least rank, every occurrence from left to right, until none is left.
std::vector<std::string> join(std::vector<std::string> word, const std::vector<std::pair<std::string, std::string>>& merges) {
  for (;;) {
    const auto present = [&](const auto& merge) {
      for (std::size_t i = 0; i + 1 < word.size(); ++i) {
        if (word[i] == merge.first && word[i + 1] == merge.second) return true;
      }
      return false;
    };
    const auto best = std::find_if(merges.begin(), merges.end(), present);
    if (best == merges.end()) return word;
    std::vector<std::string> next;
    for (std::size_t i = 0; i < word.size(); ++i) {
      if (i + 1 < word.size() && word[i] == best->first && word[i + 1] == best->second) {
        next.push_back(word[i] + word[i + 1]);
        ++i;
      } else {
        next.push_back(word[i]);
      }
    }
    word = next;
  }
}

}  // namespace

TEST_CASE("bytes first, then merges in their order", "[text]") {
  const test::TempDir dir;
  const auto tokenizer = make(dir, "c a\nca t</w>\nd o\n");
  // Ids of bytes: '!' is 0, so 'a' is 64; + 256 at a word's end; merges from 512.
  CHECK(tokenizer.size() == 512 + 3 + 2);
  CHECK(tokenizer.encode("Cat dog") == Ids{515, 513, 514, 70 + 256, 516});
  CHECK(tokenizer.piece(513) == "cat</w>");
  CHECK(tokenizer.piece(326) == "g</w>");
  CHECK(tokenizer.encode("a") == Ids{515, 64 + 256, 516});
  CHECK(tokenizer.encode("") == Ids{515, 516});
  CHECK(tokenizer.encode("cat cat cat", 4) == Ids{515, 513, 513, 516});
  CHECK(tokenizer.encode("cat<|endoftext|>cat") == Ids{515, 513, 516, 513, 516});
  CHECK(tokenizer.pieces("it's") == Ids{'i' - 33, 't' - 33 + 256, '\'' - 33, 's' - 33 + 256});
  CHECK(tokenizer.pieces("42") == Ids{'4' - 33 + 256, '2' - 33 + 256});
  CHECK_THROWS_AS(tokenizer.encode("\xc3"), InputError);
}

TEST_CASE("long words are joined as the definition says", "[text]") {
  const test::TempDir dir;
  const std::vector<std::pair<std::string, std::string>> merges{{"a", "a"}, {"b", "a"}, {"aa", "b"}, {"a", "b"},
                                                                {"aa", "aa"}, {"aab", "ba"}, {"b", "b</w>"}, {"aa", "a</w>"}};
  std::string text;
  for (const auto& [first, second] : merges) text += first + " " + second + "\n";
  const auto tokenizer = make(dir, text);
  Random random({7});
  for (const int length : {1, 2, 5, 20, 63, 64, 65, 66, 100, 333}) {
    std::string word;
    for (int i = 0; i < length; ++i) word.push_back(random.chance(0.6) ? 'a' : 'b');
    std::vector<std::string> spelled;
    for (const char c : word) spelled.emplace_back(1, c);
    spelled.back() += "</w>";
    std::vector<std::string> got;
    for (const auto id : tokenizer.pieces(word)) got.push_back(tokenizer.piece(id));
    CHECK(got == join(spelled, merges));
  }
  // No quadratic time: half a million characters in a word.
  CHECK(tokenizer.pieces(std::string(500000, 'a')).size() < 250001);
}

TEST_CASE("a packed vocabulary is read; a wrong one names file and line", "[text]") {
  const test::TempDir dir;
  const std::string good = "heading\nc a\nca t</w>\n";
  write_file_atomic(dir / "v.txt.gz", gzip(good));
  CHECK(text::ClipBpe(dir / "v.txt.gz").size() == 516);
  CHECK(text::ClipBpe(dir / "v.txt.gz", 1).size() == 515);
  write_file_atomic(dir / "v.txt.gz", gzip(good).substr(0, 20));
  CHECK_THROWS_WITH(text::ClipBpe(dir / "v.txt.gz"), Contains("v.txt.gz: file must be whole gzip data, got one that is cut off"));
  auto broken = gzip(good);
  broken[12] = static_cast<char>(broken[12] ^ 0x55);
  write_file_atomic(dir / "v.txt.gz", broken);
  CHECK_THROWS_AS(text::ClipBpe(dir / "v.txt.gz"), InputError);
  write_file_atomic(dir / "v.txt.gz", gzip(std::string(std::size_t{65} << 20, 'x')));
  CHECK_THROWS_WITH(text::ClipBpe(dir / "v.txt.gz"), Contains("at most 67108864 bytes unpacked"));
  CHECK_THROWS_WITH(make(dir, ""), Contains("must hold a line of heading and merges"));
  CHECK_THROWS_WITH(make(dir, "c a\ncat\n"), Contains("merges.txt:3: line must hold two pieces"));
  CHECK_THROWS_WITH(make(dir, "c a\nc a t\n"), Contains("merges.txt:3: line must hold two pieces"));
  CHECK_THROWS_WITH(make(dir, "ca t\n"), Contains("merges.txt:2: both pieces must be known"));
  CHECK_THROWS_WITH(make(dir, "c a\nc a\n"), Contains("merges.txt:3: joined piece must be new"));
  CHECK_THROWS_WITH(make(dir, "c \xff\n"), Contains("merges.txt:2: text must be UTF-8"));
  CHECK_THROWS_AS(text::ClipBpe(dir / "none.gz"), InputError);
}

TEST_CASE("cleaning: repairs, references, white space, case", "[text]") {
  CHECK(text::clip_clean("  A\tman &amp;amp; a DOG ") == "a man & a dog");
  CHECK(text::clip_clean("caf\xc3\x83\xc2\xa9") == "caf\xc3\xa9");
  CHECK(text::clip_clean("\xe2\x80\x9cok\xe2\x80\x9d \xef\xac\x81sh \xef\xbc\xa1") == "\"ok\" fish a");
  CHECK(text::clip_clean("\x1b[31mred\x1b[0m") == "red");
  CHECK(text::fix_common_damage("a\r\nb\rc") == "a\nb\nc");
  CHECK(text::html_unescape("&eacute;&eacutex&#x41;&#65 &nosuch; &") == "\xc3\xa9\xc3\xa9xAA &nosuch; &");
  CHECK(text::html_unescape("&notit; &#0;&#xD800;&#x81;&#1;") == "\xc2\xacit; \xef\xbf\xbd\xef\xbf\xbd\xc2\x81");
}
