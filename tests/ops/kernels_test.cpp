// SPDX-License-Identifier: Apache-2.0
// CUDA kernels, compiled for the CPU and run by the emulation, against the operators' CPU twins; with the threads of a block in
// three orders between barriers. `reid-cuda-check` makes the same comparisons on a device.
#include "kernels.hpp"

#include <cuda_emulation.hpp>
#include <torch/torch.h>

#include <limits>

#include "prepared_rows.hpp"
#include "reid/core/error.hpp"
#include "reid/ops/distance.hpp"
#include "reid/ops/mining.hpp"
#include "reid/ops/rank.hpp"
#include "reid/ops/sparse.hpp"
#include "reid/ops/topk.hpp"
#include "support/catch.hpp"

using namespace reid::ops;
using cuda::emulation::Order;
using torch::Tensor;

namespace {

/// Whole numbers: products are exact, and there are ties.
Tensor whole(int64_t rows, int64_t columns) { return torch::randint(-3, 4, {rows, columns}).to(torch::kFloat32); }

/// `distance_topk` by kernels, a few columns at a time.
TopK kernel_topk(const Tensor& x, const Tensor& y, int64_t k, Metric metric, bool within, int64_t tile) {
  const int64_t n = x.size(0), m = y.size(0);
  const auto [rows, own] = prepare_anywhere(x, metric);
  const auto [other_rows, others] = prepare_anywhere(y, metric);
  TopK result{torch::empty({n, k}, torch::kInt32), torch::empty({n, k}), torch::empty({n})};
  const Tensor state = torch::empty({n, k}, torch::kInt64);
  auto* best = reinterpret_cast<uint64_t*>(state.data_ptr<int64_t>());
  auto* farthest = result.farthest.data_ptr<float>();
  REQUIRE(cuda::start_topk(best, farthest, n, k, nullptr) == 0);
  for (int64_t column = 0; column < m; column += tile) {
    const int64_t width = std::min(tile, m - column);
    const Tensor dots = torch::mm(rows, other_rows.narrow(0, column, width).t()).contiguous();
    REQUIRE(cuda::add_topk(dots.data_ptr<float>(), own.data_ptr<float>(), others.data_ptr<float>() + column,
                           metric == Metric::cosine, n, width, column, within ? 0 : -1, best, farthest, k, nullptr) == 0);
  }
  REQUIRE(cuda::finish_topk(best, n, k, result.index.data_ptr<int32_t>(), result.distance.data_ptr<float>(), nullptr) == 0);
  return result;
}

void check_same(const TopK& a, const TopK& b) {
  CHECK(a.index.equal(b.index));
  CHECK(a.distance.equal(b.distance));
  CHECK(a.farthest.equal(b.farthest));
}

/// Rows with about `share` of `columns` as entries.
SparseRows random_rows(int64_t rows, int64_t columns, double share) {
  const Tensor chosen = torch::rand({rows, columns}) < share;
  return {torch::cat({torch::zeros({1}, torch::kInt64), chosen.sum(1).cumsum(0)}),
          chosen.nonzero().select(1, 1).to(torch::kInt32).contiguous(), torch::rand({chosen.sum().item<int64_t>()})};
}

class EachOrder {
 public:
  EachOrder() { cuda::emulation::set_order(GENERATE(Order::forward, Order::backward, Order::shuffled)); }
  ~EachOrder() { cuda::emulation::set_order(Order::forward); }
};

}  // namespace

TEST_CASE("the emulation finds a block's threads at different barriers", "[kernels]") {
  CHECK_THROWS_AS(cuda::emulation::run(1, 8, 0,
                                       [] {
                                         if (cuda::threadIdx.x < 4) {
                                           __syncthreads();
                                         } else {
                                           __syncthreads();
                                         }
                                       }),
                  std::logic_error);
  CHECK_THROWS_AS(cuda::emulation::run(1, 8, 0, [] { if (cuda::threadIdx.x < 4) __syncthreads(); }), std::logic_error);
}

TEST_CASE("the emulation shows a missing barrier as a result that depends on the order", "[kernels]") {
  const auto last_writer = [](Order order) {
    cuda::emulation::set_order(order);
    unsigned cell = 0;
    cuda::emulation::run(1, 8, 0, [&] { cell = cuda::threadIdx.x; });
    cuda::emulation::set_order(Order::forward);
    return cell;
  };
  CHECK(last_writer(Order::forward) == 7);
  CHECK(last_writer(Order::backward) == 0);
}

TEST_CASE("the k nearest by kernels are the operator's, whatever the columns of a tile", "[kernels]") {
  torch::manual_seed(1);
  const EachOrder order;
  struct Size {
    int64_t n, m, d, k, tile;
  };
  for (const auto& s : {Size{1, 1, 1, 1, 1}, Size{3, 257, 7, 21, 100}, Size{2, 1023, 5, 1000, 1023}, Size{5, 700, 2, 0, 256},
                        Size{4, 1500, 3, 5, 700}}) {
    const Tensor x = whole(s.n, s.d), y = whole(s.m, s.d);
    check_same(kernel_topk(x, y, s.k, Metric::euclidean, false, s.tile), distance_topk(x, y, s.k, Metric::euclidean));
  }
  const Tensor x = whole(40, 4);
  check_same(kernel_topk(x, x, 9, Metric::euclidean, true, 16), distance_topk_within(x, 9, Metric::euclidean));
  const Tensor real = torch::randn({6, 16}), others = torch::randn({300, 16});
  const auto by_kernel = kernel_topk(real, others, 4, Metric::cosine, false, 128);
  CHECK(by_kernel.distance.allclose(distance_topk(real, others, 4, Metric::cosine).distance, 1e-5, 1e-6));
}

TEST_CASE("distances that aren't numbers are nobody's nearest, by kernels as by the operator", "[kernels]") {
  torch::manual_seed(6);
  const EachOrder order;
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  const Tensor x = whole(4, 5);
  for (const float bad : {nan, -nan, infinity}) {
    Tensor y = whole(300, 5);
    y[7][2] = y[280][0] = bad;  // and a distance to infinity is inf - inf
    for (const auto metric : {Metric::euclidean, Metric::cosine}) {
      if (metric == Metric::cosine) y.abs_().add_(1);  // no zero vector, no tie to be rounded
      const auto here = distance_topk(x.abs() + 1, y, 298, metric), there = kernel_topk(x.abs() + 1, y, 298, metric, false, 128);
      if (metric == Metric::euclidean) check_same(there, here);
      CHECK(there.distance.allclose(here.distance, 1e-5, 1e-6));
      CHECK(there.farthest.allclose(here.farthest, 1e-5, 1e-6));
      CHECK_FALSE(there.index.eq(7).any().item<bool>());
      CHECK_FALSE(there.index.eq(280).any().item<bool>());
      // Where there are fewer numbers the operator refuses, by what the kernels leave.
      CHECK_THROWS_WITH(distance_topk(x.abs() + 1, y, 299, metric), "distance_topk: distances must be numbers, got NaN");
      const auto short_of = kernel_topk(x.abs() + 1, y, 299, metric, false, 128);
      CHECK(short_of.distance.select(1, 298).isnan().all().item<bool>());
      CHECK(short_of.index.select(1, 298).eq(-1).all().item<bool>());
    }
  }
  Tensor set = whole(40, 4);
  set[11][1] = nan;
  CHECK_THROWS_AS(distance_topk_within(set, 2, Metric::euclidean), reid::InputError);  // row 11 has itself alone
  const auto within = kernel_topk(set, set, 2, Metric::euclidean, true, 16);
  CHECK(within.distance.isnan().nonzero().equal(torch::tensor({{11L, 1L}})));
  check_same(kernel_topk(set, set, 1, Metric::euclidean, true, 16), distance_topk_within(set, 1, Metric::euclidean));
}

TEST_CASE("rows whose squares float32 doesn't hold are prepared for a device as for the CPU", "[kernels]") {
  torch::manual_seed(7);
  const Tensor directions = torch::randn({60, 8});
  const Tensor lengths = torch::tensor({1e-30F, 1e-20F, 1.0F, 1e20F, 1e37F}).repeat({12}).unsqueeze(1);
  Tensor x = directions * lengths;
  x[3].zero_();
  const Tensor expected = distance_topk_within(x, 60, Metric::cosine).distance;
  CHECK(kernel_topk(x, x, 60, Metric::cosine, true, 32).distance.allclose(expected, 1e-5, 1e-6));
  Tensor unit = directions.clone();
  unit[3].zero_();
  CHECK(expected.allclose(distance_topk_within(unit, 60, Metric::cosine).distance, 1e-5, 1e-6));
  CHECK(unit_rows(torch::empty({3, 0})).sizes() == torch::IntArrayRef({3, 0}));
}

TEST_CASE("places by kernels are the operator's, the gallery whole or in parts", "[kernels]") {
  torch::manual_seed(2);
  const EachOrder order;
  for (const int64_t gallery : {1, 255, 600}) {
    const Tensor distances = torch::randint(0, 7, {5, gallery}).to(torch::kFloat32);
    const SparseRows hits = random_rows(5, gallery, 0.1);
    const Tensor removed = torch::rand({hits.items.size(0)}) < 0.3;
    const int64_t *offsets = hits.starts.data_ptr<int64_t>(), count = hits.items.size(0);
    const int32_t* items = hits.items.data_ptr<int32_t>();
    for (const auto ties : {Ties::stable, Ties::worst, Ties::best}) {
      const int number = ties == Ties::stable ? 0 : ties == Ties::worst ? 1 : 2;
      const Tensor hit_distances = torch::zeros({count}), places = torch::zeros({count}, torch::kInt64);
      std::vector<Tensor> lines;
      const int64_t step = gallery > 1 ? gallery / 2 : 1;
      for (int64_t first = 0; first < gallery; first += step) {
        lines.push_back(distances.narrow(1, first, std::min(step, gallery - first)).contiguous());
        REQUIRE(cuda::gather_hits(lines.back().data_ptr<float>(), 5, lines.back().size(1), first, offsets, items,
                                  hit_distances.data_ptr<float>(), nullptr) == 0);
      }
      int64_t first = 0;
      for (const auto& line : lines) {
        REQUIRE(cuda::count_before(line.data_ptr<float>(), 5, line.size(1), first, offsets, items,
                                   hit_distances.data_ptr<float>(), number, places.data_ptr<int64_t>(), nullptr) == 0);
        first += line.size(1);
      }
      REQUIRE(cuda::place_hits(5, offsets, items, removed.data_ptr<bool>(), hit_distances.data_ptr<float>(), number,
                               places.data_ptr<int64_t>(), nullptr) == 0);
      CHECK(places.equal(rank_hits(distances, hits.starts, hits.items, removed, ties)));
    }
  }
}

TEST_CASE("overlaps of sparse rows by the kernel are the operator's to the bit", "[kernels]") {
  torch::manual_seed(3);
  const EachOrder order;
  const SparseRows x = random_rows(7, 300, 0.1), y = random_rows(90, 300, 0.2);
  const SparseRows inverted = transposed(y, 10, 90, 300);
  for (const auto pairing : {Pairing::minimum, Pairing::product}) {
    for (const bool half : {false, true}) {
      const Tensor sums = torch::full({5, 80}, 9.0F);
      REQUIRE(cuda::overlap(x.starts.data_ptr<int64_t>() + 2, x.items.data_ptr<int32_t>(), x.values.data_ptr<float>(), 5,
                            inverted.starts.data_ptr<int64_t>(), inverted.items.data_ptr<int32_t>(),
                            inverted.values.data_ptr<float>(), 80, pairing == Pairing::minimum ? 0 : 1, half,
                            sums.data_ptr<float>(), nullptr) == 0);
      CHECK(sums.equal(sparse_overlap(x, 2, 7, inverted, 80, pairing, half)));
    }
  }
}

TEST_CASE("reciprocal neighbours by the kernel are the operator's", "[kernels]") {
  torch::manual_seed(4);
  const EachOrder order;
  const Tensor index = distance_topk_within(torch::randn({120, 3}), 12, Metric::euclidean).index;
  for (const int64_t count : {0, 1, 7, 12}) {
    const Tensor mutual = torch::zeros({120, count}, torch::kBool);
    REQUIRE(cuda::reciprocal(index.data_ptr<int32_t>(), 120, 12, count, mutual.data_ptr<bool>(), nullptr) == 0);
    CHECK(mutual.equal(reciprocal_neighbours(index, count)));
  }
}

TEST_CASE("batch-hard pairs by the kernel are the operator's, with ties and values that aren't numbers", "[kernels]") {
  torch::manual_seed(5);
  const EachOrder order;
  for (const int64_t rows : {1, 2, 64, 300}) {
    for (const bool with_self : {true, false}) {
      Tensor distances = torch::randint(0, 5, {rows, rows}).to(torch::kFloat32);
      if (rows == 64) distances[3][7] = distances[3][50] = std::nan("");
      const Tensor labels = torch::randint(0, 6, {rows}, torch::kInt64);
      for (const auto type : {torch::kFloat32, torch::kFloat64}) {
        const Tensor d = distances.to(type);
        const Tensor positive = torch::zeros({rows}, torch::kInt64), negative = torch::zeros({rows}, torch::kInt64);
        const auto run = [&](const auto* data) {
          return cuda::batch_hard(data, labels.data_ptr<int64_t>(), rows, with_self, positive.data_ptr<int64_t>(),
                                  negative.data_ptr<int64_t>(), nullptr);
        };
        REQUIRE((type == torch::kFloat32 ? run(d.data_ptr<float>()) : run(d.data_ptr<double>())) == 0);
        const auto twin = batch_hard(d, labels, with_self);
        CHECK(positive.equal(twin.positive));
        CHECK(negative.equal(twin.negative));
      }
    }
  }
}
