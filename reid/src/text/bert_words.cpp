// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "reid/text/wordpiece.hpp"
#include "unicode.hpp"

namespace reid::text {

using unicode::BertClass;

std::vector<std::string> bert_words(std::string_view text, const BertTextOptions& options) {
  std::u32string clean;
  const std::u32string raw = unicode::decode(text, "text");
  clean.reserve(raw.size());
  char32_t highest = 0;
  for (const char32_t c : raw) {
    highest = std::max(highest, c);
    switch (unicode::bert_class(c)) {
      case BertClass::removed: break;
      case BertClass::space: clean.push_back(U' '); break;
      case BertClass::ideograph:
        clean.push_back(U' ');
        clean.push_back(c);
        clean.push_back(U' ');
        break;
      default: clean.push_back(c);
    }
  }
  if (options.strip_accents.value_or(options.lowercase) && highest >= 0x80) {
    clean = unicode::nfd(clean);
    std::erase_if(clean, unicode::is_dropped_mark);
  }
  if (options.lowercase) {
    std::u32string low;
    low.reserve(clean.size());
    for (const char32_t c : clean) unicode::append_lower(c, low);
    clean.swap(low);
  }
  std::vector<std::string> words;
  bool open = false;  // the last word may go on
  for (const char32_t c : clean) {
    const auto kind = unicode::bert_class(c);
    if (kind == BertClass::space) {
      open = false;
    } else if (kind == BertClass::punctuation) {
      words.emplace_back();
      unicode::append(c, words.back());
      open = false;
    } else {
      if (!open) words.emplace_back();
      unicode::append(c, words.back());
      open = true;
    }
  }
  return words;
}

}  // namespace reid::text
