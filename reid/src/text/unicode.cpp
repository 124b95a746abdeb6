// SPDX-License-Identifier: Apache-2.0
#include "unicode.hpp"

#include <fmt/format.h>
#include <unicode/locid.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>

#include "reid/core/error.hpp"

namespace reid::text::unicode {
namespace {

/// The last version whose characters the reference's tables of punctuation and marks know.
constexpr uint8_t kBertUnicode = 8;

icu::UnicodeString to_icu(std::u32string_view text) {
  return icu::UnicodeString::fromUTF32(reinterpret_cast<const UChar32*>(text.data()), static_cast<int32_t>(text.size()));
}

std::u32string from_icu(const icu::UnicodeString& text) {
  std::u32string result;
  result.reserve(static_cast<std::size_t>(text.length()));
  for (int32_t i = 0; i < text.length(); i = text.moveIndex32(i, 1)) {
    result.push_back(static_cast<char32_t>(text.char32At(i)));
  }
  return result;
}

std::u32string normalized(const icu::Normalizer2* form, std::u32string_view text, UErrorCode error) {
  if (U_SUCCESS(error)) {
    const icu::UnicodeString result = form->normalize(to_icu(text), error);
    if (U_SUCCESS(error)) return from_icu(result);
  }
  throw WorkError(fmt::format("text: ICU must normalise the text, got {}", u_errorName(error)));
}

bool is_newer(char32_t c) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return age[0] > kBertUnicode || (age[0] == kBertUnicode && age[1] > 0);
}

bool within(char32_t c, char32_t first, char32_t last) { return first <= c && c <= last; }

}  // namespace

std::u32string decode(std::string_view text, const std::string& where) {
  REID_CHECK(text.size() <= std::size_t{1} << 28, InputError,
             fmt::format("{}: text must be at most 268435456 bytes, got {}", where, text.size()));
  std::u32string result;
  result.reserve(text.size());
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  const auto length = static_cast<int32_t>(text.size());
  for (int32_t i = 0; i < length;) {
    const int32_t at = i;
    UChar32 c = 0;
    U8_NEXT(bytes, i, length, c);
    if (c < 0) {
      throw InputError(fmt::format("{}: text must be UTF-8, got byte 0x{:02X} at offset {}", where,
                                   static_cast<unsigned>(bytes[at]), at));
    }
    result.push_back(static_cast<char32_t>(c));
  }
  return result;
}

void append(char32_t c, std::string& out) {
  const auto byte = [&](char32_t value) { out.push_back(static_cast<char>(static_cast<unsigned char>(value))); };
  if (c < 0x80) {
    byte(c);
  } else if (c < 0x800) {
    byte(0xC0 | (c >> 6));
    byte(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    byte(0xE0 | (c >> 12));
    byte(0x80 | ((c >> 6) & 0x3F));
    byte(0x80 | (c & 0x3F));
  } else {
    byte(0xF0 | (c >> 18));
    byte(0x80 | ((c >> 12) & 0x3F));
    byte(0x80 | ((c >> 6) & 0x3F));
    byte(0x80 | (c & 0x3F));
  }
}

std::string encode(std::u32string_view text) {
  std::string result;
  result.reserve(text.size());
  for (const char32_t c : text) append(c, result);
  return result;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0;
}

bool is_letter(char32_t c) {
  if (c < 0x80) return within(c, 'a', 'z') || within(c, 'A', 'Z');
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_L_MASK) != 0;
}

bool is_number(char32_t c) {
  if (c < 0x80) return within(c, '0', '9');
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_N_MASK) != 0;
}

BertClass bert_class(char32_t c) {
  if (c < 0x80) {
    if (within(c, 'a', 'z') || within(c, 'A', 'Z') || within(c, '0', '9')) return BertClass::letter;
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') return BertClass::space;
    return c > ' ' && c < 0x7F ? BertClass::punctuation : BertClass::removed;
  }
  if (c == 0xFFFD) return BertClass::removed;
  // The reference leaves a hole from 2B820 to 2B91F, of Unicode's Extension E.
  if (within(c, 0x4E00, 0x9FFF) || within(c, 0x3400, 0x4DBF) || within(c, 0x20000, 0x2A6DF) ||
      within(c, 0x2A700, 0x2B73F) || within(c, 0x2B740, 0x2B81F) || within(c, 0x2B920, 0x2CEAF) ||
      within(c, 0xF900, 0xFAFF) || within(c, 0x2F800, 0x2FA1F)) {
    return BertClass::ideograph;
  }
  const auto mask = U_GET_GC_MASK(static_cast<UChar32>(c));
  if ((mask & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK)) != 0) {
    return is_newer(c) ? BertClass::letter : BertClass::removed;
  }
  if (u_isUWhiteSpace(static_cast<UChar32>(c)) != 0) return BertClass::space;
  // Two that were punctuation in Unicode 8 and aren't now.
  if (c == 0x166D || c == 0x111C9) return BertClass::punctuation;
  if ((mask & U_GC_P_MASK) != 0 && !is_newer(c)) return BertClass::punctuation;
  return BertClass::letter;
}

bool is_dropped_mark(char32_t c) {
  if (c < 0x300) return false;
  if (c == 0x1734) return true;  // a mark of another kind since Unicode 14
  if (c == 0x1885 || c == 0x1886 || c == 0xA9BD || c == 0x111C9) return false;  // marks since Unicode 9 to 11
  return u_charType(static_cast<UChar32>(c)) == U_NON_SPACING_MARK && !is_newer(c);
}

std::u32string nfd(const std::u32string& text) {
  UErrorCode error = U_ZERO_ERROR;
  const auto* form = icu::Normalizer2::getNFDInstance(error);
  return normalized(form, text, error);
}

std::u32string nfc(const std::u32string& text) {
  UErrorCode error = U_ZERO_ERROR;
  const auto* form = icu::Normalizer2::getNFCInstance(error);
  return normalized(form, text, error);
}

std::u32string nfkc(char32_t c) {
  UErrorCode error = U_ZERO_ERROR;
  const auto* form = icu::Normalizer2::getNFKCInstance(error);
  return normalized(form, std::u32string_view(&c, 1), error);
}

void append_lower(char32_t c, std::u32string& out) {
  if (c < 0x80) {
    out.push_back(within(c, 'A', 'Z') ? c + 32 : c);
  } else if (c == 0x130) {
    out += U"i\u0307";  // the one character whose lower case is longer
  } else {
    out.push_back(static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
  }
}

std::u32string lower(const std::u32string& text) {
  return from_icu(to_icu(text).toLower(icu::Locale::getRoot()));
}

std::u32string upper(const std::u32string& text) {
  return from_icu(to_icu(text).toUpper(icu::Locale::getRoot()));
}

}  // namespace reid::text::unicode
