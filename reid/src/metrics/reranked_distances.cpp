// SPDX-License-Identifier: Apache-2.0
// Re-ranking by sparse rows over N = Q + G items, queries first, made once; then distances by rows
// of queries. The steps of k-reciprocal encoding, to which comments refer by number: 1 scale rows, 2 sort them to lists,
// 3 reciprocal sets, 4 expanded sets, 5 encoding, 6 means over neighbours, 7 Jaccard distance, 8 blend.
#include <ATen/Parallel.h>
#include <c10/util/Half.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "distance_source.hpp"
#include "neighbours.hpp"
#include "reid/core/error.hpp"
#include "rerank_spec.hpp"

namespace reid::metrics {
namespace {

using torch::Tensor;

struct Entry {
  int32_t item;
  float value;
};
using SparseRow = std::vector<Entry>;
using SparseRows = std::vector<SparseRow>;
using Sets = std::vector<std::vector<int32_t>>;

float to_half(float value) { return static_cast<float>(c10::Half(value)); }

Tensor unit_rows(const Tensor& x) {
  const Tensor wide = x.to(torch::kFloat64);
  const Tensor norms = wide.square().sum(1, true).sqrt();
  return (wide / norms.masked_fill(norms == 0, 1)).to(torch::kFloat32);
}

void check_count(const std::string& variant, const char* what, int64_t count, int64_t items) {
  REID_CHECK(count <= items, InputError,
             fmt::format("rerank {}: {} must be at most queries + gallery = {}, got {}", variant, what, items, count));
}

/// Adds rows into a dense scratch line and takes them out again as a sparse row, ascending by item.
class Accumulator {
 public:
  explicit Accumulator(int64_t items) : values_(static_cast<std::size_t>(items), 0.0), seen_(values_.size(), 0) {}
  void add(const SparseRow& row, double weight) {
    for (const auto& entry : row) {
      const auto item = static_cast<std::size_t>(entry.item);
      if (!seen_[item]) {
        seen_[item] = 1;
        touched_.push_back(entry.item);
      }
      values_[item] += weight * static_cast<double>(entry.value);
    }
  }
  SparseRow take(double factor) {
    std::sort(touched_.begin(), touched_.end());
    SparseRow row;
    row.reserve(touched_.size());
    for (const int32_t touched : touched_) {
      const auto item = static_cast<std::size_t>(touched);
      row.push_back({touched, static_cast<float>(values_[item] * factor)});
      values_[item] = 0;
      seen_[item] = 0;
    }
    touched_.clear();
    return row;
  }

 private:
  std::vector<double> values_;
  std::vector<uint8_t> seen_;
  std::vector<int32_t> touched_;
};

/// For each item the gallery rows that have it: column `item` of the gallery's sparse rows.
SparseRows inverted(const SparseRows& rows, int64_t queries) {
  SparseRows index(rows.size());
  for (std::size_t i = static_cast<std::size_t>(queries); i < rows.size(); ++i) {
    for (const auto& entry : rows[i]) {
      index[static_cast<std::size_t>(entry.item)].push_back({static_cast<int32_t>(i) - static_cast<int32_t>(queries), entry.value});
    }
  }
  return index;
}

// k-reciprocal encoding ----------------------------------------------------------------------------------------

class KReciprocal : public DistanceSource {
 public:
  KReciprocal(const Tensor& query, const Tensor& gallery, ops::Metric metric, ops::Product product,
              const RerankOptions& options, const ProgressSink& progress)
      : spec_(rerank_spec(options.variant)),
        options_(options),
        queries_(query.size(0)),
        items_(query.size(0) + gallery.size(0)) {
    const int64_t k1 = *options.k1, k2 = *options.k2;
    check_count(options.variant, "k1 + 1", k1 + 1, items_);
    check_count(options.variant, spec_.expand_one_more ? "k2 + 1" : "k2", k2 + (spec_.expand_one_more ? 1 : 0), items_);
    base_ = spec_.base == BaseDistance::metric    ? metric
            : spec_.base == BaseDistance::cosine  ? ops::Metric::cosine
                                                  : ops::Metric::euclidean;
    const bool cosine_of_units = spec_.unit_rows_under_cosine && metric == ops::Metric::cosine;
    blend_scale_ = cosine_of_units ? 0.5F : 1.0F;  // 1 - s = |x - y|^2 / 2 of unit rows
    features_ = at::cat({query, gallery}).contiguous();
    if (spec_.unit_rows || cosine_of_units) features_ = unit_rows(features_);
    if (half_everywhere()) features_ = features_.to(torch::kFloat16).to(torch::kFloat32);
    encode(product, progress);
    rows_ = std::make_unique<ops::DistanceRows>(features_.narrow(0, 0, queries_),
                                                features_.narrow(0, queries_, items_ - queries_), base_, product);
  }

  ops::Product product() const override { return rows_->product(); }

  void compute(int64_t begin, int64_t end, float* out) const override {
    rows_->compute(begin, end, out);
    const int64_t gallery = items_ - queries_;
    const auto lambda = static_cast<float>(*options_.lambda);
    at::parallel_for(begin, end, 1, [&](int64_t first, int64_t last) {
      std::vector<float> shared(static_cast<std::size_t>(gallery));
      for (int64_t q = first; q < last; ++q) {
        std::fill(shared.begin(), shared.end(), 0.0F);  // m = sum_j min(V[q,j], V[g,j])
        for (const auto& own : encoding_[static_cast<std::size_t>(q)]) {
          for (const auto& other : index_[static_cast<std::size_t>(own.item)]) {
            shared[static_cast<std::size_t>(other.item)] += std::min(own.value, other.value);
          }
        }
        float* line = out + (q - begin) * gallery;
        const float scale = neighbours_.scale[static_cast<std::size_t>(q)];
        for (int64_t g = 0; g < gallery; ++g) {
          const float jaccard = jaccard_distance(shared[static_cast<std::size_t>(g)], q, g);
          const float distance = spec_.scale_rows ? scaled(transformed(line[g]), scale) : blend_scale_ * transformed(line[g]);
          line[g] = (1 - lambda) * jaccard + lambda * distance;
        }
      }
    });
  }

 private:
  bool half_everywhere() const { return options_.emulate_half && spec_.half == HalfArrays::all; }

  float transformed(float distance) const {
    const float positive = std::max(distance, 0.0F);
    return spec_.transform == Transform::square ? positive * positive : positive;
  }
  float scaled(float distance, float largest) const {
    const float value = largest > 0 ? distance / largest : 0.0F;  // all items equal: all at distance 0
    return half_everywhere() ? to_half(value) : value;
  }

  float jaccard_distance(float shared, int64_t q, int64_t g) const {
    float jaccard = 0;
    if (spec_.jaccard_of_maxima) {
      const float maxima = sums_[static_cast<std::size_t>(q)] + sums_[static_cast<std::size_t>(queries_ + g)] - shared;
      jaccard = 1 - shared / (maxima + 1e-12F);
    } else {
      jaccard = 1 - shared / (2 - shared);
    }
    if (spec_.clip_jaccard) jaccard = std::max(jaccard, 0.0F);
    return options_.emulate_half ? to_half(jaccard) : jaccard;
  }

  /// Those of the first `count` items of i's list in whose first `count` items i is. Ascending.
  std::vector<int32_t> reciprocal(int64_t i, int64_t count) const {
    std::vector<int32_t> set;
    for (const int32_t j : neighbours_.of(i, count)) {
      const auto back = neighbours_.of(j, count);
      if (std::find(back.begin(), back.end(), static_cast<int32_t>(i)) != back.end()) set.push_back(j);
    }
    std::sort(set.begin(), set.end());
    return set;
  }

  /// Distance in float64 of a pair of rows, before transform and scale.
  double pair_distance(int64_t i, int64_t j, const float* data, int64_t columns) const {
    if (i == j) return 0;
    const float *x = data + i * columns, *y = data + j * columns;
    double xx = 0, yy = 0, xy = 0, difference = 0;
    if (base_ == ops::Metric::euclidean) {
      for (int64_t k = 0; k < columns; ++k) {
        const double d = static_cast<double>(x[k]) - static_cast<double>(y[k]);
        difference += d * d;
      }
      return difference;
    }
    for (int64_t k = 0; k < columns; ++k) {
      xx += static_cast<double>(x[k]) * static_cast<double>(x[k]);
      yy += static_cast<double>(y[k]) * static_cast<double>(y[k]);
      xy += static_cast<double>(x[k]) * static_cast<double>(y[k]);
    }
    return std::max(0.0, 1 - xy / std::sqrt(xx * yy));
  }

  void encode(ops::Product product, const ProgressSink& progress) {
    const int64_t k1 = *options_.k1, k2 = *options_.k2;
    const int64_t own_count = spec_.list_without_extra ? k1 : k1 + 1;
    const auto half_even = static_cast<int64_t>(std::nearbyint(static_cast<double>(k1) / 2));
    const int64_t half_count = spec_.matlab_half ? (k1 + 2) / 2 : half_even + 1;  // (k1+1)/2, halves rounded up
    const int64_t expanded = spec_.expand_one_more ? k2 + 1 : k2;
    neighbours_ = nearest(
        features_, base_, product, std::min(items_, std::max({own_count, half_count, expanded})),
        [this](std::span<float> line) {
          float largest = 0;
          for (float& distance : line) {
            distance = transformed(distance);
            largest = std::max(largest, distance);
          }
          if (!spec_.scale_rows) return 1.0F;
          for (float& distance : line) distance = scaled(distance, largest);
          return largest;
        },
        progress);
    const auto n = static_cast<std::size_t>(items_);
    Sets halves(n);
    at::parallel_for(0, items_, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) halves[static_cast<std::size_t>(i)] = reciprocal(i, half_count);
    });
    encoding_.resize(n);
    const float* data = features_.const_data_ptr<float>();
    at::parallel_for(0, items_, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) encoding_[static_cast<std::size_t>(i)] = encoded(i, own_count, halves, data);
    });
    if (spec_.expand_one_more || k2 != 1) average_neighbours(expanded);
    index_ = inverted(encoding_, queries_);
    sums_.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
      double sum = 0;
      for (const auto& entry : encoding_[i]) sum += static_cast<double>(entry.value);
      sums_[i] = static_cast<float>(sum);
    }
  }

  /// The expanded set R* of item i, and exp(-D) over it as shares of 1.
  SparseRow encoded(int64_t i, int64_t own_count, const Sets& halves, const float* data) const {
    const auto own = reciprocal(i, own_count);
    std::vector<int32_t> set = own, shared;
    for (const int32_t candidate : own) {
      const auto& half = halves[static_cast<std::size_t>(candidate)];
      shared.clear();
      std::set_intersection(half.begin(), half.end(), own.begin(), own.end(), std::back_inserter(shared));
      if (3 * shared.size() > 2 * half.size()) set.insert(set.end(), half.begin(), half.end());
    }
    std::sort(set.begin(), set.end());
    set.erase(std::unique(set.begin(), set.end()), set.end());
    const auto largest = static_cast<double>(neighbours_.scale[static_cast<std::size_t>(i)]);
    std::vector<double> weights;
    double sum = 0;
    for (const int32_t j : set) {
      double distance = pair_distance(i, j, data, features_.size(1));
      if (spec_.transform == Transform::square) distance *= distance;
      if (spec_.scale_rows) distance = largest > 0 ? distance / largest : 0;
      if (half_everywhere()) distance = static_cast<double>(to_half(static_cast<float>(distance)));
      weights.push_back(std::exp(-distance));
      sum += weights.back();
    }
    SparseRow row;
    for (std::size_t k = 0; k < set.size(); ++k) row.push_back({set[k], rounded(static_cast<float>(weights[k] / sum))});
    return row;
  }

  float rounded(float value) const { return options_.emulate_half ? to_half(value) : value; }

  void average_neighbours(int64_t count) {
    SparseRows averaged(encoding_.size());
    at::parallel_for(0, items_, 64, [&](int64_t begin, int64_t end) {
      Accumulator sum(items_);
      for (int64_t i = begin; i < end; ++i) {
        for (const int32_t j : neighbours_.of(i, count)) sum.add(encoding_[static_cast<std::size_t>(j)], 1);
        auto row = sum.take(1.0 / static_cast<double>(count));
        for (auto& entry : row) entry.value = rounded(entry.value);
        averaged[static_cast<std::size_t>(i)] = std::move(row);
      }
    });
    encoding_ = std::move(averaged);
  }

  const RerankSpec& spec_;
  RerankOptions options_;
  int64_t queries_, items_;
  ops::Metric base_ = ops::Metric::cosine;
  float blend_scale_ = 1;
  Tensor features_;
  Neighbours neighbours_;
  SparseRows encoding_, index_;
  std::vector<float> sums_;
  std::unique_ptr<ops::DistanceRows> rows_;
};

// Graph propagation --------------------------------------------------------------------------------------------

class Propagation : public DistanceSource {
 public:
  Propagation(const Tensor& query, const Tensor& gallery, ops::Product product, const RerankOptions& options,
              const ProgressSink& progress)
      : queries_(query.size(0)), items_(query.size(0) + gallery.size(0)) {
    const int64_t k1 = *options.k1, k2 = *options.k2;
    check_count(options.variant, "k1", k1, items_);
    REID_CHECK(k2 <= k1, InputError, fmt::format("rerank gnn: k2 must be at most k1 = {}, got {}", k1, k2));
    const Tensor features = at::cat({query, gallery}).contiguous();
    const auto neighbours =
        nearest(features, ops::Metric::cosine, product, k1, [](std::span<float>) { return 1.0F; }, progress);
    graph_.resize(static_cast<std::size_t>(items_));
    for (int64_t i = 0; i < items_; ++i) {
      auto& row = graph_[static_cast<std::size_t>(i)];
      for (const int32_t j : neighbours.of(i, k1)) row.push_back({j, 1.0F});
      std::sort(row.begin(), row.end(), [](const Entry& a, const Entry& b) { return a.item < b.item; });
    }
    for (int round = 0; k2 != 1 && round < 2; ++round) propagate(neighbours, k2);
    index_ = inverted(graph_, queries_);
    product_ = ops::DistanceRows(features.narrow(0, 0, 1), features, ops::Metric::cosine, product).product();
  }

  ops::Product product() const override { return product_; }

  /// Minus the inner product of the propagated rows: small is near.
  void compute(int64_t begin, int64_t end, float* out) const override {
    const int64_t gallery = items_ - queries_;
    at::parallel_for(begin, end, 1, [&](int64_t first, int64_t last) {
      for (int64_t q = first; q < last; ++q) {
        float* line = out + (q - begin) * gallery;
        std::fill(line, line + gallery, 0.0F);
        for (const auto& own : graph_[static_cast<std::size_t>(q)]) {
          for (const auto& other : index_[static_cast<std::size_t>(own.item)]) line[other.item] -= own.value * other.value;
        }
      }
    });
  }

 private:
  void propagate(const Neighbours& neighbours, int64_t k2) {
    SparseRows transposed(graph_.size());
    for (std::size_t i = 0; i < graph_.size(); ++i) {
      for (const auto& entry : graph_[i]) {
        transposed[static_cast<std::size_t>(entry.item)].push_back({static_cast<int32_t>(i), entry.value});
      }
    }
    SparseRows next(graph_.size());
    at::parallel_for(0, items_, 64, [&](int64_t begin, int64_t end) {
      Accumulator sum(items_);
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t k = 0; k < k2; ++k) {
          const auto at = static_cast<std::size_t>(i * neighbours.count + k);
          const auto j = static_cast<std::size_t>(neighbours.index[at]);
          const double similarity = 1 - static_cast<double>(neighbours.distance[at]);
          sum.add(graph_[j], similarity * similarity);
          sum.add(transposed[j], similarity * similarity);
        }
        SparseRow row = sum.take(1);
        double squares = 0;
        for (const auto& entry : row) squares += static_cast<double>(entry.value) * static_cast<double>(entry.value);
        const auto scale = static_cast<float>(squares > 0 ? 1 / std::sqrt(squares) : 0);
        for (auto& entry : row) entry.value *= scale;
        next[static_cast<std::size_t>(i)] = std::move(row);
      }
    });
    graph_ = std::move(next);
  }

  int64_t queries_, items_;
  SparseRows graph_, index_;
  ops::Product product_ = ops::Product::aten;
};

// Query expansion ----------------------------------------------------------------------------------------------

/// All features replaced by weighted means of their nearest, queries and gallery together.
Tensor expanded_features(const Tensor& all, ops::Product product, const RerankOptions& options,
                         const ProgressSink& progress) {
  const RerankSpec& spec = rerank_spec(options.variant);
  const int64_t items = all.size(0), columns = all.size(1), k = *options.k1;
  check_count(options.variant, "k1", k, items);
  const double alpha = *options.alpha;
  Tensor features = all;
  for (int64_t round = 0; round < *options.times; ++round) {
    if (spec.unit_rows) features = unit_rows(features);
    const auto neighbours =
        nearest(features, ops::Metric::cosine, product, k, [](std::span<float>) { return 1.0F; }, progress);
    const Tensor next = torch::empty_like(features);
    const float* from = features.const_data_ptr<float>();
    float* to = next.data_ptr<float>();
    at::parallel_for(0, items, 16, [&](int64_t begin, int64_t end) {
      std::vector<double> sum(static_cast<std::size_t>(columns));
      for (int64_t i = begin; i < end; ++i) {
        std::fill(sum.begin(), sum.end(), 0.0);
        for (int64_t n = 0; n < k; ++n) {
          const auto at = static_cast<std::size_t>(i * k + n);
          double similarity = 1 - static_cast<double>(neighbours.distance[at]);
          if (spec.unit_rows) similarity = std::max(similarity, 0.0);
          const double weight = std::pow(similarity, alpha);
          REID_CHECK(std::isfinite(weight), InputError,
                     fmt::format("rerank {}: alpha must be a whole number where a similarity is negative, got {}",
                                 options.variant, alpha));
          const float* row = from + int64_t{neighbours.index[at]} * columns;
          for (int64_t c = 0; c < columns; ++c) sum[static_cast<std::size_t>(c)] += weight * static_cast<double>(row[c]);
        }
        for (int64_t c = 0; c < columns; ++c) {
          to[i * columns + c] = static_cast<float>(sum[static_cast<std::size_t>(c)] / static_cast<double>(k));
        }
      }
    });
    features = next;
  }
  return features;
}

}  // namespace

std::unique_ptr<DistanceSource> reranked_distances(const Tensor& query, const Tensor& gallery, ops::Metric metric,
                                                   ops::Product product, const RerankOptions& resolved,
                                                   const ProgressSink& progress) {
  switch (rerank_spec(resolved.variant).kind) {
    case RerankKind::k_reciprocal:
      return std::make_unique<KReciprocal>(query, gallery, metric, product, resolved, progress);
    case RerankKind::gnn:
      return std::make_unique<Propagation>(query, gallery, product, resolved, progress);
    case RerankKind::aqe: {
      const Tensor all = expanded_features(at::cat({query, gallery}).contiguous(), product, resolved, progress);
      return plain_distances(all.narrow(0, 0, query.size(0)), all.narrow(0, query.size(0), gallery.size(0)), metric,
                             product);
    }
  }
  REID_ASSERT(false);
  return nullptr;
}

}  // namespace reid::metrics
