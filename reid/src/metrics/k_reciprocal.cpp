// SPDX-License-Identifier: Apache-2.0
// k-reciprocal encoding and its variants. The steps to which comments refer by number: 1 scale rows, 2 sort them to lists,
// 3 reciprocal sets, 4 expanded sets, 5 encoding, 6 means over neighbours, 7 Jaccard distance, 8 blend.
#include <c10/util/Half.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>

#include "neighbours.hpp"
#include "reid/core/error.hpp"
#include "reid/ops/parallel.hpp"
#include "reid/ops/wide_sum.hpp"
#include "rerank_spec.hpp"
#include "reranked_distances.hpp"

namespace reid::metrics {
namespace {

using torch::Tensor;

using Sets = std::vector<std::vector<int32_t>>;

float to_half(float value) { return static_cast<float>(c10::Half(value)); }

double squared_difference(const float* x, const float* y, int64_t n) {
  return ops::wide_sum(n, [&](int64_t k) {
    const double d = static_cast<double>(x[k]) - static_cast<double>(y[k]);
    return d * d;
  });
}

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
    check_count(options.variant, "k1 + 1", k1, 1, items_);
    check_count(options.variant, spec_.expand_one_more ? "k2 + 1" : "k2", k2, spec_.expand_one_more ? 1 : 0, items_);
    base_ = spec_.base == BaseDistance::metric    ? metric
            : spec_.base == BaseDistance::cosine  ? ops::Metric::cosine
                                                  : ops::Metric::euclidean;
    const bool cosine_of_units = spec_.unit_rows_under_cosine && metric == ops::Metric::cosine;
    blend_scale_ = cosine_of_units ? 0.5F : 1.0F;  // 1 - s = |x - y|^2 / 2 of unit rows
    features_ = at::cat({query, gallery});
    if (spec_.unit_rows || cosine_of_units) make_unit_rows(features_);
    if (half_everywhere()) {
      features_ = features_.to(torch::kFloat16).to(torch::kFloat32);
      REID_CHECK(features_.isfinite().all().item<bool>(), InputError,
                 fmt::format("rerank {}: features must be at most 65504 under emulate_half, got larger ones", options.variant));
    }
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
  /// @throws InputError where float32 doesn't hold the square, which would leave no distance a number or all of them 0.
  float transformed_largest(float distance) const {
    const float result = transformed(distance);
    constexpr double kLeast = 1.1e-19, kMost = 1.8e19;
    REID_CHECK(spec_.transform == Transform::none || distance == 0 || std::isnormal(result), InputError,
               fmt::format("rerank {}: largest distance of an item must be between {:.1e} and {:.1e}, got {:.1e}",
                           options_.variant, kLeast, kMost, distance));
    return result;
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
    if (!(lengths > 0)) return 1;  // a zero vector, as in ops::Metric
    return std::max(0.0, 1 - ops::wide_dot(x, y, columns) / lengths);
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
      for (int64_t i = 0; i < items_; ++i) farthest[i] = transformed_largest(farthest[i]);
    }
    farthest_ = {neighbours_.farthest.const_data_ptr<float>(), n};
    if (base_ == ops::Metric::cosine) {
      squares_.resize(n);
      const float* rows = features_.const_data_ptr<float>();
      const int64_t columns = features_.size(1);
      ops::parallel_for(0, items_, 64, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          squares_[static_cast<std::size_t>(i)] = ops::wide_dot(rows + i * columns, rows + i * columns, columns);
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

}  // namespace

std::unique_ptr<DistanceSource> k_reciprocal_distances(const Tensor& query, const Tensor& gallery, ops::Metric metric,
                                                       const Placement& placement, const RerankOptions& resolved,
                                                       const ProgressSink& progress) {
  return std::make_unique<KReciprocal>(query, gallery, metric, placement, resolved, progress);
}

}  // namespace reid::metrics
