// SPDX-License-Identifier: Apache-2.0
// CLIP's text cleaning: damage repaired, HTML references resolved, white space, lower case.
#include <algorithm>
#include <array>
#include <optional>

#include "html_entities.hpp"
#include "reid/text/clip_bpe.hpp"
#include "unicode.hpp"

namespace reid::text {
namespace {

using Text = std::u32string;

/// What Windows-1252 has at 0x80..0x9F; the five bytes that it leaves open stand for themselves.
constexpr std::array<char32_t, 32> kWindows1252{
    0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021, 0x2C6, 0x2030, 0x160, 0x2039, 0x152, 0x8D, 0x17D, 0x8F,
    0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x2DC, 0x2122, 0x161, 0x203A, 0x153, 0x9D, 0x17E, 0x178};

bool is_digit(char32_t c) { return c >= '0' && c <= '9'; }
bool is_latin(char32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::optional<unsigned> hex_digit(char32_t c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

/// What a numeric reference stands for; nothing for code points that no text may hold.
Text numeric_reference(char32_t number) {
  if (number == 0) return U"\uFFFD";
  if (number == 0x0D) return U"\r";
  if (number >= 0x80 && number <= 0x9F) return Text(1, kWindows1252[number - 0x80]);
  if ((number >= 0xD800 && number <= 0xDFFF) || number > 0x10FFFF) return U"\uFFFD";
  const bool control = (number < 0x20 && number != 9 && number != 10 && number != 12) || number == 0x7F;
  const bool no_character = (number >= 0xFDD0 && number <= 0xFDEF) || (number & 0xFFFE) == 0xFFFE;
  return control || no_character ? Text() : Text(1, number);
}

/// A numeric reference at `text[at]` = '#': what it stands for, and the position after it.
struct Reference {
  Text value;
  std::size_t end = 0;
};
std::optional<Reference> read_numeric(const Text& text, std::size_t at) {
  std::size_t i = at + 1;
  const bool hex = i < text.size() && (text[i] == 'x' || text[i] == 'X');
  if (hex) ++i;
  const std::size_t begin = i;
  char32_t number = 0;
  for (; i < text.size(); ++i) {
    const auto digit = hex_digit(text[i]);
    if (!digit || (!hex && *digit > 9)) break;
    number = std::min<char32_t>(number * (hex ? 16 : 10) + *digit, 0x110000);
  }
  if (i == begin) return std::nullopt;
  if (i < text.size() && text[i] == ';') ++i;
  return Reference{numeric_reference(number), i};
}

Text from_utf8(const char* bytes) { return unicode::decode(bytes, "text"); }

Text unescape(const Text& text) {
  if (text.find('&') == Text::npos) return text;
  Text out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '&') {
      out.push_back(text[i++]);
      continue;
    }
    if (i + 1 < text.size() && text[i + 1] == '#') {
      if (const auto found = read_numeric(text, i + 1)) {
        out += found->value;
        i = found->end;
      } else {
        out.push_back(text[i++]);
      }
      continue;
    }
    std::string name;
    std::size_t end = i + 1;
    bool ascii = true;
    while (end < text.size() && end - i - 1 < 32 && Text(U"\t\n\f <&#;").find(text[end]) == Text::npos) {
      ascii = ascii && text[end] < 0x80;
      unicode::append(text[end++], name);
    }
    if (end < text.size() && text[end] == ';' && end > i + 1) {
      name.push_back(';');
      ++end;
    }
    const char* value = nullptr;
    if (ascii) value = find_html_entity(name);
    if (value != nullptr) {
      out += from_utf8(value);
      i = end;
      continue;
    }
    // The longest old name that begins it.
    std::size_t length = 0;
    for (std::size_t x = end - i - 2; end > i + 1 && x > 1 && value == nullptr; --x) {
      const Text begin = text.substr(i + 1, x);
      if (std::any_of(begin.begin(), begin.end(), [](char32_t c) { return c >= 0x80; })) continue;
      value = find_html_entity(unicode::encode(begin));
      length = x;
    }
    if (value != nullptr) {
      out += from_utf8(value);
      // What follows the name within the match isn't looked at again.
      out.append(text, i + 1 + length, end - (i + 1 + length));
      i = end;
    } else {
      out.append(text, i, end - i);
      i = end;
    }
  }
  return out;
}

/// References that end in a semicolon, all-capital spellings of small letters' names among them.
void resolve_references(Text& text) {
  if (text.find('&') == Text::npos) return;
  Text out;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i + 1;
    if (text[i] == '&') {
      if (end < text.size() && text[end] == '#') ++end;
      const std::size_t begin = end;
      while (end < text.size() && end - begin < 24 && (is_digit(text[end]) || is_latin(text[end]))) ++end;
      if (end == begin || end >= text.size() || text[end] != ';') {
        out.push_back(text[i++]);
        continue;
      }
      ++end;
      const Text whole = text.substr(i, end - i);
      std::string name = unicode::encode(whole.substr(1));
      if (name[0] == '#') {
        const Text value = unescape(whole);
        out += value.find(';') == Text::npos ? value : whole;
      } else if (const char* value = find_html_entity(name)) {
        out += from_utf8(value);
      } else {
        const bool capital = std::none_of(name.begin(), name.end(), [](char c) { return c >= 'a' && c <= 'z'; });
        std::transform(name.begin(), name.end(), name.begin(),
                       [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
        const char* small = capital && unescape(whole) == whole ? find_html_entity(name) : nullptr;
        out += small != nullptr ? unicode::upper(from_utf8(small)) : whole;
      }
    } else {
      out.push_back(text[i]);
    }
    i = end;
  }
  text.swap(out);
}

/// The byte that Windows-1252 (or, for controls, Latin-1) writes a character as, if it isn't ASCII.
std::optional<unsigned char> high_byte(char32_t c) {
  if (c >= 0x80 && c <= 0xFF) return static_cast<unsigned char>(c);
  const auto it = c < 0x100 ? kWindows1252.end() : std::find(kWindows1252.begin(), kWindows1252.end(), c);
  if (it == kWindows1252.end()) return std::nullopt;
  return static_cast<unsigned char>(0x80 + (it - kWindows1252.begin()));
}

/// UTF-8 of one character at bytes[i], or 0; `size` is how long it claims to be.
char32_t decode_one(const std::string& bytes, std::size_t i, std::size_t& size) {
  const auto byte = [&](std::size_t k) { return static_cast<char32_t>(static_cast<unsigned char>(bytes[k])); };
  const char32_t lead = byte(i);
  size = lead >= 0xC2 && lead < 0xE0 ? 2 : lead >= 0xE0 && lead < 0xF0 ? 3 : lead >= 0xF0 && lead < 0xF5 ? 4 : 0;
  if (size == 0 || i + size > bytes.size()) return 0;
  char32_t c = lead & (0xFFU >> (size + 1));
  for (std::size_t k = 1; k < size; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) return 0;
    c = (c << 6) | (byte(i + k) & 0x3F);
  }
  const bool wrong = (size == 3 && c < 0x800) || (size == 4 && (c < 0x10000 || c > 0x10FFFF)) || (c >= 0xD800 && c < 0xE000);
  return wrong ? 0 : c;
}

/// UTF-8 that was read as Windows-1252, run by run.
void repair_misread(Text& text) {
  if (std::none_of(text.begin(), text.end(), [](char32_t c) { return c >= 0xC2 && c < 0xF5; })) return;
  // A line that is Windows-1252 throughout was more likely read as such.
  const bool one_page = std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x80 || high_byte(c); });
  Text out;
  for (std::size_t i = 0; i < text.size();) {
    std::string bytes;
    std::size_t end = i;
    while (end < text.size()) {
      const auto byte = high_byte(text[end]);
      if (!byte) break;
      bytes.push_back(static_cast<char>(*byte));
      ++end;
    }
    if (bytes.empty()) {
      out.push_back(text[i++]);
      continue;
    }
    Text decoded;
    bool good = true;
    for (std::size_t b = 0; b < bytes.size() && good;) {
      std::size_t size = 0;
      const char32_t c = decode_one(bytes, b, size);
      good = c != 0;
      // Two letters, or a letter before a quotation mark or a dash, are more likely what was meant, unless the
      // first is what nearly all wrongly read letters of western Europe begin with.
      const char32_t next = good ? text[i + b + 1] : 0;
      const bool low_quote = next == 0x201A || next == 0x201E;
      const bool mark = next >= 0x2013 && next <= 0x2026 && !(low_quote && one_page);
      const bool western = text[i + b] == 0xC2 || text[i + b] == 0xC3;
      if (good && size == 2 && !western && (unicode::is_letter(next) || mark)) good = false;
      decoded.push_back(c);
      b += size;
    }
    out += good ? decoded : text.substr(i, end - i);
    i = end;
  }
  text.swap(out);
}

struct Ligature {
  char32_t sign;
  const char32_t* letters;
};
constexpr std::array<Ligature, 22> kLigatures{{{0x132, U"IJ"},   {0x133, U"ij"},  {0x149, U"\u02BCn"}, {0x1F1, U"DZ"},
                                               {0x1F2, U"Dz"},   {0x1F3, U"dz"},  {0x1C4, U"D\u017D"}, {0x1C5, U"D\u017E"},
                                               {0x1C6, U"d\u017E"}, {0x1C7, U"LJ"}, {0x1C8, U"Lj"},    {0x1C9, U"lj"},
                                               {0x1CA, U"NJ"},   {0x1CB, U"Nj"},  {0x1CC, U"nj"},      {0xFB00, U"ff"},
                                               {0xFB01, U"fi"},  {0xFB02, U"fl"}, {0xFB03, U"ffi"},    {0xFB04, U"ffl"},
                                               {0xFB05, U"\u017Ft"}, {0xFB06, U"st"}}};

/// Repairs of single characters, in the reference's order, in one pass.
void repair_characters(Text& text) {
  Text out;
  out.reserve(text.size());
  for (char32_t c : text) {
    if (c < 0x7F) {
      out.push_back(c);
      continue;
    }
    if (c >= 0x80 && c <= 0x9F) c = kWindows1252[c - 0x80];
    const auto joined = std::find_if(kLigatures.begin(), kLigatures.end(), [&](const Ligature& l) { return l.sign == c; });
    Text now = joined != kLigatures.end() ? Text(joined->letters) : Text(1, c);
    if (c == 0x3000) now = U" ";
    if (c >= 0xFF01 && c < 0xFFF0) now = unicode::nfkc(c);
    for (char32_t& x : now) {
      if (x >= 0x201C && x <= 0x201F) x = '"';
      if (x == 0x2BC || (x >= 0x2018 && x <= 0x201B)) x = '\'';
      if (x == 0x2028 || x == 0x2029 || x == 0x85) x = '\n';
    }
    out += now;
  }
  text.swap(out);
}

void repair_lines(Text& text) {
  Text out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      out.push_back('\n');
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      out.push_back(text[i]);
    }
  }
  text.swap(out);
}

void remove_controls(Text& text) {
  Text out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c == 0x1B && i + 1 < text.size() && text[i + 1] == '[') {
      std::size_t end = i + 2;
      while (end < text.size() && (is_digit(text[end]) || text[end] == ';')) ++end;
      if (end < text.size() && is_latin(text[end])) {
        i = end;
        continue;
      }
    }
    const bool dropped = c < 9 || c == 0x0B || (c >= 0x0E && c < 0x20) || c == 0x7F || (c >= 0x206A && c < 0x2070) ||
                         c == 0xFEFF || (c >= 0xFFF9 && c < 0xFFFD);
    if (!dropped) out.push_back(c);
  }
  text.swap(out);
}

Text repair_line(Text text, bool references) {
  for (;;) {
    const Text before = text;
    if (references) resolve_references(text);
    repair_misread(text);
    repair_characters(text);
    repair_lines(text);
    remove_controls(text);
    if (std::any_of(text.begin(), text.end(), [](char32_t c) { return c >= 0x300; })) text = unicode::nfc(text);
    if (text == before) return text;
  }
}

Text repair(const Text& text) {
  Text out;
  bool references = true;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    Text line = text.substr(begin, end - begin);
    references = references && line.find('<') == Text::npos;
    out += repair_line(std::move(line), references);
    begin = end;
  }
  return out;
}

/// Nothing in it that a repair could change.
bool is_plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 0x7F && c != '&'; });
}

}  // namespace

std::string fix_common_damage(std::string_view text) {
  if (is_plain(text)) return std::string(text);
  return unicode::encode(repair(unicode::decode(text, "text")));
}

std::string html_unescape(std::string_view text) {
  return unicode::encode(unescape(unicode::decode(text, "text")));
}

std::string clip_clean(std::string_view text) {
  Text clean = unicode::decode(text, "text");
  if (!is_plain(text)) clean = unescape(unescape(repair(clean)));
  Text out;
  out.reserve(clean.size());
  for (const char32_t c : clean) {
    if (!unicode::is_space(c)) {
      out.push_back(c);
    } else if (!out.empty() && out.back() != ' ') {
      out.push_back(' ');
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  if (!is_plain(text)) return unicode::encode(unicode::lower(out));
  std::string result;
  result.reserve(out.size());
  for (const char32_t c : out) result.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
  return result;
}

}  // namespace reid::text
