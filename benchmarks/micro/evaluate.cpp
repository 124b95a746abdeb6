// SPDX-License-Identifier: Apache-2.0
// A whole evaluation against the bare product of its features, in one run.
//
//   micro_evaluate [queries gallery columns threads repeats]        default: Market-1501's 3368 15913 2048, all threads, 5
//
// Prints the best time of each library's plain product Q x D x G, of ops::matmul, and of metrics::evaluate (checks, norms, products in
// tiles, ranks of every hit, both average precisions, 1,000 bootstrap resamples), with the last one's ratio to ops::matmul's
// better library. Features are random unit rows around one centre an identity; identities and cameras are as in the set.
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/metrics/evaluate.hpp"
#include "reid/ops/matmul.hpp"

namespace {

template <class F>
double best_of(int64_t repeats, const F& run) {
  double best = 1e300;
  for (int64_t i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

int64_t argument(int argc, char** argv, int at, int64_t standard) {
  return argc > at ? std::strtoll(argv[at], nullptr, 10) : standard;
}

reid::metrics::FeatureSet random_set(int64_t rows, const torch::Tensor& centres, int64_t first_id) {
  reid::metrics::FeatureSet set;
  set.ids = torch::randint(first_id, centres.size(0), {rows}, torch::kInt64);
  set.features = centres.index_select(0, set.ids) + torch::randn({rows, centres.size(1)});
  set.cameras = torch::randint(1, 7, {rows}, torch::kInt64);
  return set;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int64_t queries = argument(argc, argv, 1, 3368), gallery = argument(argc, argv, 2, 15913);
    const int64_t columns = argument(argc, argv, 3, 2048), repeats = argument(argc, argv, 5, 5);
    if (const int64_t threads = argument(argc, argv, 4, 0); threads > 0) at::set_num_threads(static_cast<int>(threads));
    const torch::NoGradGuard no_gradient;
    torch::manual_seed(0);
    const auto centres = torch::randn({751, columns});
    const auto query_set = random_set(queries, centres, 1), gallery_set = random_set(gallery, centres, 0);
    const double flop = 2.0 * static_cast<double>(queries) * static_cast<double>(gallery) * static_cast<double>(columns);
    const auto row = [&](const std::string& name, double seconds) {
      std::cout << fmt::format("{:<28}{:>9.3f} s{:>9.1f} GFLOP/s\n", name, seconds, flop / seconds * 1e-9);
    };
    std::cout << fmt::format("{} x {} x {}, {} threads, best of {}\n", queries, columns, gallery, at::get_num_threads(), repeats);
    double bare = 1e300;
    for (const auto product : {reid::ops::Product::aten, reid::ops::Product::onednn}) {
      const double seconds = best_of(
          repeats, [&] { reid::ops::matmul(query_set.features, gallery_set.features, true, product); });
      row("product, " + reid::enum_name(product), seconds);
      bare = std::min(bare, seconds);
    }
    for (const auto metric : {reid::ops::Metric::cosine, reid::ops::Metric::euclidean}) {
      reid::metrics::EvaluateOptions options;
      options.metric = metric;
      std::string library;
      const double seconds = best_of(repeats, [&] {
        const auto result = reid::metrics::evaluate(query_set, gallery_set, reid::metrics::protocol("market1501"), options);
        library = result.json.at("product").get<std::string>();
      });
      row(fmt::format("evaluate, {} ({})", reid::enum_name(metric), library), seconds);
      std::cout << fmt::format("{:<28}{:>9.3f}\n", "  ratio to the better product", seconds / bare);
    }
    std::cout << "choices: " << reid::ops::product_choices().dump() << "\n";
    return 0;
  } catch (const reid::Error& error) {
    std::cerr << error.what() << "\n";
    return error.exit_code();
  }
}
