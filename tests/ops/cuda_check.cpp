// SPDX-License-Identifier: Apache-2.0
// reid-cuda-check: every op with a CUDA twin against its CPU twin, over odd sizes, ties, empty and strided inputs.
// Prints counts; exit 0 if all agree, 1 if any doesn't, 77 without a device.
#include <fmt/format.h>
#include <torch/torch.h>

#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/ops/distance.hpp"
#include "reid/ops/rank.hpp"
#include "reid/ops/topk.hpp"

namespace {

using reid::ops::Metric;
using reid::ops::Ties;
using torch::Tensor;

struct Count {
  int64_t done = 0, failed = 0;
  void add(bool agrees, const std::string& what) {
    ++done;
    if (agrees) return;
    ++failed;
    std::cout << "  differs: " << what << "\n";
  }
  void print(const char* op) const { std::cout << fmt::format("{:<24}{:>6} compared, {} differ\n", op, done, failed); }
};

const std::vector<std::vector<int64_t>> kSizes{{0, 5, 3},     {5, 0, 3},      {1, 1, 1},       {3, 257, 7},
                                               {65, 1023, 5}, {300, 4097, 9}, {2049, 513, 33}, {7, 20000, 2}};

/// Whole numbers, whose products are exact on both: the results must be equal to the bit, ties included.
Tensor whole(int64_t rows, int64_t columns, bool strided) {
  const Tensor x = torch::randint(-3, 4, {rows, strided ? 2 * columns : columns}).to(torch::kFloat32);
  return strided ? x.narrow(1, columns, columns) : x;
}

bool same(const reid::ops::TopK& a, const reid::ops::TopK& b) {
  return a.index.equal(b.index.cpu()) && a.distance.equal(b.distance.cpu()) && a.farthest.equal(b.farthest.cpu());
}

Count check_distance() {
  Count count;
  for (const auto& size : kSizes) {
    for (const auto metric : {Metric::cosine, Metric::euclidean}) {
      for (const auto type : {torch::kFloat32, torch::kFloat64, torch::kFloat16, torch::kBFloat16}) {
        const Tensor x = torch::randn({size[0], size[2]}).to(type), y = torch::randn({size[1], size[2]}).to(type);
        const Tensor here = reid::ops::pairwise_distance(x, y, metric);
        const Tensor there = reid::ops::pairwise_distance(x.cuda(), y.cuda(), metric).cpu();
        count.add(here.scalar_type() == there.scalar_type() && here.allclose(there, 1e-5, 1e-5),
                  fmt::format("{} x {} x {} {}", size[0], size[1], size[2], reid::enum_name(metric)));
      }
    }
  }
  return count;
}

Count check_topk() {
  Count count;
  for (const auto& size : kSizes) {
    for (const bool strided : {false, true}) {
      const Tensor x = whole(size[0], size[2], strided), y = whole(size[1], size[2], strided);
      for (const int64_t k : {int64_t{0}, int64_t{1}, int64_t{21}, int64_t{1024}}) {
        const auto what = fmt::format("{} x {} x {}, k {}", size[0], size[1], size[2], k);
        if (k <= size[1]) {
          count.add(same(reid::ops::distance_topk(x, y, k, Metric::euclidean),
                         reid::ops::distance_topk(x.cuda(), y.cuda(), k, Metric::euclidean)), what);
        }
        if (k <= size[0]) {
          count.add(same(reid::ops::distance_topk_within(x, k, Metric::euclidean),
                         reid::ops::distance_topk_within(x.cuda(), k, Metric::euclidean)), what + " within");
        }
      }
    }
    if (size[1] < 5) continue;  // cosine: real values, so that distances agree within rounding
    const Tensor x = torch::randn({size[0], 64}), y = torch::randn({size[1], 64});
    const auto here = reid::ops::distance_topk(x, y, 5, Metric::cosine);
    const auto there = reid::ops::distance_topk(x.cuda(), y.cuda(), 5, Metric::cosine);
    count.add(here.distance.allclose(there.distance.cpu(), 1e-5, 1e-6), fmt::format("cosine {} x {}", size[0], size[1]));
  }
  return count;
}

Count check_rank() {
  Count count;
  for (const auto& size : kSizes) {
    for (const int64_t values : {1, 5, 100000}) {
      for (const double share : {0.0, 0.01, 0.5}) {
        const Tensor d = torch::randint(0, values, {size[0], size[1]}).to(torch::kFloat32);
        const Tensor chosen = torch::rand({size[0], size[1]}) < share;
        const Tensor offsets = torch::cat({torch::zeros({1}, torch::kInt64), chosen.sum(1).cumsum(0)});
        const Tensor items = chosen.nonzero().select(1, 1).to(torch::kInt32).contiguous();
        const Tensor removed = torch::rand({items.size(0)}) < 0.3;
        for (const auto ties : {Ties::stable, Ties::worst, Ties::best}) {
          const Tensor here = reid::ops::rank_hits(d, offsets, items, removed, ties);
          const Tensor there = reid::ops::rank_hits(d.cuda(), offsets.cuda(), items.cuda(), removed.cuda(), ties);
          count.add(here.equal(there.cpu()), fmt::format("{} x {}, {} values, share {} {}", size[0], size[1], values, share,
                                                         reid::enum_name(ties)));
        }
      }
    }
  }
  return count;
}

}  // namespace

int main() {
  if (!torch::cuda::is_available()) {
    std::cout << "SKIPPED: no CUDA device; 0 compared\n";
    return 77;
  }
  try {
    torch::manual_seed(0);
    const torch::NoGradGuard no_gradient;
    bool agree = true;
    for (const auto& [name, run] : std::vector<std::pair<const char*, std::function<Count()>>>{
             {"pairwise_distance", check_distance}, {"distance_topk", check_topk}, {"rank_hits", check_rank}}) {
      const Count count = run();
      count.print(name);
      agree = agree && count.failed == 0 && count.done > 0;
    }
    return agree ? 0 : 1;
  } catch (const reid::Error& error) {
    std::cerr << error.what() << "\n";
    return error.exit_code();
  }
}
