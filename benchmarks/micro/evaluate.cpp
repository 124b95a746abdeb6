// SPDX-License-Identifier: Apache-2.0
// A whole evaluation against the bare product of its features, in one run.
//
//   micro_evaluate [queries gallery columns threads rounds rerank]   default: Market-1501's 3368 15913 2048, all threads, 5
//
// Prints the best time of each library's plain product Q x D x G and of metrics::evaluate (checks, norms, products in tiles,
// ranks of every hit, both average precisions, 1,000 bootstrap resamples), with its ratio to the quicker product and the memory
// that it took beyond what was there. The jobs take turns, round by round, so that a busy machine slows all of them.
// Products are computed in pieces of 1,024 rows. `rerank` names a variant, which is timed against the plain product of all
// N = Q + G items with themselves. Features are random around one centre an identity; identities and cameras are as in the set.
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "jobs.hpp"
#include "reid/core/error.hpp"
#include "reid/metrics/evaluate.hpp"
#include "reid/ops/matmul.hpp"

namespace {

using reid::bench::argument;
using reid::bench::Jobs;

/// A line of /proc/self/status in MiB, such as "VmHWM:".
double status_mib(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(name, 0) == 0) return std::strtod(line.c_str() + name.size(), nullptr) / 1024;
  }
  return 0;
}

/// Peak of the resident memory while `run` runs beyond what was there, in MiB.
double extra_mib(const std::function<void()>& run) {
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak starts anew
  const double before = status_mib("VmRSS:");
  run();
  return status_mib("VmHWM:") - before;
}

/// The bare product of all rows of a and b, 1,024 rows of a at a time: where the whole doesn't fit the caches, this is the quicker way,
/// and the only one where it doesn't fit the memory.
void product_of(const torch::Tensor& a, const torch::Tensor& b, reid::ops::Product product) {
  for (int64_t begin = 0; begin < a.size(0); begin += 1024) {
    reid::ops::matmul(a.narrow(0, begin, std::min<int64_t>(1024, a.size(0) - begin)), b, true, product);
  }
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
    const int64_t columns = argument(argc, argv, 3, 2048), rounds = argument(argc, argv, 5, 5);
    if (const int64_t threads = argument(argc, argv, 4, 0); threads > 0) at::set_num_threads(static_cast<int>(threads));
    const torch::NoGradGuard no_gradient;
    torch::manual_seed(0);
    const auto centres = torch::randn({std::max<int64_t>(2, gallery / 21), columns});  // Market-1501's pictures of a person
    const auto query_set = random_set(queries, centres, 1), gallery_set = random_set(gallery, centres, 0);
    const double flop = 2.0 * static_cast<double>(queries) * static_cast<double>(gallery) * static_cast<double>(columns);
    std::cout << fmt::format("{} x {} x {}, {} threads, best of {}\n", queries, columns, gallery, at::get_num_threads(), rounds);
    reid::metrics::EvaluateOptions options;
    const auto evaluate = [&] {
      reid::metrics::evaluate(query_set, gallery_set, reid::metrics::protocol("market1501"), options);
    };
    if (argc > 6) {
      options.rerank = reid::metrics::RerankOptions{};
      options.rerank->variant = argv[6];
      const auto all = torch::cat({query_set.features, gallery_set.features});
      const double n = static_cast<double>(all.size(0));
      Jobs jobs;
      for (const auto product : {reid::ops::Product::aten, reid::ops::Product::onednn}) {
        jobs.add("N x N product, " + reid::enum_name(product), [&all, product] { product_of(all, all, product); });
      }
      jobs.add(fmt::format("evaluate, {}", argv[6]), evaluate);
      const double extra = extra_mib(evaluate);
      jobs.run(rounds);
      jobs.print(2, 2 * n * n * static_cast<double>(columns));
      std::cout << fmt::format("memory beyond the features: {:.0f} MiB\n", extra);
      return 0;
    }
    Jobs jobs;
    for (const auto product : {reid::ops::Product::aten, reid::ops::Product::onednn}) {
      jobs.add("product, " + reid::enum_name(product),
               [&, product] { product_of(query_set.features, gallery_set.features, product); });
    }
    for (const auto metric : {reid::ops::Metric::cosine, reid::ops::Metric::euclidean}) {
      jobs.add("evaluate, " + reid::enum_name(metric), [&, metric] {
        options.metric = metric;
        evaluate();
      });
    }
    const double extra = extra_mib(evaluate);
    jobs.run(rounds);
    jobs.print(2, flop);
    std::cout << fmt::format("memory of evaluate beyond the features: {:.0f} MiB\n", extra);
    return 0;
  } catch (const reid::Error& error) {
    std::cerr << error.what() << "\n";
    return error.exit_code();
  }
}
