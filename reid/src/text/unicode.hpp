// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

/// The little that the tokenizers need of Unicode, on strings of code points. ICU is behind it and nowhere else.
namespace reid::text::unicode {

/// @throws InputError as check_utf8 does.
std::u32string decode(std::string_view text, const std::string& where);
void append(char32_t c, std::string& out);
std::string encode(std::u32string_view text);

bool is_ascii(std::string_view text);
/// White_Space of the Unicode database.
bool is_space(char32_t c);
bool is_letter(char32_t c);  ///< \p{L}
bool is_number(char32_t c);  ///< \p{N}

/// What BERT's basic tokenizer makes of a character.
enum class BertClass { letter, removed, space, ideograph, punctuation };
BertClass bert_class(char32_t c);
/// A mark that `strip_accents` drops.
bool is_dropped_mark(char32_t c);

std::u32string nfd(const std::u32string& text);
std::u32string nfc(const std::u32string& text);
/// NFKC of one character.
std::u32string nfkc(char32_t c);
/// Lower case of one character by itself (one to three of them).
void append_lower(char32_t c, std::u32string& out);
/// Lower case of a text, final sigmas included.
std::u32string lower(const std::u32string& text);
std::u32string upper(const std::u32string& text);

}  // namespace reid::text::unicode
