// SPDX-License-Identifier: Apache-2.0
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

TEST_CASE("folder reads train, query and gallery subfolders with cameras in the names", "[datasets]") {
  const TempDir root;
  touch(root.path(), {"train/zoe/a_c2.jpg", "train/adam/x_c1.png", "query/bob/1_c1.jpg", "gallery/bob/2_c2.jpg",
                      "gallery/bob/notes.txt", "gallery/carl/3_c1.jpg", "gallery/readme.md"});
  const auto set = read_set("folder", root.path());
  CHECK(set.default_protocol == "generic_camera");
  CHECK(set.skipped_files == 1);
  // adam, bob, carl, zoe: numbered in the order of their names over all parts.
  CHECK(rows(set.train, root.path()) == Rows{"train/adam/x_c1.png 0 1", "train/zoe/a_c2.jpg 3 2"});
  REQUIRE(set.splits.size() == 1);
  CHECK(rows(set.splits[0].query, root.path()) == Rows{"query/bob/1_c1.jpg 1 1"});
  CHECK(rows(set.splits[0].gallery, root.path()) == Rows{"gallery/bob/2_c2.jpg 1 2", "gallery/carl/3_c1.jpg 2 1"});
  const auto evaluation = read_set("folder", root.path(), {false, true});
  CHECK(evaluation.train.empty());
  CHECK(evaluation.splits[0].query[0].identity == 1);
}

TEST_CASE("folder without cameras is scored without the camera rule", "[datasets]") {
  const TempDir root;
  touch(root.path(), {"query/b/1.jpg", "gallery/b/2.jpg", "train/t/3.jpg"});
  const auto set = read_set("folder", root.path());
  CHECK(set.default_protocol == "generic");
  CHECK(set.splits.at(0).query.at(0).camera == -1);
  CHECK_THROWS_WITH(read_set("folder", root.path(), {}, "generic_camera"), Contains("must have a camera"));
  touch(root.path(), {"gallery/b/5_c1.jpg"});
  CHECK_THROWS_WITH(read_set("folder", root.path()), Contains("all hold a camera") && Contains("set the option"));
  CHECK(read_set(Json{{"name", "folder"}, {"camera", "none"}}, root.path()).default_protocol == "generic");
}

TEST_CASE("folder takes the camera from a user's own pattern, folders below the identity included",
          "[datasets]") {
  const TempDir root;
  touch(root.path(), {"query/b/view-7/1.jpg", "gallery/b/view-12/2.jpg", "train/t/view-7/3.jpg"});
  const Json part{{"name", "folder"}, {"camera", "view-(\\d+)"}};
  const auto set = read_set(part, root.path());
  CHECK(set.splits.at(0).query.at(0).camera == 7);
  CHECK(set.splits.at(0).gallery.at(0).camera == 12);
  touch(root.path(), {"gallery/b/other/9.jpg"});
  CHECK_THROWS_WITH(read_set(part, root.path()), Contains("gallery/b/other/9.jpg") && Contains("view-(\\d+)"));
  CHECK_THROWS_AS(read_set(Json{{"name", "folder"}, {"camera", "view-("}}, root.path()), ConfigError);
  CHECK_THROWS_WITH(read_set(Json{{"name", "folder"}, {"camera", "view"}}, root.path()), Contains("a group"));
}

TEST_CASE("folder splits by identity, the same way for the same seed", "[datasets]") {
  const TempDir root;
  Rows names;
  for (int person = 0; person < 20; ++person) {
    for (int camera = 1; camera <= 3; ++camera) {
      for (int shot = 0; shot < 2; ++shot) {
        names.push_back(fmt::format("person{}/{}_c{}.jpg", person, shot, camera));
      }
    }
  }
  touch(root.path(), names);
  const auto part = [](int64_t seed) { return Json{{"name", "folder"}, {"seed", seed}, {"train_fraction", 0.6}}; };
  const auto set = read_set(part(1), root.path());
  CHECK(set.train.size() == 12 * 6);
  REQUIRE(set.splits.size() == 1);
  const auto& split = set.splits[0];
  CHECK(split.query.size() == 8 * 3);  // one per identity and camera
  CHECK(split.gallery.size() == 8 * 3);
  std::set<int64_t> train, test;
  for (const auto& sample : set.train) train.insert(sample.identity);
  for (const auto& sample : split.query) test.insert(sample.identity);
  CHECK(train.size() == 12);
  CHECK(test.size() == 8);
  for (const int64_t identity : test) CHECK(train.count(identity) == 0);
  CHECK(rows(read_set(part(1), root.path()).splits[0].query, root.path()) == rows(split.query, root.path()));
  CHECK(rows(read_set(part(2), root.path()).splits[0].query, root.path()) != rows(split.query, root.path()));
  CHECK(read_set(part(1), root.path(), {true, false}).train.size() == 72);
}

TEST_CASE("folder draws no query that would have no match", "[datasets]") {
  const TempDir root;
  // One camera only; two cameras with one picture each; three cameras with one picture each.
  touch(root.path(), {"a/1_c1.jpg", "a/2_c1.jpg", "b/1_c1.jpg", "b/2_c2.jpg", "c/1_c1.jpg", "c/2_c2.jpg",
                      "c/3_c3.jpg"});
  const auto set = read_set(Json{{"name", "folder"}, {"train_fraction", 0}}, root.path(), {false, true});
  const auto& split = set.splits.at(0);
  CHECK(split.query.size() + split.gallery.size() == 7);
  std::map<int64_t, int64_t> queries;
  for (const auto& query : split.query) {
    ++queries[query.identity];
    int64_t matches = 0;
    for (const auto& item : split.gallery) {
      matches += item.identity == query.identity && item.camera != query.camera ? 1 : 0;
    }
    CHECK(matches > 0);
  }
  CHECK(queries == std::map<int64_t, int64_t>{{1, 1}, {2, 2}});
  touch(root.path(), {"empty/readme.txt"});
  CHECK(read_set(Json{{"name", "folder"}, {"train_fraction", 0}}, root.path(), {false, true}).skipped_files == 1);
}

TEST_CASE("folder says what is missing", "[datasets]") {
  const TempDir root;
  CHECK_THROWS_WITH(read_set("folder", root / "none"), Contains("doesn't exist"));
  CHECK_THROWS_WITH(read_set("folder", root.path()), Contains("one folder of pictures per identity"));
  touch(root.path(), {"a/1.jpg"});
  CHECK_THROWS_WITH(read_set(Json{{"name", "folder"}, {"train_fraction", 0}}, root.path(), {false, true}),
                    Contains("two pictures"));
  CHECK_THROWS_AS(read_set(Json{{"name", "folder"}, {"split", "subfolders"}}, root.path()), DatasetError);
  CHECK_THROWS_AS(read_set(Json{{"name", "folder"}, {"splitt", "random"}}, root.path()), ConfigError);
}
