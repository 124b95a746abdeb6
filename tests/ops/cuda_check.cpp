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
#include "reid/metrics/evaluate.hpp"
#include "reid/ops/distance.hpp"
#include "reid/ops/mining.hpp"
#include "reid/ops/rank.hpp"
#include "reid/ops/relation.hpp"
#include "reid/ops/sparse.hpp"
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
          const int64_t half = size[1] / 2;  // the gallery on the device and on the CPU
          const std::vector<reid::ops::GalleryPart> parts{{d.narrow(1, 0, half).cuda(), 0},
                                                          {d.narrow(1, half, size[1] - half), half}};
          count.add(here.equal(reid::ops::rank_hits(parts, offsets, items, removed, ties)),
                    fmt::format("{} x {} in parts", size[0], size[1]));
        }
      }
    }
  }
  return count;
}

Count check_mining() {
  Count count;
  for (const int64_t rows : {0, 1, 2, 64, 257, 2048}) {
    for (const auto type : {torch::kFloat32, torch::kFloat64}) {
      for (const bool with_self : {false, true}) {
        const Tensor wide = torch::randint(0, 50, {rows, 2 * rows}).to(type);
        const Tensor d = wide.narrow(1, 0, rows), labels = torch::randint(0, 9, {rows}, torch::kInt64);
        const auto here = reid::ops::batch_hard(d, labels, with_self);
        const auto there = reid::ops::batch_hard(d.cuda(), labels.cuda(), with_self);
        count.add(here.positive.equal(there.positive.cpu()) && here.negative.equal(there.negative.cpu()),
                  fmt::format("{} rows", rows));
      }
    }
  }
  return count;
}

reid::ops::SparseRows random_rows(int64_t rows, int64_t columns, double share) {
  const Tensor chosen = torch::rand({rows, columns}) < share;
  return {torch::cat({torch::zeros({1}, torch::kInt64), chosen.sum(1).cumsum(0)}),
          chosen.nonzero().select(1, 1).to(torch::kInt32).contiguous(), torch::rand({chosen.sum().item<int64_t>()})};
}

Count check_sparse() {
  using reid::ops::Pairing;
  Count count;
  for (const auto& size : kSizes) {
    const auto x = random_rows(size[0], 400, 0.05), y = random_rows(size[1], 400, 0.05);
    const auto inverted = reid::ops::transposed(y, 0, size[1], 400);
    for (const auto pairing : {Pairing::minimum, Pairing::product}) {
      for (const bool half : {false, true}) {
        const Tensor here = reid::ops::sparse_overlap(x, 0, size[0], inverted, size[1], pairing, half);
        const Tensor there =
            reid::ops::sparse_overlap(x.to(torch::kCUDA), 0, size[0], inverted.to(torch::kCUDA), size[1], pairing, half);
        count.add(here.equal(there.cpu()), fmt::format("overlap {} x {}", size[0], size[1]));
      }
    }
    if (size[0] < 21) continue;
    const Tensor index = reid::ops::distance_topk_within(torch::randn({size[0], 3}), 21, Metric::euclidean).index;
    for (const int64_t k : {0, 1, 11, 21}) {
      count.add(reid::ops::reciprocal_neighbours(index, k).equal(reid::ops::reciprocal_neighbours(index.cuda(), k).cpu()),
                fmt::format("reciprocal {} of {}", k, size[0]));
    }
  }
  return count;
}

Count check_relation() {
  using reid::ops::RelationPath;
  Count count;
  for (const auto& [nodes, rank, outputs] : {std::tuple{32, 16, 4}, {128, 32, 16}, {512, 64, 64}}) {
    for (const auto path : {RelationPath::factored, RelationPath::dense}) {
      const Tensor e = torch::randn({3, 2 * rank, nodes}), w = torch::randn({outputs, 2 * nodes});
      const auto run = [&](const Tensor& embeddings, const Tensor& weight) {
        const torch::AutoGradMode with_gradient(true);
        std::vector<Tensor> leaves{embeddings.detach().requires_grad_(), weight.detach().requires_grad_()};
        const Tensor out = reid::ops::relation(leaves[0], leaves[1], path);
        out.square().mean().backward();
        return std::vector<Tensor>{out.detach().cpu(), leaves[0].grad().cpu(), leaves[1].grad().cpu()};
      };
      const auto here = run(e, w), there = run(e.cuda(), w.cuda());
      for (std::size_t i = 0; i < here.size(); ++i) {
        const double scale = here[i].abs().max().item<double>();
        count.add(here[i].allclose(there[i], 1e-4, 1e-5 * scale), fmt::format("{} nodes, result {}", nodes, i));
      }
    }
  }
  return count;
}

/// Whole evaluations, plain and re-ranked, with the features on the device and sent in blocks.
Count check_evaluate() {
  using namespace reid::metrics;
  Count count;
  FeatureSet query, gallery;
  query.features = whole(300, 24, false) + 0.5;
  gallery.features = whole(2000, 24, false) + 0.5;
  query.ids = torch::randint(1, 60, {300}, torch::kInt64);
  gallery.ids = torch::randint(-1, 60, {2000}, torch::kInt64);
  query.cameras = torch::randint(0, 3, {300}, torch::kInt64);
  gallery.cameras = torch::randint(0, 3, {2000}, torch::kInt64);
  std::vector<std::string> variants{""};
  for (const auto& variant : rerank_variants()) variants.push_back(variant.name);
  for (const auto& variant : variants) {
    EvaluateOptions options;
    options.metric = Metric::euclidean;
    if (!variant.empty()) options.rerank = RerankOptions{.variant = variant};
    const auto here = evaluate(query, gallery, protocol("market1501"), options);
    options.devices = {torch::Device(torch::kCUDA, 0)};
    for (const int64_t bytes : {0, 500000}) {
      options.device_bytes = bytes;
      const auto there = evaluate(query, gallery, protocol("market1501"), options);
      // Products of plain features are exact; re-ranked distances differ by rounding, which may swap neighbours at equal distances.
      const double difference = (here.average_precision - there.average_precision).nan_to_num().abs().max().item<double>();
      count.add(difference <= (variant.empty() ? 0 : 1e-2), fmt::format("evaluate {}: {:.2e}", variant, difference));
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
             {"pairwise_distance", check_distance}, {"distance_topk", check_topk}, {"rank_hits", check_rank},
             {"batch_hard", check_mining}, {"sparse rows", check_sparse}, {"relation", check_relation},
             {"evaluate", check_evaluate}}) {
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
