// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <fstream>
#include <set>

#include "reid/core/error.hpp"
#include "support.hpp"
#include "support/catch.hpp"

using namespace reid;
using reid::test::read_set;
using reid::test::rows;
using reid::test::TempDir;
using reid::test::touch;
using Catch::Matchers::Contains;
using Rows = std::vector<std::string>;

namespace {

constexpr data::Parts kEvaluation{false, true};

std::set<int64_t> identities(const std::vector<Sample>& samples) {
  std::set<int64_t> result;
  for (const auto& sample : samples) result.insert(sample.identity);
  return result;
}

void make_viper(const std::filesystem::path& root, int people) {
  for (int i = 0; i < people; ++i) {
    touch(root, {fmt::format("cam_a/{:03}_45.bmp", 2 * i), fmt::format("cam_b/{:03}_90.bmp", 2 * i)});
  }
}

}  // namespace

TEST_CASE("viper gives ten halves in both directions", "[datasets]") {
  const TempDir root;
  make_viper(root.path(), 7);
  const auto set = read_set("viper", root.path(), kEvaluation);
  REQUIRE(set.splits.size() == 20);
  for (std::size_t i = 0; i < 20; i += 2) {
    const auto& there = set.splits[i];
    const auto& back = set.splits[i + 1];
    CHECK(there.query.size() == 4);  // 7 people: 3 train
    CHECK(identities(there.query) == identities(there.gallery));
    CHECK(there.query[0].camera == 1);
    CHECK(there.gallery[0].camera == 2);
    CHECK(rows(there.query, root.path()) == rows(back.gallery, root.path()));
    CHECK(rows(there.gallery, root.path()) == rows(back.query, root.path()));
  }
  CHECK(rows(set.splits[0].query, root.path()) != rows(set.splits[2].query, root.path()));
  REQUIRE(set.notes.size() == 1);
  CHECK_THAT(set.notes[0], Contains("10 halves from seed 0, fingerprint "));
  CHECK(read_set("viper", root.path(), kEvaluation).notes == set.notes);
  CHECK(read_set(Json{{"name", "viper"}, {"seed", 1}}, root.path(), kEvaluation).notes != set.notes);
  CHECK_THROWS_WITH(read_set("viper", root.path()), Contains("split must be 1 to 20 for training"));
  const auto one = read_set(Json{{"name", "viper"}, {"split", 4}}, root.path());
  REQUIRE(one.splits.size() == 1);
  CHECK(rows(one.splits[0].query, root.path()) == rows(set.splits[3].query, root.path()));
  CHECK(one.train.size() == 6);
  for (const int64_t id : identities(one.train)) CHECK(identities(one.splits[0].query).count(id) == 0);
  CHECK_THROWS_AS(read_set(Json{{"name", "viper"}, {"split", 21}}, root.path()), ConfigError);
  touch(root.path(), {"cam_a/900_0.bmp"});
  CHECK_THROWS_WITH(read_set("viper", root.path(), kEvaluation), Contains("must hold one picture of the same people"));
}

TEST_CASE("splits may come from a file", "[datasets]") {
  const TempDir root;
  make_viper(root.path(), 4);
  const auto file = (root / "splits.json").string();
  const Json part{{"name", "viper"}, {"splits", file}};
  const auto write = [&](const std::string& text) { std::ofstream(file) << text; };
  write(R"([{"train": [1, 4], "test": [3, 2]}])");
  const auto set = read_set(part, root.path(), kEvaluation);
  REQUIRE(set.splits.size() == 2);
  CHECK(rows(set.splits[0].query, root.path()) == Rows{"cam_a/002_45.bmp 2 1", "cam_a/004_45.bmp 3 1"});
  const auto bad = GENERATE(R"({"train": []})", R"([])", R"([{"train": [1]}])", R"([{"train": [1], "test": [9]}])",
                            R"([{"train": [1], "test": [1]}])", R"([{"train": [1], "test": []}])", R"([{"train": [1], "test": [2.5]}])");
  write(bad);
  INFO(bad);
  CHECK_THROWS_AS(read_set(part, root.path(), kEvaluation), ConfigError);
}

TEST_CASE("cuhk01 has two pictures from each camera", "[datasets]") {
  const TempDir root;
  for (int person = 1; person <= 5; ++person) {
    for (int k = 1; k <= 4; ++k) touch(root.path(), {fmt::format("campus/{:04}{:03}.png", person, k)});
  }
  const auto set = read_set("cuhk01", root.path(), kEvaluation);
  REQUIRE(set.splits.size() == 20);
  CHECK(set.splits[0].query.size() == 6);  // 5 people: 2 train, 3 test
  CHECK(set.splits[0].gallery.size() == 6);
  CHECK(set.splits[0].query[0].camera == 1);
  CHECK(set.splits[1].query[0].camera == 2);
  touch(root.path(), {"campus/0001005.png"});
  CHECK_THROWS_AS(read_set("cuhk01", root.path(), kEvaluation), DatasetError);
}

TEST_CASE("prid2011 keeps the strangers of camera b in every gallery", "[datasets]") {
  const TempDir root;
  for (int person = 1; person <= 200; ++person) {
    touch(root.path(), {fmt::format("cam_a/person_{:04}.png", person), fmt::format("cam_b/person_{:04}.png", person)});
  }
  touch(root.path(), {"cam_a/person_0201.png", "cam_b/person_0201.png", "cam_b/person_0202.png"});
  const auto set = read_set(Json{{"name", "prid2011_single_shot"}, {"split", 1}}, root.path());
  CHECK(set.train.size() == 200);
  CHECK(set.splits.at(0).query.size() == 100);
  CHECK(set.splits.at(0).gallery.size() == 102);
}

TEST_CASE("ilids draws one query and one gallery picture of each person", "[datasets]") {
  const TempDir root;
  for (int person = 1; person <= 6; ++person) {
    for (int k = 1; k <= 3; ++k) touch(root.path(), {fmt::format("Persons/{:04}{:03}.jpg", person, k)});
  }
  const auto set = read_set("ilids", root.path(), kEvaluation);
  REQUIRE(set.splits.size() == 10);
  for (const auto& split : set.splits) {
    CHECK(split.query.size() == 3);
    CHECK(identities(split.query) == identities(split.gallery));
    for (std::size_t i = 0; i < 3; ++i) CHECK(split.query[i].path != split.gallery[i].path);
  }
}

TEST_CASE("grid takes its splits from the set's own file", "[datasets]") {
  const TempDir root;
  touch(root.path(), {"probe/0001_1_a.jpeg", "probe/0002_3_a.jpeg", "probe/0003_8_a.jpeg", "gallery/0000_2_a.jpeg",
                      "gallery/0001_2_a.jpeg", "gallery/0002_2_a.jpeg", "gallery/0003_2_a.jpeg"});
  std::filesystem::copy_file(GENERATE(as<std::string>(), REID_FIXTURES "/mat/partitions_plain.mat",
                                      REID_FIXTURES "/mat/partitions_packed.mat"),
                             root / "features_and_partitions.mat");
  const auto set = read_set("grid", root.path(), kEvaluation);
  REQUIRE(set.splits.size() == 2);
  CHECK(rows(set.splits[0].query, root.path()) == Rows{"probe/0002_3_a.jpeg 2 3"});
  CHECK(rows(set.splits[0].gallery, root.path()) == Rows{"gallery/0000_2_a.jpeg 0 2", "gallery/0002_2_a.jpeg 2 2"});
  CHECK(rows(set.splits[1].query, root.path()) == Rows{"probe/0001_1_a.jpeg 1 1"});
  const auto trained = read_set(Json{{"name", "grid"}, {"split", 2}}, root.path());
  CHECK(identities(trained.train) == std::set<int64_t>{2, 3});
  CHECK(trained.train.size() == 4);
  std::filesystem::remove(root / "features_and_partitions.mat");
  CHECK_THROWS_WITH(read_set("grid", root.path(), kEvaluation), Contains("features_and_partitions.mat"));
}
