// SPDX-License-Identifier: Apache-2.0
// Purpose: score features that any program made, without a network: features, identities and cameras in, metrics out.
// (The same from a shell, on .npy files: reid metrics.)
//
// Command:
//   build/release/examples/04_score_features
//
// Expected output. Query 1 finds its two matches at places 1 and 3 (the picture of its own camera is left out): step AP
// (1 + 2/3)/2. Query 2 finds its one match at place 1.
//   queries 2, without match 0, gallery 5 (one junk picture dropped)
//   rank-1 100.00 %, mAP 91.67 % (step), 89.58 % (trapezoid)
//   ranking of query 1: 1 3 2 4
#include <torch/types.h>

#include <cstdio>

#include "reid/core/error.hpp"
#include "reid/metrics/evaluate.hpp"
#include "reid/metrics/protocol.hpp"

int main() {
  try {
    // Two queries and six gallery pictures in a feature space of two dimensions.
    reid::metrics::FeatureSet query, gallery;
    query.features = torch::tensor({{1.0F, 0.0F}, {0.0F, 1.0F}});
    query.ids = torch::tensor({1, 2}, torch::kInt64);
    query.cameras = torch::tensor({1, 1}, torch::kInt64);
    gallery.features = torch::tensor({{1.0F, 0.0F},     // 0: identity 1, but the query's own camera
                                      {1.0F, 0.1F},     // 1: a match of query 1
                                      {0.5F, 0.5F},     // 2: a match of query 1, behind a distractor
                                      {1.0F, 0.5F},     // 3: a distractor
                                      {0.0F, 1.0F},     // 4: the match of query 2
                                      {1.0F, 0.05F}});  // 5: junk
    gallery.ids = torch::tensor({1, 1, 1, 0, 2, -1}, torch::kInt64);
    gallery.cameras = torch::tensor({1, 2, 2, 3, 2, 2}, torch::kInt64);

    reid::metrics::EvaluateOptions options;
    options.ranking_top = 4;
    const auto result =
        reid::metrics::evaluate(query, gallery, reid::metrics::protocol("market1501"), options);
    const auto& json = result.json;
    const auto& metrics = json["metrics"];
    std::printf("queries %ld, without match %ld, gallery %ld (one junk picture dropped)\n",
                json["queries"].get<long>(), json["queries_without_match"].get<long>(), json["gallery"].get<long>());
    std::printf("rank-1 %.2f %%, mAP %.2f %% (step), %.2f %% (trapezoid)\n", 100 * metrics["rank1"].get<double>(),
                100 * metrics["map"].get<double>(), 100 * metrics["map_interpolated"].get<double>());
    std::printf("ranking of query 1:");
    for (int64_t i = 0; i < result.ranking.size(1); ++i) std::printf(" %ld", result.ranking[0][i].item<int64_t>());
    std::printf("\n");
    return 0;
  } catch (const reid::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
}
