// SPDX-License-Identifier: Apache-2.0
// reid metrics: scores features that any program made.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "reid/core/error.hpp"
#include "reid/engine/device.hpp"
#include "reid/metrics/evaluate.hpp"
#include "reid/metrics/npy.hpp"
#include "verb.hpp"

namespace reid::cli {
namespace {

struct MetricsFlags {
  std::string query, gallery, query_ids, gallery_ids, query_cams, gallery_cams, query_clothes, gallery_clothes;
  std::string protocol, metric, rerank, ranking;
  std::string ties = "stable", product = "auto", devices = "auto";
  std::optional<int64_t> k1, k2, top, times;
  std::optional<double> lambda, alpha;
  bool emulate_half = false;
};

void need(const std::string& value, const char* option) {
  REID_CHECK(!value.empty(), InputError, fmt::format("{}: a file must be given, got none", option));
}

void need_both(const std::string& first, const std::string& second, const char* first_option, const char* second_option) {
  REID_CHECK(first.empty() == second.empty(), InputError,
             fmt::format("{}: {} must be given with it, got {} alone", first.empty() ? second_option : first_option,
                         first.empty() ? first_option : second_option, first.empty() ? second_option : first_option));
}

torch::Tensor read_labels(const std::string& path) { return path.empty() ? torch::Tensor() : metrics::read_npy_labels(path); }

metrics::FeatureSet read_set(const std::string& features, const std::string& ids, const std::string& cameras,
                             const std::string& clothes) {
  return {.features = metrics::read_npy_features(features),
          .ids = read_labels(ids),
          .cameras = read_labels(cameras),
          .clothes = read_labels(clothes),
          .source = features,
          .ids_source = ids,
          .cameras_source = cameras,
          .clothes_source = clothes};
}

std::optional<metrics::RerankOptions> rerank_options(const MetricsFlags& flags) {
  if (flags.rerank.empty()) {
    const bool parameters = flags.k1 || flags.k2 || flags.lambda || flags.alpha || flags.times || flags.emulate_half;
    REID_CHECK(!parameters, InputError, "--rerank: a variant must be given with its parameters, got none");
    return std::nullopt;
  }
  metrics::RerankOptions options;
  options.variant = flags.rerank;
  options.k1 = flags.k1;
  options.k2 = flags.k2;
  options.lambda = flags.lambda;
  options.alpha = flags.alpha;
  options.times = flags.times;
  options.emulate_half = flags.emulate_half;
  return metrics::resolve(options);
}

void print_table(const Json& json) {
  const auto& scores = json.at("metrics");
  const auto& intervals = json.at("ci95");
  std::cout << fmt::format("protocol {}, metric {}, re-ranking {}\n", json.at("protocol").get<std::string>(),
                           json.at("metric").get<std::string>(),
                           json.at("rerank").is_null() ? std::string("none") : json.at("rerank").dump());
  std::cout << fmt::format("queries {} ({} without a match), gallery {}\n", json.at("queries").get<int64_t>(),
                           json.at("queries_without_match").get<int64_t>(), json.at("gallery").get<int64_t>());
  if (json.contains("warning")) std::cout << "warning: " << json.at("warning").get<std::string>() << "\n";
  std::cout << fmt::format("{:<18}{:>8}   {}\n", "", "%", "95 % interval");
  for (const auto& [name, value] : scores.items()) {
    std::cout << fmt::format("{:<18}{:>8.2f}   {:.2f} - {:.2f}\n", name, 100 * value.get<double>(),
                             100 * intervals.at(name)[0].get<double>(), 100 * intervals.at(name)[1].get<double>());
  }
}

void run(const MetricsFlags& flags, const Common& common) {
  if (flags.rerank == "list") return print_rerank_variants();
  need(flags.query, "--query");
  need(flags.gallery, "--gallery");
  need(flags.query_ids, "--query-ids");
  need(flags.gallery_ids, "--gallery-ids");
  need_both(flags.query_cams, flags.gallery_cams, "--query-cams", "--gallery-cams");
  need_both(flags.query_clothes, flags.gallery_clothes, "--query-clothes", "--gallery-clothes");
  REID_CHECK(flags.top.has_value() == !flags.ranking.empty(), InputError,
             flags.top ? "--top: --ranking must be given with it, got --top alone"
                       : "--ranking: --top must be given with it, got --ranking alone");
  if (!flags.ranking.empty() && !common.json.empty() && common.json != "-") {
    check_distinct("--ranking", flags.ranking, "--json", common.json);
  }
  const auto threads = common.apply_threads();
  static_cast<void>(threads);
  const std::string fallback = flags.query_cams.empty() ? "generic" : "generic_camera";
  const auto& protocol = metrics::protocol(flags.protocol.empty() ? fallback : flags.protocol);
  metrics::EvaluateOptions options;
  if (!flags.metric.empty()) options.metric = parse_enum<ops::Metric>("--metric", flags.metric);
  options.ties = parse_enum<metrics::Ties>("--ties", flags.ties);
  options.product = parse_enum<ops::Product>("--product", flags.product);
  options.devices = engine::select_devices(flags.devices);
  options.rerank = rerank_options(flags);
  options.seed = common.seed.value_or(metrics::kScoringSeed);
  options.ranking_top = flags.top.value_or(0);
  options.progress = common.progress();

  const auto start = std::chrono::steady_clock::now();
  const auto query = read_set(flags.query, flags.query_ids, flags.query_cams, flags.query_clothes);
  const auto gallery = read_set(flags.gallery, flags.gallery_ids, flags.gallery_cams, flags.gallery_clothes);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  auto result = metrics::evaluate(query, gallery, protocol, options);
  result.json["seconds"]["features"] = seconds;
  if (!flags.ranking.empty()) metrics::write_npy(flags.ranking, result.ranking);
  common.write_json(result.json);
  if (common.json != "-") print_table(result.json);
}

}  // namespace

void add_metrics(CLI::App& app, Common& common) {
  auto* verb = app.add_subcommand("metrics", "score features that any program made, under a named protocol");
  const auto flags = std::make_shared<MetricsFlags>();
  verb->add_option("--query", flags->query, "query features, .npy [Q, D] float16/32/64");
  verb->add_option("--gallery", flags->gallery, "gallery features, .npy [G, D]");
  verb->add_option("--query-ids", flags->query_ids, "query identities, .npy [Q] int32/64");
  verb->add_option("--gallery-ids", flags->gallery_ids, "gallery identities, .npy [G]");
  verb->add_option("--query-cams", flags->query_cams, "query cameras, .npy [Q]");
  verb->add_option("--gallery-cams", flags->gallery_cams, "gallery cameras, .npy [G]");
  verb->add_option("--query-clothes", flags->query_clothes, "query outfits, .npy [Q] (ltcc_cloth_changing)");
  verb->add_option("--gallery-clothes", flags->gallery_clothes, "gallery outfits, .npy [G]");
  verb->add_option("--protocol", flags->protocol,
                   "name of the protocol (default: generic_camera with cameras, generic without)");
  verb->add_option("--metric", flags->metric, "cosine or euclidean (squared) (default: the protocol's)");
  verb->add_option("--rerank", flags->rerank, "re-ranking variant; 'list' prints them (default: none)");
  verb->add_option("--k1", flags->k1, "re-ranking: neighbours (default: the variant's, 20)");
  verb->add_option("--k2", flags->k2, "re-ranking: neighbours in query expansion (default: the variant's, 6)");
  verb->add_option("--lambda", flags->lambda, "re-ranking: weight of the original distance (default: 0.3)");
  verb->add_option("--alpha", flags->alpha, "aqe: power of the similarity (default: 3)");
  verb->add_option("--times", flags->times, "aqe: rounds (default: 1)");
  verb->add_flag("--emulate-half", flags->emulate_half, "re-ranking: round as the original's half-precision arrays do");
  verb->add_option("--ties", flags->ties, "equal distances: stable (by gallery index), worst or best for the score")
      ->capture_default_str();
  verb->add_option("--product", flags->product, "library of the products: auto (measured), aten or onednn")
      ->capture_default_str();
  verb->add_option("--device", flags->devices, "auto, cpu, cuda, cuda:K, several with commas between, or cuda:all: the gallery is split")
      ->capture_default_str();
  verb->add_option("--ranking", flags->ranking, "write the first --top gallery rows of each query, .npy [Q, K] int64, -1: none")
      ->check(writable_file());
  verb->add_option("--top", flags->top, "columns of --ranking: at most 1000, or the gallery's rows where it has more")->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
  add_common(*verb, common, common_threads | common_seed | common_json, kSeedOfScores);
  verb->callback([flags, &common] { run(*flags, common); });
}

}  // namespace reid::cli
