// SPDX-License-Identifier: Apache-2.0
// Ops of scoring and of training against the bare product of the same shape and against the plain way to the same result.
//
//   micro_ops [rows columns features k threads rounds device]        default: 2000 10000 512 21, all threads, 5, cpu
//
// Jobs take turns, round by round; the best of each is printed, with its ratio to the quicker library's product. "plain" jobs make the
// whole matrix of distances and sort, mask or select with LibTorch. rank_hits and batch_hard have no product: their ratio says what they
// add to one. With the device cuda the same jobs, each waited for.
#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <limits>

#include "jobs.hpp"
#include "reid/core/error.hpp"
#include "reid/ops/matmul.hpp"
#include "reid/ops/mining.hpp"
#include "reid/ops/rank.hpp"
#include "reid/ops/topk.hpp"

using reid::bench::argument;
using reid::ops::Metric;
using torch::Tensor;

namespace {

/// Places by a stable sort of all rows and a look-up.
Tensor plain_places(const Tensor& distances, const Tensor& rows, const Tensor& items) {
  const Tensor order = std::get<1>(distances.sort(true, 1, false));
  const Tensor places = torch::empty_like(order);
  places.scatter_(1, order, torch::arange(1, order.size(1) + 1, order.options()).expand_as(order));
  return places.index({rows, items});
}

/// Batch-hard pairs by masks.
void plain_hardest(const Tensor& distances, const Tensor& labels) {
  const Tensor same = labels.unsqueeze(0) == labels.unsqueeze(1);
  const double infinity = std::numeric_limits<double>::infinity();
  distances.masked_fill(~same, -infinity).argmax(1);
  distances.masked_fill(same, infinity).argmin(1);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int64_t rows = argument(argc, argv, 1, 2000), columns = argument(argc, argv, 2, 10000);
    const int64_t features = argument(argc, argv, 3, 512), k = argument(argc, argv, 4, 21), rounds = argument(argc, argv, 6, 5);
    if (const int64_t threads = argument(argc, argv, 5, 0); threads > 0) at::set_num_threads(static_cast<int>(threads));
    const torch::Device device(argc > 7 ? argv[7] : "cpu");
    const torch::NoGradGuard no_gradient;
    torch::manual_seed(0);
    const Tensor x = torch::randn({rows, features}).to(device), y = torch::randn({columns, features}).to(device);
    const Tensor distances = reid::ops::pairwise_distance(x, y, Metric::euclidean);
    constexpr int64_t kHits = 20;
    const int64_t hits = std::min(kHits, columns);
    const Tensor offsets = (torch::arange(rows + 1) * hits).to(device);
    const Tensor items = torch::linspace(0, static_cast<double>(columns - 1), hits).to(torch::kInt32).repeat({rows}).to(device);
    const Tensor item_rows = torch::arange(rows).repeat_interleave(hits).to(device), long_items = items.to(torch::kInt64);
    const Tensor removed = torch::zeros({items.size(0)}, torch::kBool).to(device);
    constexpr int64_t kBatch = 64;  // of a metric loss: 16 identities of 4 pictures
    const Tensor batch = torch::rand({kBatch, kBatch}).to(device), labels = (torch::arange(kBatch) / 4).to(torch::kInt64).to(device);
    reid::bench::Jobs jobs([device] { if (device.is_cuda()) torch::cuda::synchronize(device.index()); });
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
    jobs.add("plain: sort, 20 a row", [&] { plain_places(distances, item_rows, long_items); });
    jobs.add("batch_hard, 64", [&] { reid::ops::batch_hard(batch, labels, true); });
    jobs.add("plain: masks, 64", [&] { plain_hardest(batch, labels); });
    jobs.run(rounds);
    std::cout << fmt::format("{} x {} x {}, k {}, {}, {} threads, best of {}\n", rows, features, columns, k, device.str(),
                             at::get_num_threads(), rounds);
    jobs.print(2, 2.0 * static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(features));
    return 0;
  } catch (const reid::Error& error) {
    std::cerr << error.what() << "\n";
    return error.exit_code();
  }
}
