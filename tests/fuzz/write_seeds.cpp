// SPDX-License-Identifier: Apache-2.0
// Usage: fuzz_seeds FOLDER TARGET...   writes FOLDER/<target>/<seed> for libFuzzer to begin from.
#include <cstdio>
#include <filesystem>

#include "fuzz/seeds.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "fuzz_seeds: a folder and targets must be given, got %d arguments\n", argc - 1);
    return 2;
  }
  try {
    for (int i = 2; i < argc; ++i) {
      const std::string target = argv[i];
      const auto folder = std::filesystem::path(argv[1]) / target;
      std::filesystem::create_directories(folder);
      for (const auto& seed : reid::fuzz::seeds_for(target)) reid::write_file_atomic(folder / seed.name, seed.bytes);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fuzz_seeds: %s\n", error.what());
    return 1;
  }
  return 0;
}
