// SPDX-License-Identifier: Apache-2.0
// Tokens a second on one thread.
//   micro_tokenize wordpiece weights/minilm_l6/vocab.txt < captions
//   micro_tokenize clip_bpe weights/bpe_simple_vocab_16e6.txt.gz < captions
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/text/tokenizer.hpp"

namespace {

constexpr int kRounds = 5;

int run(int argc, char** argv) {
  if (argc != 3) throw reid::InputError("micro_tokenize: arguments must be TOKENIZER VOCAB, with text on standard input");
  reid::text::TokenizerOptions options;
  options.kind = reid::parse_enum<reid::text::TokenizerKind>("TOKENIZER", argv[1]);
  options.vocab = argv[2];
  const auto tokenizer = reid::text::make_tokenizer(options);
  std::vector<std::string> lines;
  for (std::string line; std::getline(std::cin, line);) lines.push_back(line);
  std::vector<double> rates;
  std::size_t tokens = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    tokens = 0;
    for (const auto& line : lines) tokens += tokenizer->encode(line).size();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    rates.push_back(static_cast<double>(tokens) / seconds);
  }
  std::sort(rates.begin(), rates.end());
  fmt::print("{} lines, {} tokens, median of {} rounds {:.0f} tokens/s (slowest {:.0f})\n", lines.size(), tokens, kRounds,
             rates[kRounds / 2], rates[0]);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const reid::Error& error) {
    std::cerr << error.what() << "\n";
    return error.exit_code();
  }
}
