// SPDX-License-Identifier: Apache-2.0
#include "reid/data/sampler.hpp"

#include <map>
#include <set>

#include "support/catch.hpp"

using namespace reid;
using namespace reid::data;

namespace {

std::vector<int64_t> labels_of(const std::vector<int64_t>& counts) {
  std::vector<int64_t> labels;
  for (std::size_t id = 0; id < counts.size(); ++id) labels.insert(labels.end(), static_cast<std::size_t>(counts[id]), static_cast<int64_t>(id));
  return labels;
}

Json options(const std::string& name, int64_t p, int64_t k) {
  return Json{{"name", name}, {"identities", p}, {"images", k}};
}

}  // namespace

TEST_CASE("the random sampler sees everything once", "[data]") {
  const auto labels = labels_of({7, 4, 2});
  const auto sampler = samplers().create(Json{{"name", "random"}, {"batch", 4}, {"drop_last", false}}, "/sampler");
  const auto batches = sampler->epoch(labels, 1, 0);
  REQUIRE(batches.size() == 4);
  REQUIRE(batches.back().size() == 1);
  std::set<int64_t> seen;
  for (const auto& batch : batches) seen.insert(batch.begin(), batch.end());
  REQUIRE(seen.size() == 13);
  REQUIRE(samplers().create(Json{{"name", "random"}, {"batch", 4}}, "")->epoch(labels, 1, 0).size() == 3);
  REQUIRE(sampler->epoch(labels, 1, 0) == batches);
  REQUIRE(sampler->epoch(labels, 1, 1) != batches);
  REQUIRE(sampler->epoch(labels, 2, 0) != batches);
}

TEST_CASE("the RGA sampler takes each identity once an epoch", "[data]") {
  std::vector<int64_t> counts(37, 9);
  counts[5] = 2;
  const auto labels = labels_of(counts);
  const auto batches = samplers().create(options("identity_rga", 8, 4), "")->epoch(labels, 3, 2);
  REQUIRE(batches.size() == 4);  // 37 / 8, the rest dropped
  std::map<int64_t, int64_t> taken;
  for (const auto& batch : batches) {
    REQUIRE(batch.size() == 32);
    for (std::size_t i = 0; i < batch.size(); i += 4) {
      std::set<int64_t> different(batch.begin() + static_cast<std::ptrdiff_t>(i), batch.begin() + static_cast<std::ptrdiff_t>(i) + 4);
      const int64_t id = labels[static_cast<std::size_t>(batch[i])];
      for (const auto sample : different) REQUIRE(labels[static_cast<std::size_t>(sample)] == id);
      REQUIRE(different.size() <= (id == 5 ? 2U : 4U));
      if (id != 5) REQUIRE(different.size() == 4);
      ++taken[id];
    }
  }
  REQUIRE(taken.size() == 32);
  for (const auto& [id, times] : taken) REQUIRE(times == 1);
}

TEST_CASE("RGA's counts of iterations", "[data]") {
  // rga_crop's paper recipe, 16 x 4: 767, 751 and 1041 identities give 47, 46 and 65 batches.
  const auto sampler = samplers().create("identity_rga", "");
  REQUIRE(sampler->epoch(labels_of(std::vector<int64_t>(767, 4)), 0, 0).size() == 47);
  REQUIRE(sampler->epoch(labels_of(std::vector<int64_t>(751, 4)), 0, 0).size() == 46);
  REQUIRE(sampler->epoch(labels_of(std::vector<int64_t>(1041, 4)), 0, 0).size() == 65);
}

TEST_CASE("the BoT sampler goes on until fewer than P identities have a group", "[data]") {
  std::vector<int64_t> counts{4, 5, 11, 3, 8, 16, 2, 40};
  const auto labels = labels_of(counts);
  const auto batches = samplers().create(options("identity_bot", 3, 4), "")->epoch(labels, 5, 1);
  std::map<int64_t, std::multiset<int64_t>> taken;
  std::map<int64_t, int64_t> groups;
  for (const auto& batch : batches) {
    REQUIRE(batch.size() == 12);
    std::set<int64_t> ids;
    for (std::size_t i = 0; i < 12; ++i) {
      const int64_t id = labels[static_cast<std::size_t>(batch[i])];
      REQUIRE(id == labels[static_cast<std::size_t>(batch[i - i % 4])]);
      ids.insert(id);
      taken[id].insert(batch[i]);
      if (i % 4 == 0) ++groups[id];
    }
    REQUIRE(ids.size() == 3);  // different identities within a batch
  }
  int64_t left = 0;
  for (std::size_t id = 0; id < counts.size(); ++id) {
    const int64_t have = std::max<int64_t>(1, counts[id] / 4);
    const auto key = static_cast<int64_t>(id);
    REQUIRE(groups[key] <= have);
    if (groups[key] < have) ++left;
    if (counts[id] >= 4) {
      for (const auto sample : taken[key]) REQUIRE(taken[key].count(sample) == 1);  // without replacement
    }
  }
  REQUIRE(left < 3);
}

TEST_CASE("samplers refuse lists that hold no batch", "[data]") {
  REQUIRE_THROWS_AS(samplers().create("random", "")->epoch({0, 1, 2}, 0, 0), ConfigError);
  REQUIRE_THROWS_AS(samplers().create("identity_rga", "")->epoch(labels_of({4, 4}), 0, 0), ConfigError);
  REQUIRE_THROWS_AS(samplers().create("identity_bot", "")->epoch({}, 0, 0), ConfigError);
  REQUIRE_THROWS_AS(samplers().create(options("identity_rga", 0, 4), ""), ConfigError);
}
