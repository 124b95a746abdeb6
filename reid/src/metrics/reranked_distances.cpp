// SPDX-License-Identifier: Apache-2.0
// Re-ranking by sparse rows over N = Q + G items, queries first, made once; then distances by rows
// of queries. The steps of k-reciprocal encoding, to which comments refer by number: 1 scale rows, 2 sort them to lists,
// 3 reciprocal sets, 4 expanded sets, 5 encoding, 6 means over neighbours, 7 Jaccard distance, 8 blend.
#include <c10/util/Half.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <vector>

#include "distance_source.hpp"
#include "neighbours.hpp"
#include "reid/core/error.hpp"
#include "reid/ops/parallel.hpp"
#include "reid/ops/sparse.hpp"
#include "rerank_spec.hpp"

namespace reid::metrics {
namespace {

using torch::Tensor;

struct Entry {
  int32_t item;
  float value;
};
using SparseRow = std::vector<Entry>;
using RowList = std::vector<SparseRow>;
using Sets = std::vector<std::vector<int32_t>>;

float to_half(float value) { return static_cast<float>(c10::Half(value)); }

/// Sum of products in float64, eight sums side by side.
double dot(const float* x, const float* y, int64_t n) {
  double sums[8] = {};
  int64_t k = 0;
  for (; k + 8 <= n; k += 8) {
    for (int64_t s = 0; s < 8; ++s) sums[s] += static_cast<double>(x[k + s]) * static_cast<double>(y[k + s]);
  }
  for (; k < n; ++k) sums[0] += static_cast<double>(x[k]) * static_cast<double>(y[k]);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

double squared_difference(const float* x, const float* y, int64_t n) {
  double sums[8] = {};
  int64_t k = 0;
  const auto square = [&](int64_t at) {
    const double d = static_cast<double>(x[at]) - static_cast<double>(y[at]);
    return d * d;
  };
  for (; k + 8 <= n; k += 8) {
    for (int64_t s = 0; s < 8; ++s) sums[s] += square(k + s);
  }
  for (; k < n; ++k) sums[0] += square(k);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/// Scales the rows of a matrix of ours to length 1, in place; zero rows stay.
void make_unit_rows(Tensor& x) {
  const int64_t columns = x.size(1);
  float* data = x.data_ptr<float>();
  ops::parallel_for(0, x.size(0), 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* row = data + i * columns;
      const double length = std::sqrt(dot(row, row, columns));
      const double scale = length > 0 ? 1 / length : 0;
      for (int64_t k = 0; k < columns; ++k) row[k] = static_cast<float>(static_cast<double>(row[k]) * scale);
    }
  });
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

ops::SparseRows packed(const RowList& rows) {
  ops::SparseRows result{at::empty({static_cast<int64_t>(rows.size()) + 1}, torch::dtype(torch::kInt64)), {}, {}};
  auto* starts = result.starts.mutable_data_ptr<int64_t>();
  starts[0] = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) starts[i + 1] = starts[i] + static_cast<int64_t>(rows[i].size());
  result.items = at::empty({starts[rows.size()]}, torch::dtype(torch::kInt32));
  result.values = at::empty({starts[rows.size()]}, torch::dtype(torch::kFloat32));
  auto* items = result.items.mutable_data_ptr<int32_t>();
  auto* values = result.values.mutable_data_ptr<float>();
  for (const auto& row : rows) {
    for (const auto& entry : row) {
      *items++ = entry.item;
      *values++ = entry.value;
    }
  }
  return result;
}

/// The first `count` rows.
ops::SparseRows first_rows(const ops::SparseRows& rows, int64_t count) {
  const int64_t entries = rows.starts.const_data_ptr<int64_t>()[count];
  return {rows.starts.narrow(0, 0, count + 1), rows.items.narrow(0, 0, entries), rows.values.narrow(0, 0, entries)};
}

/// The queries' sparse rows, and for each part of the gallery its rows by item, on the part's device.
class OverlapParts {
 public:
  /// @param rows of queries and gallery, on the CPU
  OverlapParts(const ops::SparseRows& rows, int64_t queries, const std::vector<PartedGallery::Part>& parts) {
    const ops::SparseRows own = first_rows(rows, queries);
    for (const auto& part : parts) {
      const int64_t first = queries + part.first;
      queries_.push_back(own.to(part.device));
      inverted_.push_back(ops::transposed(rows, first, first + part.count, rows.rows()).to(part.device));
      columns_.push_back(part.count);
    }
  }
  Tensor overlap(std::size_t part, int64_t begin, int64_t end, ops::Pairing pairing, bool half) const {
    return ops::sparse_overlap(queries_[part], begin, end, inverted_[part], columns_[part], pairing, half);
  }

 private:
  std::vector<ops::SparseRows> queries_, inverted_;
  std::vector<int64_t> columns_;
};

torch::Device first_device(const Placement& placement) {
  return placement.devices.empty() ? torch::Device(torch::kCPU) : placement.devices.front();
}

// k-reciprocal encoding ----------------------------------------------------------------------------------------

class KReciprocal : public DistanceSource {
 public:
  KReciprocal(const Tensor& query, const Tensor& gallery, ops::Metric metric, const Placement& placement,
              const RerankOptions& options, const ProgressSink& progress)
      : spec_(rerank_spec(options.variant)),
        options_(options),
        queries_(query.size(0)),
        items_(query.size(0) + gallery.size(0)),
        tile_(gallery.size(0)) {
    REID_CHECK(placement.devices.empty() || !half_everywhere(), InputError,
               fmt::format("rerank {}: emulate_half must be false on a chosen device, got true", options.variant));
    const int64_t k1 = *options.k1, k2 = *options.k2;
    check_count(options.variant, "k1 + 1", k1 + 1, items_);
    check_count(options.variant, spec_.expand_one_more ? "k2 + 1" : "k2", k2 + (spec_.expand_one_more ? 1 : 0), items_);
    base_ = spec_.base == BaseDistance::metric    ? metric
            : spec_.base == BaseDistance::cosine  ? ops::Metric::cosine
                                                  : ops::Metric::euclidean;
    const bool cosine_of_units = spec_.unit_rows_under_cosine && metric == ops::Metric::cosine;
    blend_scale_ = cosine_of_units ? 0.5F : 1.0F;  // 1 - s = |x - y|^2 / 2 of unit rows
    features_ = at::cat({query, gallery});
    if (spec_.unit_rows || cosine_of_units) make_unit_rows(features_);
    if (half_everywhere()) features_ = features_.to(torch::kFloat16).to(torch::kFloat32);
    encode(placement, progress);
    const Tensor own = features_.narrow(0, 0, queries_), others = features_.narrow(0, queries_, items_ - queries_);
    if (placement.devices.empty()) {
      index_ = ops::transposed(encoding_, queries_, items_, items_);
      rows_ = std::make_unique<ops::DistanceRows>(own, others, base_, placement.product);
    } else {
      parts_ = std::make_unique<PartedGallery>(own, others, base_, placement);
      overlaps_ = std::make_unique<OverlapParts>(encoding_, queries_, parts_->parts());
    }
  }

  ops::Product product() const override { return rows_ ? rows_->product() : parts_->product(); }
  int64_t most_rows() const override { return rows_ ? tile_.most_rows() : parts_->most_rows(); }

  std::vector<ops::GalleryPart> compute(int64_t begin, int64_t end) override {
    if (parts_) {
      auto parts = parts_->distances(begin, end);
      for (std::size_t p = 0; p < parts.size(); ++p) parts[p].distances = blended_part(p, parts[p], begin, end);
      return parts;
    }
    const auto part = tile_.part(end - begin);
    compute_whole(begin, end, part.distances.mutable_data_ptr<float>());
    return {part};
  }

 private:
  void compute_whole(int64_t begin, int64_t end, float* out) const {
    rows_->compute(begin, end, out);
    const int64_t gallery = items_ - queries_;
    const auto lambda = static_cast<float>(*options_.lambda);
    ops::parallel_for(begin, end, 1, [&](int64_t first, int64_t last) {
      std::vector<float> shared(static_cast<std::size_t>(gallery), 0.0F);  // m = sum_j min(V[q,j], V[g,j])
      std::vector<int32_t> touched;                                        // where it isn't 0
      std::vector<float> distances;                                        // of those
      for (int64_t q = first; q < last; ++q) {
        touched.clear();
        ops::sparse_overlap(encoding_, q, index_, ops::Pairing::minimum, options_.emulate_half, shared, touched);
        float* line = out + (q - begin) * gallery;
        const float scale = farthest_[static_cast<std::size_t>(q)];
        blend_with_one(line, gallery, scale, lambda, touched, distances);
        for (std::size_t t = 0; t < touched.size(); ++t) {
          const int32_t g = touched[t];
          const float jaccard = jaccard_distance(shared[static_cast<std::size_t>(g)], q, g);
          line[g] = blended(jaccard, distances[t], lambda);
          shared[static_cast<std::size_t>(g)] = 0;
        }
      }
    });
  }

  /// Steps 7 and 8 of a part of the gallery, in `compute_whole`'s arithmetic.
  Tensor blended_part(std::size_t p, const ops::GalleryPart& part, int64_t begin, int64_t end) const {
    const auto device = part.distances.device();
    const auto rounded_all = [&](const Tensor& x) { return options_.emulate_half ? x.to(torch::kFloat16).to(torch::kFloat32) : x; };
    const auto column = [&](const float* values, int64_t count) {
      return torch::tensor(std::vector<float>(values, values + count)).to(device);
    };
    Tensor distance = part.distances.clamp_min_(0);
    if (spec_.transform == Transform::square) distance.mul_(distance.clone());
    if (spec_.scale_rows) {
      const Tensor scale = column(farthest_.data() + begin, end - begin).unsqueeze(1);
      distance = distance.div_(scale).masked_fill_(scale == 0, 0);
    } else {
      distance.mul_(blend_scale_);
    }
    const Tensor shared = overlaps_->overlap(p, begin, end, ops::Pairing::minimum, options_.emulate_half);
    Tensor jaccard;
    if (spec_.jaccard_of_maxima) {
      const Tensor own = column(sums_.data() + begin, end - begin).unsqueeze(1);
      const Tensor others = column(sums_.data() + queries_ + part.first, part.distances.size(1));
      jaccard = 1 - shared / (own + others - shared + 1e-12F);
    } else {
      jaccard = rounded_all(1 - rounded_all(shared / rounded_all(2 - shared)));
    }
    if (spec_.clip_jaccard) jaccard.clamp_min_(0);
    const auto lambda = static_cast<float>(*options_.lambda);
    return rounded_all(jaccard.mul_(rounded(1 - lambda))).add_(distance.mul_(lambda));
  }

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
      jaccard = rounded(1 - rounded(shared / rounded(2 - shared)));
    }
    return spec_.clip_jaccard ? std::max(jaccard, 0.0F) : jaccard;
  }

  /// Step 8, rounded where the original's arrays are half: a product of a half array and a number is half.
  float blended(float jaccard, float distance, float lambda) const {
    const float first = rounded(rounded(1 - lambda) * jaccard);
    return half_everywhere() ? to_half(first + to_half(to_half(lambda) * distance)) : first + lambda * distance;
  }

  /// Step 8 of a line as if no gallery item shared a neighbour (J = 1); the scaled distances of the touched ones are kept.
  void blend_with_one(float* line, int64_t gallery, float scale, float lambda, const std::vector<int32_t>& touched,
                      std::vector<float>& distances) const {
    const auto finished = [&](float distance) {
      return spec_.scale_rows ? scaled(transformed(distance), scale) : blend_scale_ * transformed(distance);
    };
    distances.clear();
    for (const int32_t g : touched) distances.push_back(finished(line[g]));
    if (half_everywhere() || (spec_.scale_rows && !(scale > 0))) {
      for (int64_t g = 0; g < gallery; ++g) line[g] = blended(1, finished(line[g]), lambda);
      return;
    }
    const float one = rounded(1 - lambda);
    // The same arithmetic without a decision in the loop.
    const float divisor = spec_.scale_rows ? scale : 1.0F, factor = spec_.scale_rows ? 1.0F : blend_scale_;
    if (spec_.transform == Transform::square) {
      for (int64_t g = 0; g < gallery; ++g) {
        const float positive = std::max(line[g], 0.0F);
        line[g] = one + lambda * (factor * (positive * positive) / divisor);
      }
    } else {
      for (int64_t g = 0; g < gallery; ++g) line[g] = one + lambda * (factor * std::max(line[g], 0.0F) / divisor);
    }
  }

  /// Those of i's list that `mutual` [N, count] names. Ascending.
  std::vector<int32_t> chosen(int64_t i, const Tensor& mutual) const {
    const int64_t count = mutual.size(1);
    const bool* named = mutual.const_data_ptr<bool>() + i * count;
    std::vector<int32_t> set;
    for (const int32_t j : neighbours_.of(i, count)) {
      if (*named++) set.push_back(j);
    }
    std::sort(set.begin(), set.end());
    return set;
  }

  /// Distance in float64 of a pair of rows, before transform and scale.
  double pair_distance(int64_t i, int64_t j, const float* data, int64_t columns) const {
    if (i == j) return 0;
    const float *x = data + i * columns, *y = data + j * columns;
    if (base_ == ops::Metric::euclidean) return squared_difference(x, y, columns);
    const double lengths = std::sqrt(squares_[static_cast<std::size_t>(i)] * squares_[static_cast<std::size_t>(j)]);
    return std::max(0.0, 1 - dot(x, y, columns) / lengths);
  }

  void encode(const Placement& placement, const ProgressSink& progress) {
    const int64_t k1 = *options_.k1, k2 = *options_.k2;
    const int64_t own_count = spec_.list_without_extra ? k1 : k1 + 1;
    const auto half_even = static_cast<int64_t>(std::nearbyint(static_cast<double>(k1) / 2));
    const int64_t half_count = spec_.matlab_half ? (k1 + 2) / 2 : half_even + 1;  // (k1+1)/2, halves rounded up
    const int64_t expanded = spec_.expand_one_more ? k2 + 1 : k2;
    const auto n = static_cast<std::size_t>(items_);
    const int64_t count = std::min(items_, std::max({own_count, half_count, expanded}));
    if (half_everywhere()) {
      neighbours_ = nearest_after(
          features_, base_, placement.product, count,
          [this](std::span<float> line) {
            float largest = 0;
            for (float& distance : line) {
              distance = transformed(distance);
              largest = std::max(largest, distance);
            }
            for (float& distance : line) distance = scaled(distance, largest);
            return largest;
          },
          progress);
    } else {  // steps 1 and 2: transform and scale keep the order
      neighbours_ = nearest(features_, base_, placement.product, count, first_device(placement), progress);
      float* farthest = neighbours_.farthest.data_ptr<float>();
      for (int64_t i = 0; i < items_; ++i) farthest[i] = transformed(farthest[i]);
    }
    farthest_ = {neighbours_.farthest.const_data_ptr<float>(), n};
    if (base_ == ops::Metric::cosine) {
      squares_.resize(n);
      const float* rows = features_.const_data_ptr<float>();
      const int64_t columns = features_.size(1);
      ops::parallel_for(0, items_, 64, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          squares_[static_cast<std::size_t>(i)] = dot(rows + i * columns, rows + i * columns, columns);
        }
      });
    }
    const Tensor lists = neighbours_.index.to(first_device(placement));
    const Tensor mutual = ops::reciprocal_neighbours(lists, own_count).cpu();
    const Tensor half_mutual = ops::reciprocal_neighbours(lists, half_count).cpu();
    Sets halves(n);
    ops::parallel_for(0, items_, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) halves[static_cast<std::size_t>(i)] = chosen(i, half_mutual);
    });
    RowList rows(n);
    const float* data = features_.const_data_ptr<float>();
    ops::parallel_for(0, items_, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) rows[static_cast<std::size_t>(i)] = encoded(i, chosen(i, mutual), halves, data);
    });
    if (spec_.expand_one_more || k2 != 1) rows = averaged(rows, expanded);
    encoding_ = packed(rows);
    sums_.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
      double sum = 0;
      for (const auto& entry : rows[i]) sum += static_cast<double>(entry.value);
      sums_[i] = static_cast<float>(sum);
    }
  }

  /// The expanded set R* of item i, from its reciprocal set, and exp(-D) over it as shares of 1.
  SparseRow encoded(int64_t i, const std::vector<int32_t>& own, const Sets& halves, const float* data) const {
    std::vector<int32_t> set = own, shared;
    for (const int32_t candidate : own) {
      const auto& half = halves[static_cast<std::size_t>(candidate)];
      shared.clear();
      std::set_intersection(half.begin(), half.end(), own.begin(), own.end(), std::back_inserter(shared));
      if (3 * shared.size() > 2 * half.size()) set.insert(set.end(), half.begin(), half.end());
    }
    std::sort(set.begin(), set.end());
    set.erase(std::unique(set.begin(), set.end()), set.end());
    const auto largest = static_cast<double>(farthest_[static_cast<std::size_t>(i)]);
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

  RowList averaged(const RowList& rows, int64_t count) const {
    RowList result(rows.size());
    ops::parallel_for(0, items_, 64, [&](int64_t begin, int64_t end) {
      Accumulator sum(items_);
      for (int64_t i = begin; i < end; ++i) {
        for (const int32_t j : neighbours_.of(i, count)) sum.add(rows[static_cast<std::size_t>(j)], 1);
        auto row = sum.take(1.0 / static_cast<double>(count));
        for (auto& entry : row) entry.value = rounded(entry.value);
        result[static_cast<std::size_t>(i)] = std::move(row);
      }
    });
    return result;
  }

  const RerankSpec& spec_;
  RerankOptions options_;
  int64_t queries_, items_;
  ops::Metric base_ = ops::Metric::cosine;
  float blend_scale_ = 1;
  Tensor features_;
  Neighbours neighbours_;
  std::span<const float> farthest_;  // step 1: the largest distance of each row, transformed
  std::vector<double> squares_;      // |x|^2, under cosine
  ops::SparseRows encoding_, index_;  // index_: the gallery's rows by item
  std::vector<float> sums_;
  Tile tile_;
  std::unique_ptr<ops::DistanceRows> rows_;  // on the CPU, with index_
  std::unique_ptr<PartedGallery> parts_;     // or on chosen devices
  std::unique_ptr<OverlapParts> overlaps_;
};

// Graph propagation --------------------------------------------------------------------------------------------

class Propagation : public DistanceSource {
 public:
  Propagation(const Tensor& query, const Tensor& gallery, const Placement& placement, const RerankOptions& options,
              const ProgressSink& progress)
      : queries_(query.size(0)), items_(query.size(0) + gallery.size(0)), tile_(gallery.size(0)) {
    const int64_t k1 = *options.k1, k2 = *options.k2;
    check_count(options.variant, "k1", k1, items_);
    REID_CHECK(k2 <= k1, InputError, fmt::format("rerank gnn: k2 must be at most k1 = {}, got {}", k1, k2));
    const Tensor features = at::cat({query, gallery}).contiguous();
    const auto neighbours =
        nearest(features, ops::Metric::cosine, placement.product, k1, first_device(placement), progress);
    RowList graph(static_cast<std::size_t>(items_));
    for (int64_t i = 0; i < items_; ++i) {
      auto& row = graph[static_cast<std::size_t>(i)];
      for (const int32_t j : neighbours.of(i, k1)) row.push_back({j, 1.0F});
      std::sort(row.begin(), row.end(), [](const Entry& a, const Entry& b) { return a.item < b.item; });
    }
    for (int round = 0; k2 != 1 && round < 2; ++round) graph = propagated(graph, neighbours, k2);
    graph_ = packed(graph);
    if (placement.devices.empty()) {
      index_ = ops::transposed(graph_, queries_, items_, items_);
    } else {  // parts without features: there are no distances beside the graph's
      parts_ = std::make_unique<PartedGallery>(query.narrow(1, 0, 0), gallery.narrow(1, 0, 0), ops::Metric::cosine, placement);
      overlaps_ = std::make_unique<OverlapParts>(graph_, queries_, parts_->parts());
    }
    product_ = parts_ ? parts_->product()
                      : ops::DistanceRows(features.narrow(0, 0, 1), features, ops::Metric::cosine, placement.product).product();
  }

  ops::Product product() const override { return product_; }
  int64_t most_rows() const override { return parts_ ? parts_->most_rows() : tile_.most_rows(); }

  /// Minus the inner product of the propagated rows: small is near.
  std::vector<ops::GalleryPart> compute(int64_t begin, int64_t end) override {
    if (parts_) {
      std::vector<ops::GalleryPart> parts;
      for (std::size_t p = 0; p < parts_->parts().size(); ++p) {
        parts.push_back({overlaps_->overlap(p, begin, end, ops::Pairing::product, false).neg_(), parts_->parts()[p].first});
      }
      return parts;
    }
    const auto part = tile_.part(end - begin);
    auto* out = part.distances.mutable_data_ptr<float>();
    const int64_t gallery = items_ - queries_;
    ops::parallel_for(begin, end, 1, [&](int64_t first, int64_t last) {
      std::vector<int32_t> touched;
      for (int64_t q = first; q < last; ++q) {
        touched.clear();
        const std::span<float> line(out + (q - begin) * gallery, static_cast<std::size_t>(gallery));
        std::fill(line.begin(), line.end(), 0.0F);
        ops::sparse_overlap(graph_, q, index_, ops::Pairing::product, false, line, touched);
        for (const int32_t g : touched) line[static_cast<std::size_t>(g)] = -line[static_cast<std::size_t>(g)];
      }
    });
    return {part};
  }

 private:
  RowList propagated(const RowList& graph, const Neighbours& neighbours, int64_t k2) const {
    RowList transposed(graph.size());
    for (std::size_t i = 0; i < graph.size(); ++i) {
      for (const auto& entry : graph[i]) {
        transposed[static_cast<std::size_t>(entry.item)].push_back({static_cast<int32_t>(i), entry.value});
      }
    }
    RowList next(graph.size());
    const int32_t* index = neighbours.index.const_data_ptr<int32_t>();
    const float* distance = neighbours.distance.const_data_ptr<float>();
    ops::parallel_for(0, items_, 64, [&](int64_t begin, int64_t end) {
      Accumulator sum(items_);
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t k = 0; k < k2; ++k) {
          const int64_t at = i * neighbours.count + k;
          const auto j = static_cast<std::size_t>(index[at]);
          const double similarity = 1 - static_cast<double>(distance[at]);
          sum.add(graph[j], similarity * similarity);
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
    return next;
  }

  int64_t queries_, items_;
  ops::SparseRows graph_, index_;
  Tile tile_;
  std::unique_ptr<PartedGallery> parts_;  // on chosen devices
  std::unique_ptr<OverlapParts> overlaps_;
  ops::Product product_ = ops::Product::aten;
};

// Query expansion ----------------------------------------------------------------------------------------------

/// All features replaced by weighted means of their nearest, queries and gallery together.
Tensor expanded_features(const Tensor& all, const Placement& placement, const RerankOptions& options,
                         const ProgressSink& progress) {
  const RerankSpec& spec = rerank_spec(options.variant);
  const int64_t items = all.size(0), columns = all.size(1), k = *options.k1;
  check_count(options.variant, "k1", k, items);
  const double alpha = *options.alpha;
  Tensor features = all;
  for (int64_t round = 0; round < *options.times; ++round) {
    if (spec.unit_rows) make_unit_rows(features);  // of ours: `all` was made for this
    const auto neighbours = nearest(features, ops::Metric::cosine, placement.product, k, first_device(placement), progress);
    const Tensor next = torch::empty_like(features);
    const int32_t* index = neighbours.index.const_data_ptr<int32_t>();
    const float* distance = neighbours.distance.const_data_ptr<float>();
    const float* from = features.const_data_ptr<float>();
    float* to = next.data_ptr<float>();
    ops::parallel_for(0, items, 16, [&](int64_t begin, int64_t end) {
      std::vector<double> sum(static_cast<std::size_t>(columns));
      for (int64_t i = begin; i < end; ++i) {
        std::fill(sum.begin(), sum.end(), 0.0);
        for (int64_t n = 0; n < k; ++n) {
          double similarity = 1 - static_cast<double>(distance[i * k + n]);
          if (spec.unit_rows) similarity = std::max(similarity, 0.0);
          const double weight = std::pow(similarity, alpha);
          REID_CHECK(std::isfinite(weight), InputError,
                     fmt::format("rerank {}: alpha must be a whole number where a similarity is negative, got {}",
                                 options.variant, alpha));
          const float* row = from + int64_t{index[i * k + n]} * columns;
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
                                                   const Placement& placement, const RerankOptions& resolved,
                                                   const ProgressSink& progress) {
  switch (rerank_spec(resolved.variant).kind) {
    case RerankKind::k_reciprocal:
      return std::make_unique<KReciprocal>(query, gallery, metric, placement, resolved, progress);
    case RerankKind::gnn:
      return std::make_unique<Propagation>(query, gallery, placement, resolved, progress);
    case RerankKind::aqe: {
      const Tensor all = expanded_features(at::cat({query, gallery}).contiguous(), placement, resolved, progress);
      return plain_distances(all.narrow(0, 0, query.size(0)), all.narrow(0, query.size(0), gallery.size(0)), metric,
                             placement);
    }
  }
  REID_ASSERT(false);
  return nullptr;
}

}  // namespace reid::metrics
