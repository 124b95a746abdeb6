// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/search.hpp"

#include <torch/torch.h>

#include <limits>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/metrics/npy.hpp"
#include "reid/ops/parallel.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using torch::Tensor;

namespace {

engine::Gallery gallery_of(const Tensor& features) {
  engine::Gallery gallery{features, {}, "gallery.npy"};
  for (int64_t i = 0; i < features.size(0); ++i) gallery.paths.push_back(std::string("p").append(std::to_string(i)).append(".jpg"));
  return gallery;
}

}  // namespace

TEST_CASE("search by hand: order, ties, zero rows", "[engine][search]") {
  // Lengths don't matter; rows 1 and 4 are equally near, row 3 is zero.
  const auto gallery = gallery_of(torch::tensor({{0.0F, 1.0F}, {3.0F, 0.0F}, {1.0F, 1.0F}, {0.0F, 0.0F}, {0.5F, 0.0F}, {-2.0F, 0.0F}}));
  const auto found = engine::search(torch::tensor({{2.0F, 0.0F}}), gallery, 6);
  CHECK(found.index.equal(torch::tensor({{1, 4, 2, 0, 3, 5}}, torch::kInt64)));
  CHECK(torch::allclose(found.similarity, torch::tensor({{1.0F, 1.0F, 0.70710678F, 0.0F, 0.0F, -1.0F}}), 0, 1e-6));
  const auto two = engine::search(torch::tensor({{2.0F, 0.0F}, {0.0F, -1.0F}}), gallery, 1);
  CHECK(two.index.equal(torch::tensor({{1}, {1}}, torch::kInt64)));  // second: nothing is below; 0 is the best there is
  CHECK(two.similarity[1][0].item<float>() == 0);
}

TEST_CASE("search equals sorting all cosines, for any number of queries and rows", "[engine][search]") {
  torch::manual_seed(2);
  for (const auto& [n, m, d] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1}, {1, 3000, 33}, {4, 1025, 70}, {7, 1025, 5}, {300, 700, 16}, {2, 40, 20000}}) {
    CAPTURE(n, m, d);
    const auto queries = torch::randn({n, d}), features = torch::randn({m, d}) * torch::rand({m, 1}).mul(3).exp();
    const int64_t top = std::min<int64_t>(m, 12);
    const auto found = engine::search(queries, gallery_of(features), top);
    const auto unit = [](const Tensor& x) { return x.to(torch::kFloat64) / x.to(torch::kFloat64).norm(2, 1, true); };
    const auto cosine = torch::matmul(unit(queries), unit(features).t());
    const auto best = std::get<0>(cosine.topk(top, 1));
    CHECK((found.similarity.to(torch::kFloat64) - best).abs().max().item<double>() < 1e-6);
    CHECK((cosine.gather(1, found.index) - best).abs().max().item<double>() < 1e-6);
    // The same bits whatever the number of threads.
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    const auto alone = engine::search(queries, gallery_of(features), top);
    at::set_num_threads(threads);
    CHECK(alone.index.equal(found.index));
    CHECK(alone.similarity.equal(found.similarity));
  }
}

TEST_CASE("rows of any finite length are searched by their direction", "[engine][search]") {
  // Squares of these leave float32.
  const auto direction = torch::tensor({3.0F, 4.0F, 0.0F});
  const auto gallery = gallery_of(torch::stack({direction * 1e25F, direction * 1e-25F, torch::tensor({4.0F, -3.0F, 0.0F}) * 1e30F,
                                                torch::zeros({3}), direction * 1e-3F}));
  for (const int64_t queries : {1, 6}) {
    CAPTURE(queries);
    const auto found = engine::search((direction * 1e20F).expand({queries, 3}), gallery, 5);
    for (int64_t i = 0; i < queries; ++i) {
      CHECK(torch::allclose(found.similarity[i].narrow(0, 0, 3), torch::ones({3}), 0, 1e-5));
      CHECK(found.similarity[i].narrow(0, 3, 2).abs().max().item<float>() < 1e-6F);
    }
  }
}

TEST_CASE("a row that isn't finite is named", "[engine][search]") {
  auto features = torch::ones({2000, 8});
  features[1234][3] = std::numeric_limits<float>::quiet_NaN();
  features[1700][0] = std::numeric_limits<float>::infinity();
  const auto query = torch::ones({1, 8});
  CHECK_THROWS_WITH(engine::search(query, gallery_of(features), 3), Contains("gallery.npy: features must be finite, got NaN in row 1234 (p1234.jpg)"));
  CHECK_THROWS_AS(engine::search(query, gallery_of(features), 3), InputError);
  features[1234][3] = 1;
  // A query that is zero where the value stands doesn't hide it.
  auto blind = query.clone();
  blind[0][0] = 0;
  for (const auto& asked : {query, blind, torch::cat({blind, query}), torch::zeros({1, 8}), blind.expand({9, 8})}) {
    CHECK_THROWS_WITH(engine::search(asked, gallery_of(features), 3), Contains("got an infinite value in row 1700"));
  }
  features[1700][0] = 1;
  blind[0][1] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(engine::search(blind, gallery_of(features), 3), ShapeError);
}

TEST_CASE("what a search can't do", "[engine][search]") {
  const auto gallery = gallery_of(torch::ones({5, 4}));
  const auto query = torch::ones({1, 4});
  CHECK_THROWS_WITH(engine::search(query, gallery, 0), Contains("between 1 and the gallery's 5, got 0"));
  CHECK_THROWS_WITH(engine::search(query, gallery, 6), Contains("got 6"));
  CHECK_THROWS_WITH(engine::search(torch::ones({1, 3}), gallery, 1), Contains("as wide as the query's (3), got [5, 4]"));
  CHECK_THROWS_AS(engine::search(torch::ones({4}), gallery, 1), ShapeError);
  CHECK_THROWS_AS(engine::search(query.to(torch::kFloat64), gallery, 1), ShapeError);
  auto short_of_paths = gallery;
  short_of_paths.paths.pop_back();
  CHECK_THROWS_AS(engine::search(query, short_of_paths, 1), ShapeError);
}

TEST_CASE("a gallery from files: mapped features and a path for each row", "[engine][search]") {
  const test::TempDir folder;
  const auto features = folder / "f.npy", paths = folder / "p.txt";
  const auto values = torch::arange(12).to(torch::kFloat32).view({3, 4});
  metrics::write_npy(features, values);
  write_file_atomic(paths, std::string("a b.jpg\r\nc.jpg\nd.jpg"));
  const auto gallery = engine::open_gallery(features, paths);
  CHECK(gallery.features.equal(values));
  CHECK(gallery.paths == std::vector<std::string>{"a b.jpg", "c.jpg", "d.jpg"});
  CHECK(gallery.source == features.string());
  write_file_atomic(paths, std::string("a.jpg\nc.jpg\n"));
  CHECK_THROWS_WITH(engine::open_gallery(features, paths), Contains("p.txt: paths must be as many as rows") && Contains("(3), got 2"));
  write_file_atomic(paths, std::string("a.jpg\n\nc.jpg\n"));
  CHECK_THROWS_WITH(engine::open_gallery(features, paths), Contains("p.txt, line 2: line must be a path, got an empty one"));
  metrics::write_npy(features, torch::empty({0, 4}));
  CHECK_THROWS_WITH(engine::open_gallery(features, paths), Contains("f.npy: features must have rows, got none"));
  CHECK_THROWS_AS(engine::open_gallery(folder / "none.npy", paths), InputError);
}
