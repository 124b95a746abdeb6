// SPDX-License-Identifier: Apache-2.0
// Ops of scoring against the bare product of the same shape and against the plain way to the same result.
//
//   micro_ops [rows columns features k threads rounds]        default: 2000 10000 512 21, all threads, 5
//
// Jobs take turns, round by round; the best of each is printed, with its ratio to the quicker library's product. "plain" jobs make the
// whole matrix of distances and sort or select with LibTorch. rank_hits has no product: its ratio says what it adds to one.
#include <ATen/Parallel.h>
#include <torch/torch.h>

#include "jobs.hpp"
#include "reid/core/error.hpp"
#include "reid/ops/matmul.hpp"
#include "reid/ops/rank.hpp"
#include "reid/ops/topk.hpp"

using reid::bench::argument;
using reid::ops::Metric;
using torch::Tensor;

namespace {

/// Places by a stable sort of each row and a look-up.
Tensor plain_places(const Tensor& distances, const Tensor& offsets, const Tensor& items) {
  const Tensor places = torch::empty({items.size(0)}, torch::kInt64);
  for (int64_t q = 0; q < distances.size(0); ++q) {
    const int64_t begin = offsets[q].item<int64_t>(), count = offsets[q + 1].item<int64_t>() - begin;
    const Tensor order = std::get<1>(distances[q].sort(true, 0, false));
    Tensor place = torch::empty_like(order);
    place.index_copy_(0, order, torch::arange(1, order.size(0) + 1));
    places.narrow(0, begin, count).copy_(place.index_select(0, items.narrow(0, begin, count)));
  }
  return places;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int64_t rows = argument(argc, argv, 1, 2000), columns = argument(argc, argv, 2, 10000);
    const int64_t features = argument(argc, argv, 3, 512), k = argument(argc, argv, 4, 21), rounds = argument(argc, argv, 6, 5);
    if (const int64_t threads = argument(argc, argv, 5, 0); threads > 0) at::set_num_threads(static_cast<int>(threads));
    const torch::NoGradGuard no_gradient;
    torch::manual_seed(0);
    const Tensor x = torch::randn({rows, features}), y = torch::randn({columns, features});
    const Tensor distances = reid::ops::pairwise_distance(x, y, Metric::euclidean);
    constexpr int64_t kHits = 20;
    const Tensor offsets = torch::arange(rows + 1) * std::min(kHits, columns);
    const Tensor items = torch::linspace(0, static_cast<double>(columns - 1), std::min(kHits, columns)).to(torch::kInt32).repeat({rows});
    const Tensor removed = torch::zeros({items.size(0)}, torch::kBool);
    reid::bench::Jobs jobs;
    for (const auto product : {reid::ops::Product::aten, reid::ops::Product::onednn}) {
      jobs.add("product, " + reid::enum_name(product), [&, product] { reid::ops::matmul(x, y, true, product); });
    }
    jobs.add("pairwise_distance", [&] { reid::ops::pairwise_distance(x, y, Metric::euclidean); });
    jobs.add("distance_topk", [&] { reid::ops::distance_topk(x, y, k, Metric::euclidean); });
    jobs.add("plain: distances, then topk", [&] {
      const Tensor d = torch::addmm(x.square().sum(1, true) + y.square().sum(1), x, y.t(), 1, -2);
      d.topk(k, 1, false);
    });
    jobs.add("rank_hits, 20 a row", [&] { reid::ops::rank_hits(distances, offsets, items, removed); });
    jobs.add("plain: sort, 20 a row", [&] { plain_places(distances, offsets, items); });
    jobs.run(rounds);
    std::cout << fmt::format("{} x {} x {}, k {}, {} threads, best of {}\n", rows, features, columns, k, at::get_num_threads(), rounds);
    jobs.print(2, 2.0 * static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(features));
    return 0;
  } catch (const reid::Error& error) {
    std::cerr << error.what() << "\n";
    return error.exit_code();
  }
}
