// SPDX-License-Identifier: Apache-2.0
#include "reid/engine/search.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <sstream>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/metrics/npy.hpp"
#include "reid/ops/check.hpp"
#include "reid/ops/distance.hpp"
#include "reid/ops/parallel.hpp"
#include "reid/ops/topk.hpp"

namespace reid::engine {
namespace {

using torch::Tensor;

constexpr int64_t kQueries = 256;  // at a time
constexpr int64_t kFew = 4;        // up to here rows are gone through one by one
constexpr int64_t kRowsAThread = 64;
/// Of the gallery: 512 KiB, which stay in the cache between their lengths and their products.
constexpr int64_t kBlockValues = 1 << 17;
constexpr int64_t kFewestRows = 16, kMostRows = 512;

[[noreturn]] void refuse_row(const Gallery& gallery, int64_t row) {
  const Tensor values = gallery.features[row];
  const bool nan = values.isnan().any().item<bool>();
  throw InputError(fmt::format("{}: features must be finite, got {} in row {} ({})", gallery.source,
                               nan ? "NaN" : "an infinite value", row, gallery.paths[static_cast<std::size_t>(row)]));
}

struct Sums {
  float product;  ///< <q, x>
  float squares;  ///< |x|^2
};

/// Both sums of `kRows` rows that lie behind each other, in one go. A row's sums don't depend on how many there are.
template <int64_t kRows>
[[gnu::always_inline]] inline void sums_pass(const float* q, const float* x, int64_t n, Sums* sums) {
  using Lanes = float __attribute__((vector_size(32)));
  constexpr int64_t kLanes = 8, kLines = 2, kStep = kLanes * kLines;
  Lanes products[kRows][kLines] = {}, squares[kRows][kLines] = {};
  int64_t k = 0;
  for (; k + kStep <= n; k += kStep) {
    for (int64_t line = 0; line < kLines; ++line) {
      Lanes a, b;
      std::memcpy(&a, q + k + kLanes * line, sizeof(a));
      for (int64_t row = 0; row < kRows; ++row) {
        std::memcpy(&b, x + row * n + k + kLanes * line, sizeof(b));
        products[row][line] += a * b;
        squares[row][line] += b * b;
      }
    }
  }
  for (int64_t row = 0; row < kRows; ++row) {
    const Lanes product = products[row][0] + products[row][1], square = squares[row][0] + squares[row][1];
    sums[row] = {0, 0};
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      sums[row].product += product[lane];
      sums[row].squares += square[lane];
    }
    for (int64_t i = k; i < n; ++i) {
      sums[row].product += q[i] * x[row * n + i];
      sums[row].squares += x[row * n + i] * x[row * n + i];
    }
  }
}

constexpr int64_t kTogether = 2;  // rows, so that a value of the query is loaded once for them

[[gnu::always_inline]] inline void sums_of_rows(const float* q, const float* x, int64_t n, int64_t rows, Sums* sums) {
  rows == kTogether ? sums_pass<kTogether>(q, x, n, sums) : sums_pass<1>(q, x, n, sums);
}

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] void sums_avx2(const float* q, const float* x, int64_t n, int64_t rows, Sums* sums) {
  sums_of_rows(q, x, n, rows, sums);
}

bool has_avx2() {
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has;
}
#else
bool has_avx2() { return false; }
void sums_avx2(const float*, const float*, int64_t, int64_t, Sums*) {}
#endif

/// The distance in double: for rows whose sums don't fit into float32. NaN if x isn't finite.
float exact_distance(const float* q, double q_length, const float* x, int64_t n) {
  double product = 0, squares = 0;
  for (int64_t k = 0; k < n; ++k) {
    product += static_cast<double>(q[k]) * static_cast<double>(x[k]);
    squares += static_cast<double>(x[k]) * static_cast<double>(x[k]);
  }
  if (!std::isfinite(squares)) return std::numeric_limits<float>::quiet_NaN();
  const double lengths = q_length * std::sqrt(squares);
  return static_cast<float>(lengths > 0 ? 1 - product / lengths : 1);
}

/// 1 - <q, x> / (|q| |x|) for one row, or for `kTogether`.
void distances(const float* q, double q_length, const float* x, int64_t n, int64_t rows, float* out) {
  constexpr float kSmallest = 1e-25F, kLargest = 1e25F;
  Sums sums[kTogether];
  has_avx2() ? sums_avx2(q, x, n, rows, sums) : sums_of_rows(q, x, n, rows, sums);
  for (int64_t row = 0; row < rows; ++row) {
    const auto [product, squares] = sums[row];
    if (!(squares > kSmallest && squares < kLargest && std::isfinite(product))) {
      out[row] = exact_distance(q, q_length, x + row * n, n);
      continue;
    }
    const double lengths = q_length * std::sqrt(static_cast<double>(squares));
    out[row] = static_cast<float>(lengths > 0 ? 1 - static_cast<double>(product) / lengths : 1);
  }
}

/// Distances [N, M] of few queries: each row is read once, and neither it nor its length is kept.
void distances_of_few(const Tensor& queries, const Tensor& gallery, const Tensor& out) {
  const int64_t n = queries.size(0), m = gallery.size(0), d = gallery.size(1);
  const auto* q = queries.const_data_ptr<float>();
  const auto* rows = gallery.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  std::vector<double> lengths;
  for (int64_t i = 0; i < n; ++i) lengths.push_back(queries[i].to(torch::kFloat64).norm().item<double>());
  ops::parallel_for(0, m, kRowsAThread, [&](int64_t first, int64_t last) {
    for (int64_t j = first; j < last; j += kTogether) {
      const int64_t count = std::min(kTogether, last - j);
      for (int64_t i = 0; i < n; ++i) {
        distances(q + i * d, lengths[static_cast<std::size_t>(i)], rows + j * d, d, count, to + i * m + j);
      }
    }
  });
}

/// Distances [N, M] of up to 256 queries to the whole gallery.
void distances_to_all(const Tensor& queries, const Tensor& gallery, const Tensor& out) {
  if (queries.size(0) <= kFew) return distances_of_few(queries, gallery, out);
  const int64_t m = gallery.size(0);
  const int64_t rows = std::clamp(kBlockValues / std::max<int64_t>(1, gallery.size(1)), kFewestRows, kMostRows);
  ops::parallel_for(0, (m + rows - 1) / rows, 1, [&](int64_t first, int64_t last) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    for (int64_t block = first; block < last; ++block) {
      const int64_t begin = block * rows, count = std::min(rows, m - begin);
      out.narrow(1, begin, count)
          .copy_(ops::pairwise_distance(queries, gallery.narrow(0, begin, count), ops::Metric::cosine, ops::Product::aten));
    }
  });
}

}  // namespace

Gallery open_gallery(const std::filesystem::path& features, const std::filesystem::path& paths) {
  Gallery gallery{metrics::read_npy_features(features), {}, features.string()};
  const auto rows = gallery.features.size(0);
  REID_CHECK(rows > 0, InputError, fmt::format("{}: features must have rows, got none", gallery.source));
  std::istringstream lines(read_file(paths));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    REID_CHECK(!line.empty(), InputError,
               fmt::format("{}, line {}: line must be a path, got an empty one", paths.string(), gallery.paths.size() + 1));
    gallery.paths.push_back(line);
  }
  REID_CHECK(static_cast<int64_t>(gallery.paths.size()) == rows, InputError,
             fmt::format("{}: paths must be as many as rows of {} ({}), got {}", paths.string(), gallery.source, rows,
                         gallery.paths.size()));
  return gallery;
}

Matches search(const Tensor& queries, const Gallery& gallery, int64_t top, const ProgressSink& progress) {
  const auto& features = gallery.features;
  for (const auto* tensor : {&queries, &features}) {
    const bool fits = tensor->defined() && tensor->dim() == 2 && tensor->scalar_type() == torch::kFloat32 && tensor->is_cpu();
    REID_CHECK(fits, ShapeError, fmt::format("search: queries and gallery must be [N, D] float32 on cpu, got {}", ops::describe(*tensor)));
  }
  const auto n = queries.size(0), m = features.size(0);
  REID_CHECK(m < std::numeric_limits<int32_t>::max(), ShapeError, fmt::format("search: gallery must have fewer than 2^31 rows, got {}", m));
  REID_CHECK(static_cast<int64_t>(gallery.paths.size()) == m, ShapeError,
             fmt::format("search: paths must be as many as rows ({}), got {}", m, gallery.paths.size()));
  REID_CHECK(queries.size(1) == features.size(1), InputError,
             fmt::format("{}: features must be as wide as the query's ({}), got {}", gallery.source, queries.size(1), ops::describe(features)));
  REID_CHECK(top >= 1 && top <= m, InputError,
             fmt::format("search: number of matches must be between 1 and the gallery's {}, got {}", m, top));
  REID_CHECK(queries.isfinite().all().item<bool>(), ShapeError, "search: queries must be finite, got NaN or an infinite value");

  const torch::NoGradGuard no_grad;
  const Tensor kept = queries.detach().contiguous();
  const Tensor rows = features.detach().contiguous();
  Matches result{torch::empty({n, top}, torch::kInt64), torch::empty({n, top})};
  const Tensor held = torch::empty({std::min(kQueries, n), m});
  for (int64_t begin = 0; begin < n; begin += kQueries) {
    const int64_t count = std::min(kQueries, n - begin);
    const Tensor tile = held.narrow(0, 0, count);
    distances_to_all(kept.narrow(0, begin, count), rows, tile);
    // Queries are finite, so a distance that isn't comes from the gallery.
    const Tensor bad = tile.isfinite().logical_not_().any(0);
    if (bad.any().item<bool>()) refuse_row(gallery, bad.to(torch::kInt64).argmax().item<int64_t>());
    ops::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
      std::vector<int32_t> index(static_cast<std::size_t>(top));
      for (int64_t i = first; i < last; ++i) {
        const std::span<const float> line(tile.const_data_ptr<float>() + i * m, static_cast<std::size_t>(m));
        const std::span<float> values(result.similarity.mutable_data_ptr<float>() + (begin + i) * top, index.size());
        ops::smallest(line, index, values);
        std::copy(index.begin(), index.end(), result.index.mutable_data_ptr<int64_t>() + (begin + i) * top);
        for (float& value : values) value = 1 - value;
      }
    });
    if (progress) progress({"search", begin + count, n, ""});
  }
  return result;
}

}  // namespace reid::engine
