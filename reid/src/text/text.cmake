# SPDX-License-Identifier: Apache-2.0
# GLOBAL: programs that link the static library name these targets too.
find_package(ICU REQUIRED COMPONENTS uc GLOBAL)
find_package(ZLIB REQUIRED GLOBAL)

reid_add_component(text
  SOURCES src/text/bert_words.cpp src/text/clean.cpp src/text/clip_bpe.cpp src/text/html_entities.cpp src/text/tokenizer.cpp
          src/text/unicode.cpp src/text/vocabulary.cpp src/text/wordpiece.cpp
  DEPS reid::core
  PRIVATE_DEPS fmt::fmt ICU::uc ZLIB::ZLIB NO_TORCH)
