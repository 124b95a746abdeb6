// SPDX-License-Identifier: Apache-2.0
#include "reid/core/blank.hpp"

#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <string>

#include "support/catch.hpp"

using reid::is_blank;

TEST_CASE("a text is blank if nothing of it is to be seen", "[core]") {
  CHECK(is_blank(""));
  CHECK(is_blank(" \t\r\n\v\f"));
  CHECK(is_blank("\u00a0\u3000 \u2003"));              // no-break, ideographic and em space
  CHECK(is_blank("\u200b\u200d\u2060\ufeff\u00ad"));  // zero-width space and joiners, soft hyphen
  CHECK(is_blank("\u3164\U000e0020"));                  // a filler, a tag
  CHECK_FALSE(is_blank("\u00a0a"));
  CHECK_FALSE(is_blank("\u3000\u4e00"));
  CHECK_FALSE(is_blank("."));
  CHECK_FALSE(is_blank(std::string(1, '\0')));
  // What isn't UTF-8 isn't blank: cut short, a continuation alone, longer than need be.
  for (const char* bytes : {"\xc2", "\xa0", "\xe3\x80", "\xe3\x80 ", "\x82\xa0", "\xff", "\xf8\x80\x80\xa0",
                            "\xe0\x80\xa0", "\xf0\x80\x80\xa0"}) {
    INFO(bytes);
    CHECK_FALSE(is_blank(bytes));
  }
}

TEST_CASE("blank characters are white space and ignorable ones as ICU knows them", "[core]") {
  std::string wrong;
  for (UChar32 c = 0; c <= 0x10FFFF; ++c) {
    // A character that this ICU doesn't know yet may have become one since.
    if ((c >= 0xD800 && c <= 0xDFFF) || u_charType(c) == U_UNASSIGNED) continue;
    std::string text;
    icu::UnicodeString(c).toUTF8String(text);
    const bool expected = u_isUWhiteSpace(c) != 0 || u_hasBinaryProperty(c, UCHAR_DEFAULT_IGNORABLE_CODE_POINT) != 0;
    if (is_blank(text) != expected) wrong += std::to_string(c) + " ";
  }
  CHECK(wrong.empty());
}
