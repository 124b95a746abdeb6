// SPDX-License-Identifier: Apache-2.0
// torchreid's scorer on inputs made by a formula (tests/reference/evaluate_torchreid.py).
#include <torch/torch.h>

#include "reid/core/json.hpp"
#include "reid/metrics/evaluate.hpp"
#include "support/catch.hpp"

using namespace reid::metrics;
using torch::Tensor;

namespace {

/// SplitMix64 from `seed`, each output modulo `below`.
Tensor numbers(uint64_t seed, int64_t count, uint64_t below) {
  Tensor out = torch::empty({count}, torch::kInt64);
  uint64_t state = seed;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t z = state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    out.data_ptr<int64_t>()[i] = static_cast<int64_t>((z ^ (z >> 31)) % below);
  }
  return out;
}

}  // namespace

TEST_CASE("scores equal torchreid's", "[metrics][parity]") {
  const auto fixture = reid::read_json_file(REID_FIXTURES "/evaluate_torchreid.json");
  REQUIRE(fixture.at("cases").size() == 4);
  for (const auto& one : fixture.at("cases")) {
    const auto seed = one.at("seed").get<uint64_t>();
    const auto q = one.at("queries").get<int64_t>(), g = one.at("gallery").get<int64_t>();
    const auto identities = one.at("identities").get<uint64_t>(), cameras = one.at("cameras").get<uint64_t>();
    FeatureSet query, gallery;
    query.features = numbers(seed, q * 4, 2048).view({q, 4}).to(torch::kFloat32);
    gallery.features = numbers(seed + 1, g * 4, 2048).view({g, 4}).to(torch::kFloat32);
    query.ids = numbers(seed + 2, q, identities);
    gallery.ids = numbers(seed + 3, g, identities);
    query.cameras = numbers(seed + 4, q, cameras);
    gallery.cameras = numbers(seed + 5, g, cameras);
    EvaluateOptions options;
    options.metric = reid::ops::Metric::euclidean;
    options.resamples = 1;
    const auto result = evaluate(query, gallery, protocol("generic_camera"), options);
    for (const auto* name : {"rank1", "rank5", "rank10", "rank20", "map"}) {
      INFO("seed " << seed << " " << name);
      REQUIRE(result.json.at("metrics").at(name).get<double>() == Approx(one.at(name).get<double>()).margin(1e-6).epsilon(0));
    }
  }
}
