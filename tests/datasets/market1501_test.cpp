// SPDX-License-Identifier: Apache-2.0
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

/// A Market-1501 tree of a few files, made in an order that isn't the sorted one.
void make_tree(const std::filesystem::path& root) {
  touch(root, {"bounding_box_train/0011_c6s4_000010_02.jpg", "bounding_box_train/0002_c1s1_000451_03.jpg",
               "bounding_box_train/Thumbs.db", "bounding_box_train/0002_c2s1_000001_00.jpg",
               "query/0003_c3s1_000100_00.jpg", "query/0001_c1s1_001051_00.jpg",
               "bounding_box_test/0003_c1s1_000010_01.jpg", "bounding_box_test/0000_c2s1_000020_01.jpg",
               "bounding_box_test/-1_c4s1_000030_01.jpg", "bounding_box_test/0001_c5s1_000040_01.JPG",
               "bounding_box_test/.DS_Store"});
}

}  // namespace

TEST_CASE("market1501 lists are sorted by name and keep junk and distractors", "[datasets]") {
  const TempDir root;
  make_tree(root.path());
  const auto set = read_set("market1501", root.path());
  CHECK(set.name == "market1501");
  CHECK(set.default_protocol == "market1501");
  CHECK(set.notes.empty());
  CHECK(set.skipped_files == 2);
  CHECK(rows(set.train, root.path()) == Rows{"bounding_box_train/0002_c1s1_000451_03.jpg 2 1",
                                             "bounding_box_train/0002_c2s1_000001_00.jpg 2 2",
                                             "bounding_box_train/0011_c6s4_000010_02.jpg 11 6"});
  REQUIRE(set.splits.size() == 1);
  CHECK(rows(set.splits[0].query, root.path()) ==
        Rows{"query/0001_c1s1_001051_00.jpg 1 1", "query/0003_c3s1_000100_00.jpg 3 3"});
  CHECK(rows(set.splits[0].gallery, root.path()) ==
        Rows{"bounding_box_test/-1_c4s1_000030_01.jpg -1 4", "bounding_box_test/0000_c2s1_000020_01.jpg 0 2",
             "bounding_box_test/0001_c5s1_000040_01.JPG 1 5", "bounding_box_test/0003_c1s1_000010_01.jpg 3 1"});
}

TEST_CASE("market1501 is found in its official folder, and a note says so", "[datasets]") {
  const TempDir root;
  make_tree(root / "Market-1501-v15.09.15");
  const auto set = read_set("market1501", root.path());
  CHECK(set.train.size() == 3);
  REQUIRE(set.notes.size() == 1);
  CHECK_THAT(set.notes[0], Contains("Market-1501-v15.09.15"));
}

TEST_CASE("market1501 needs only the parts that are asked for", "[datasets]") {
  const TempDir root;
  make_tree(root.path());
  std::filesystem::remove_all(root / "bounding_box_train");
  const auto set = read_set("market1501", root.path(), {false, true});
  CHECK(set.train.empty());
  CHECK(set.splits.at(0).query.size() == 2);
  CHECK_THROWS_WITH(read_set("market1501", root.path()), Contains("bounding_box_train: path must be a folder"));
  std::filesystem::create_directories(root / "bounding_box_train");
  CHECK_THROWS_WITH(read_set("market1501", root.path()), Contains("folder must hold pictures, got none among 0"));
}

TEST_CASE("market1501 names the file that doesn't fit and the pattern", "[datasets]") {
  const std::string bad = GENERATE("query/person.jpg", "query/0001_c7s1_001051_00.jpg", "query/0001.jpg",
                                   "query/-2_c1s1_001051_00.jpg", "query/0000_c1s1_001051_00.jpg",
                                   "query/0001_c12s1_001051_00.jpg", "query/9999999999999999999999_c1s1_1.jpg",
                                   "bounding_box_train/-1_c1s1_000001_00.jpg", "bounding_box_test/x_c1.jpg");
  const TempDir root;
  make_tree(root.path());
  touch(root.path(), {bad});
  CHECK_THROWS_AS(read_set("market1501", root.path()), DatasetError);
  CHECK_THROWS_WITH(read_set("market1501", root.path()), Contains(bad) && Contains("like 0002_c1s1_000451_03.jpg"));
}

TEST_CASE("market1501 says what is wrong with the root", "[datasets]") {
  const TempDir root;
  CHECK_THROWS_WITH(read_set("market1501", root / "none"), Contains("a path that doesn't exist"));
  CHECK_THROWS_WITH(read_set("market1501", root.path()),
                    Contains("must hold bounding_box_train, bounding_box_test, query") &&
                        Contains("Market-1501-v15.09.15"));
  touch(root.path(), {"file"});
  CHECK_THROWS_WITH(read_set("market1501", root / "file"), Contains("got a file"));
}

TEST_CASE("market1501_500k adds the distractors with identity 0", "[datasets]") {
  const TempDir root;
  make_tree(root.path());
  touch(root.path(), {"images/0000_c1s1_000001_00.jpg", "images/-1_c2s1_000001_00.jpg"});
  const auto plain = read_set("market1501", root.path());
  CHECK(plain.splits.at(0).gallery.size() == 4);
  const auto set = read_set("market1501", root.path(), {}, "market1501_500k");
  REQUIRE(set.splits.at(0).gallery.size() == 6);
  CHECK(set.splits[0].gallery[4].identity == 0);
  CHECK(set.splits[0].gallery[5].identity == 0);
  REQUIRE(set.notes.size() == 1);
  CHECK(set.notes[0] == "2 extra distractors in the gallery");
  std::filesystem::remove_all(root / "images");
  CHECK_THROWS_AS(read_set("market1501", root.path(), {}, "market1501_500k"), DatasetError);
}

TEST_CASE("market1501_multi_query lists the boxes of the queries' identities and cameras", "[datasets]") {
  const TempDir root;
  make_tree(root.path());
  touch(root.path(), {"gt_bbox/0001_c1s1_001051_00.jpg", "gt_bbox/0001_c1s2_000007_00.jpg",
                      "gt_bbox/0001_c2s1_000007_00.jpg", "gt_bbox/0003_c3s1_000100_00.jpg",
                      "gt_bbox/0002_c1s1_000451_00.jpg"});
  CHECK(read_set("market1501", root.path()).multi_query.empty());
  const auto set = read_set("market1501", root.path(), {}, "market1501_multi_query");
  CHECK(rows(set.multi_query, root.path()) ==
        Rows{"gt_bbox/0001_c1s1_001051_00.jpg 1 1", "gt_bbox/0001_c1s2_000007_00.jpg 1 1",
             "gt_bbox/0003_c3s1_000100_00.jpg 3 3"});
}

TEST_CASE("market1501 refuses a protocol of another set", "[datasets]") {
  const TempDir root;
  make_tree(root.path());
  CHECK_THROWS_WITH(read_set("market1501", root.path(), {}, "msmt17_v1"), Contains("got 'msmt17_v1'"));
}

TEST_CASE("market1501 counts stand beside the documented ones", "[datasets]") {
  const TempDir root;
  make_tree(root.path());
  const auto counts = datasets::registry().create("market1501", "")->counts(root.path());
  std::map<std::string, std::pair<int64_t, int64_t>> table;
  for (const auto& count : counts) {
    table[count.what] = {count.expected, count.actual};
    CHECK_FALSE(count.source.empty());
  }
  CHECK(table.at("train images") == std::pair<int64_t, int64_t>(12936, 3));
  CHECK(table.at("train identities") == std::pair<int64_t, int64_t>(751, 2));
  CHECK(table.at("query images") == std::pair<int64_t, int64_t>(3368, 2));
  CHECK(table.at("bounding_box_test images") == std::pair<int64_t, int64_t>(19732, 4));
  CHECK(table.at("gallery junk (identity -1)") == std::pair<int64_t, int64_t>(3819, 1));
  CHECK(table.at("gallery distractors (identity 0)") == std::pair<int64_t, int64_t>(2798, 1));
  CHECK(table.at("gallery images without junk") == std::pair<int64_t, int64_t>(15913, 3));
  CHECK(table.count("gt_bbox images") == 0);
}
