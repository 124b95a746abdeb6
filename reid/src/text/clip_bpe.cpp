// SPDX-License-Identifier: Apache-2.0
#include "reid/text/clip_bpe.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <memory>
#include <queue>
#include <tuple>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "unicode.hpp"

namespace reid::text {
namespace {

constexpr std::size_t kMostUnpacked = std::size_t{64} << 20;
/// Above this many symbols pairs are kept in a heap.
constexpr std::size_t kShortWord = 64;
constexpr std::string_view kStart = "<|startoftext|>";
constexpr std::string_view kEnd = "<|endoftext|>";
constexpr std::string_view kWordEnd = "</w>";

std::string unpack(std::string packed, const std::string& where) {
  if (packed.size() < 2 || packed[0] != '\x1f' || packed[1] != '\x8b') return packed;
  z_stream stream{};
  REID_CHECK(inflateInit2(&stream, 15 + 32) == Z_OK, WorkError, where + ": zlib must start, got an error");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> closer(&stream, inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string out;
  std::string chunk(std::size_t{1} << 16, '\0');
  int status = Z_OK;
  while (status == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = static_cast<uInt>(chunk.size());
    status = inflate(&stream, Z_NO_FLUSH);
    out.append(chunk, 0, chunk.size() - stream.avail_out);
    REID_CHECK(out.size() <= kMostUnpacked, InputError,
               fmt::format("{}: vocabulary must be at most {} bytes unpacked, got more", where, kMostUnpacked));
  }
  REID_CHECK(status == Z_STREAM_END, InputError,
             fmt::format("{}: file must be whole gzip data, got {}", where,
                         status == Z_BUF_ERROR ? "one that is cut off" : "corrupt data"));
  return out;
}

/// The sign in which the vocabulary's text writes a byte: itself if it is visible, else one from U+0100 on.
struct ByteSigns {
  std::array<int64_t, 256> order{};         ///< byte -> position among the ids
  std::array<std::string, 256> sign;        ///< byte -> UTF-8
  ByteSigns() {
    const auto visible = [](int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
    int64_t next = 0;
    char32_t other = 256;
    for (const bool wanted : {true, false}) {
      for (int b = 0; b < 256; ++b) {
        if (visible(b) != wanted) continue;
        const auto i = static_cast<std::size_t>(b);
        order[i] = next++;
        unicode::append(wanted ? static_cast<char32_t>(b) : other++, sign[i]);
      }
    }
  }
};

uint64_t pair_key(int64_t first, int64_t second) {
  return (static_cast<uint64_t>(first) << 32) | static_cast<uint64_t>(second);
}

/// Length of the contraction at the apostrophe text[at], or 0. The long s counts as an s.
std::size_t contraction(std::u32string_view text, std::size_t at) {
  const auto next = [&](std::size_t k) { return at + k < text.size() ? text[at + k] : U'\0'; };
  const char32_t a = next(1), b = next(2);
  if (a == 's' || a == 0x17F || a == 't') return 2;
  if ((a == 'r' || a == 'v') && b == 'e') return 3;
  if (a == 'm') return 2;
  if (a == 'l' && b == 'l') return 3;
  return a == 'd' ? 2 : 0;
}

}  // namespace

ClipBpe::ClipBpe(const std::filesystem::path& file, int64_t merges) {
  const std::string where = file.string();
  const std::string text = unpack(read_file(file), where);
  const ByteSigns signs;
  detail::StringIds ids;
  pieces_.resize(512);
  for (std::size_t b = 0; b < 256; ++b) {
    bytes_[b] = signs.order[b];
    const auto at = static_cast<std::size_t>(signs.order[b]);
    pieces_[at] = signs.sign[b];
    pieces_[at + 256] = signs.sign[b] + std::string(kWordEnd);
  }
  for (std::size_t i = 0; i < pieces_.size(); ++i) ids.emplace(pieces_[i], static_cast<int64_t>(i));
  int64_t line = 0;
  std::size_t at = 0;
  for (; at < text.size() && static_cast<int64_t>(merged_.size()) < merges; ++line) {
    const std::size_t stop = std::min(text.find('\n', at), text.size());
    std::string_view row(text.data() + at, stop - at);
    at = stop + 1;
    if (!row.empty() && row.back() == '\r') row.remove_suffix(1);
    if (line == 0 || (row.empty() && at >= text.size())) continue;  // heading; the end
    const auto here = [&] { return fmt::format("{}:{}", where, line + 1); };
    const std::size_t space = row.find(' ');
    const bool two = space != std::string_view::npos && row.find(' ', space + 1) == std::string_view::npos && space > 0 &&
                     space + 1 < row.size();
    REID_CHECK(two, InputError,
               fmt::format("{}: line must hold two pieces to be joined, a space between them, got '{}'", here(), row.substr(0, 80)));
    check_utf8(row, here());
    const auto first = ids.find(row.substr(0, space)), second = ids.find(row.substr(space + 1));
    REID_CHECK(first != ids.end() && second != ids.end(), InputError,
               fmt::format("{}: both pieces must be known by then, got '{}'", here(), row.substr(0, 80)));
    const std::string joined = first->first + second->first;
    const auto id = static_cast<int64_t>(pieces_.size());
    pieces_.push_back(joined);
    const auto rank = static_cast<int64_t>(merged_.size());
    ranks_[pair_key(first->second, second->second)] = rank;
    merged_.push_back(id);
    const auto [known, fresh] = ids.emplace(joined, id);
    REID_CHECK(fresh, InputError,
               fmt::format("{}: joined piece must be new, got '{}' again (id {})", here(), joined, known->second));
  }
  REID_CHECK(!merged_.empty(), InputError,
             fmt::format("{}: vocabulary must hold a line of heading and merges, got {} lines", where, line));
  pieces_.emplace_back(kStart);
  pieces_.emplace_back(kEnd);
}

const std::string& ClipBpe::piece(int64_t id) const {
  REID_CHECK(id >= 0 && id < size(), InputError, fmt::format("clip_bpe: id must be 0 to {}, got {}", size() - 1, id));
  return pieces_[static_cast<std::size_t>(id)];
}

int64_t ClipBpe::rank(int64_t first, int64_t second) const {
  const auto it = ranks_.find(pair_key(first, second));
  return it == ranks_.end() ? -1 : it->second;
}

std::vector<int64_t> ClipBpe::pieces(std::string_view text) const {
  const std::u32string clean = unicode::decode(clip_clean(text), "text");
  std::vector<int64_t> ids;
  const auto has = [&](std::size_t at, std::string_view name) {
    return clean.size() - at >= name.size() &&
           std::equal(name.begin(), name.end(), clean.begin() + static_cast<std::ptrdiff_t>(at),
                      [](char a, char32_t b) { return static_cast<char32_t>(a) == b; });
  };
  for (std::size_t i = 0; i < clean.size();) {
    const char32_t c = clean[i];
    if (c == '<' && (has(i, kStart) || has(i, kEnd))) {
      const bool begins = has(i, kStart);
      ids.push_back(begins ? start() : end());
      i += begins ? kStart.size() : kEnd.size();
      continue;
    }
    if (unicode::is_space(c)) {
      ++i;
      continue;
    }
    std::size_t stop = i + 1;
    const std::size_t short_form = c == '\'' ? contraction(clean, i) : 0;
    if (short_form > 0) {
      stop = i + short_form;
    } else if (unicode::is_letter(c)) {
      while (stop < clean.size() && unicode::is_letter(clean[stop])) ++stop;
    } else if (!unicode::is_number(c)) {
      const auto other = [](char32_t x) { return !unicode::is_space(x) && !unicode::is_letter(x) && !unicode::is_number(x); };
      while (stop < clean.size() && other(clean[stop])) ++stop;
    }
    add_word(unicode::encode(std::u32string_view(clean).substr(i, stop - i)), ids);
    i = stop;
  }
  return ids;
}

void ClipBpe::add_word(std::string_view word, std::vector<int64_t>& ids) const {
  std::vector<int64_t> symbols;
  symbols.reserve(word.size());
  for (const char c : word) symbols.push_back(bytes_[static_cast<unsigned char>(c)]);
  symbols.back() += 256;
  if (symbols.size() <= kShortWord) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

void ClipBpe::merge_short(std::vector<int64_t>& symbols) const {
  while (symbols.size() > 1) {
    int64_t best = -1;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const int64_t r = rank(symbols[i], symbols[i + 1]);
      if (r >= 0 && (best < 0 || r < best)) best = r;
    }
    if (best < 0) return;
    std::size_t out = 0;
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      if (i + 1 < symbols.size() && rank(symbols[i], symbols[i + 1]) == best) {
        symbols[out++] = merged_[static_cast<std::size_t>(best)];
        ++i;
      } else {
        symbols[out++] = symbols[i];
      }
    }
    symbols.resize(out);
  }
}

/// The same in O(n log n): every merge's parts are known before it, so a new pair never comes before the one that
/// made it, and taking pairs by (rank, position) joins what the rounds join.
void ClipBpe::merge_long(std::vector<int64_t>& symbols) const {
  struct Node {
    std::size_t previous, next;
    bool alive = true;
  };
  const std::size_t n = symbols.size();
  std::vector<Node> nodes(n);
  for (std::size_t i = 0; i < n; ++i) nodes[i] = {i - 1, i + 1, true};
  using Item = std::tuple<int64_t, std::size_t, int64_t, int64_t>;  // rank, position, both symbols
  std::priority_queue<Item, std::vector<Item>, std::greater<>> queue;
  const auto offer = [&](std::size_t i) {
    if (i >= n || nodes[i].next >= n) return;
    const int64_t a = symbols[i], b = symbols[nodes[i].next];
    if (const int64_t r = rank(a, b); r >= 0) queue.emplace(r, i, a, b);
  };
  for (std::size_t i = 0; i + 1 < n; ++i) offer(i);
  while (!queue.empty()) {
    const auto [r, i, a, b] = queue.top();
    queue.pop();
    if (!nodes[i].alive || symbols[i] != a || nodes[i].next >= n || symbols[nodes[i].next] != b) continue;
    const std::size_t gone = nodes[i].next;
    nodes[gone].alive = false;
    nodes[i].next = nodes[gone].next;
    if (nodes[i].next < n) nodes[nodes[i].next].previous = i;
    symbols[i] = merged_[static_cast<std::size_t>(r)];
    if (i > 0) offer(nodes[i].previous);
    offer(i);
  }
  std::vector<int64_t> left;
  for (std::size_t i = 0; i < n; i = nodes[i].next) left.push_back(symbols[i]);
  symbols.swap(left);
}

}  // namespace reid::text
