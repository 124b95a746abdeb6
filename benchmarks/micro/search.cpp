// SPDX-License-Identifier: Apache-2.0
// The search of one sentence in stored features against the bare product of the same sizes, in one run.
//
//   micro_search [rows columns queries top threads rounds]   default: 100000 2048 1 10, all threads, 10
//
// The features lie in an .npy file of the working folder that is mapped, as `reid search --features` maps it, and that is
// removed at the end. Prints the best time of each library's plain product queries x columns x rows and of engine::search
// (lengths of all rows, products, a check of every row, the best `top`), with its ratio to the quicker product. The jobs take
// turns, round by round, so that a busy machine slows all of them. One round before is not counted: it reads the file.
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "jobs.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/engine/search.hpp"
#include "reid/metrics/npy.hpp"
#include "reid/ops/matmul.hpp"

namespace {

using reid::bench::argument;

int run(int argc, char** argv) {
  const int64_t rows = argument(argc, argv, 1, 100'000), columns = argument(argc, argv, 2, 2048);
  const int64_t queries = argument(argc, argv, 3, 1), top = argument(argc, argv, 4, 10);
  const int64_t threads = argument(argc, argv, 5, 0), rounds = argument(argc, argv, 6, 10);
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
  torch::manual_seed(1);
  const std::filesystem::path features = "micro_search.npy", paths = "micro_search.txt";
  {
    reid::metrics::NpyWriter writer(features, rows, columns);
    constexpr int64_t kPiece = 4096;
    for (int64_t i = 0; i < rows; i += kPiece) writer.append(torch::randn({std::min(kPiece, rows - i), columns}));
    writer.finish();
    std::string lines;
    for (int64_t i = 0; i < rows; ++i) lines += fmt::format("{}.jpg\n", i);
    reid::write_file_atomic(paths, lines);
  }
  const auto gallery = reid::engine::open_gallery(features, paths);
  const auto asked = torch::randn({queries, columns});
  double unused = 0;
  const auto product = [&](reid::ops::Product library) {
    unused += reid::ops::matmul(asked, gallery.features, true, library)[0][0].item<double>();
  };
  const auto search = [&] { unused += reid::engine::search(asked, gallery, top).similarity[0][0].item<double>(); };
  product(reid::ops::Product::aten);
  search();
  reid::bench::Jobs jobs;
  jobs.add("product, aten", [&] { product(reid::ops::Product::aten); });
  jobs.add("product, oneDNN", [&] { product(reid::ops::Product::onednn); });
  jobs.add(fmt::format("search, best {}", top), search);
  jobs.run(rounds);
  std::cout << fmt::format("{} x {} stored, {} queries, {} threads\n", rows, columns, queries, at::get_num_threads());
  jobs.print(2, 2.0 * static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(queries));
  std::filesystem::remove(features);
  std::filesystem::remove(paths);
  return unused != unused ? 1 : 0;
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
