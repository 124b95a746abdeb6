// SPDX-License-Identifier: Apache-2.0
#include "summary.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "reid/core/error.hpp"
#include "reid/core/random.hpp"
#include "reid/metrics/evaluate.hpp"
#include "reid/ops/parallel.hpp"

namespace reid::metrics {
namespace {

constexpr uint64_t kBootstrapStream = 0x626f6f74;  // "boot": apart from other streams of the same seed
constexpr int64_t kSplitResamples = 1000;

double percentile(const std::vector<double>& sorted, double fraction) {
  const double place = fraction * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(std::floor(place));
  const auto high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - std::floor(place));
}

}  // namespace

Scores mean_of(const std::vector<Scores>& scores) {
  Scores mean{};
  for (const auto& one : scores) {
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += one[i];
  }
  for (auto& value : mean) value /= static_cast<double>(scores.size());
  return mean;
}

std::array<std::array<double, 2>, kMetricNames.size()> bootstrap(const std::vector<Scores>& scores, int64_t resamples,
                                                                 uint64_t seed) {
  std::array<std::vector<double>, kMetricNames.size()> means;
  for (auto& list : means) list.resize(static_cast<std::size_t>(resamples));
  ops::parallel_for(0, resamples, 8, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      Random random{seed, kBootstrapStream, static_cast<uint64_t>(r)};
      Scores sum{};
      for (std::size_t n = 0; n < scores.size(); ++n) {
        const auto& one = scores[static_cast<std::size_t>(random.below(static_cast<int64_t>(scores.size())))];
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += one[i];
      }
      for (std::size_t i = 0; i < sum.size(); ++i) {
        means[i][static_cast<std::size_t>(r)] = sum[i] / static_cast<double>(scores.size());
      }
    }
  });
  std::array<std::array<double, 2>, kMetricNames.size()> intervals{};
  for (std::size_t i = 0; i < means.size(); ++i) {
    std::sort(means[i].begin(), means[i].end());
    intervals[i] = {percentile(means[i], 0.025), percentile(means[i], 0.975)};
  }
  return intervals;
}

Json to_json(const Scores& scores) {
  Json json = Json::object();
  for (std::size_t i = 0; i < scores.size(); ++i) json[kMetricNames[i]] = scores[i];
  return json;
}

Json to_json(const std::array<std::array<double, 2>, kMetricNames.size()>& intervals) {
  Json json = Json::object();
  for (std::size_t i = 0; i < intervals.size(); ++i) json[kMetricNames[i]] = intervals[i];
  return json;
}

Result combine_splits(const std::vector<Result>& splits, const Protocol& protocol) {
  REID_CHECK(!splits.empty(), InputError,
             fmt::format("combine_splits: {} must have at least one split, got none", protocol.name));
  std::vector<Scores> scores;
  Json list = Json::array();
  int64_t queries = 0, unmatched = 0, gallery = 0;
  double seconds_features = 0, seconds_ranking = 0;
  std::vector<torch::Tensor> precisions;
  for (const auto& split : splits) {
    Scores one{};
    for (std::size_t i = 0; i < one.size(); ++i) one[i] = split.json.at("metrics").at(kMetricNames[i]).get<double>();
    scores.push_back(one);
    list.push_back(split.json.at("metrics"));
    queries += split.json.at("queries").get<int64_t>();
    unmatched += split.json.at("queries_without_match").get<int64_t>();
    gallery += split.json.at("gallery").get<int64_t>();
    seconds_features += split.json.at("seconds").at("features").get<double>();
    seconds_ranking += split.json.at("seconds").at("ranking").get<double>();
    precisions.push_back(split.average_precision);
  }
  const Scores mean = mean_of(scores);
  Scores deviation{};
  for (std::size_t i = 0; i < mean.size(); ++i) {
    for (const auto& one : scores) deviation[i] += (one[i] - mean[i]) * (one[i] - mean[i]);
    deviation[i] = scores.size() > 1 ? std::sqrt(deviation[i] / static_cast<double>(scores.size() - 1)) : 0.0;
  }
  Result result;
  result.json = splits.front().json;  // protocol, metric, re-ranking and what is said of them
  result.json["queries"] = queries;
  result.json["queries_without_match"] = unmatched;
  result.json["gallery"] = gallery;
  result.json["metrics"] = to_json(mean);
  result.json["ci95"] = to_json(bootstrap(scores, kSplitResamples, 0));
  result.json["seconds"] = Json{{"features", seconds_features}, {"ranking", seconds_ranking}};
  result.json["splits"] = std::move(list);
  result.json["std"] = to_json(deviation);
  result.average_precision = torch::cat(precisions);
  return result;
}

}  // namespace reid::metrics
