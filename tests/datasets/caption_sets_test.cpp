// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/datasets/check.hpp"
#include "reid/datasets/synthetic.hpp"
#include "support.hpp"
#include "support/catch.hpp"

using namespace reid;
using datasets::make_synthetic;
using datasets::SyntheticKind;
using reid::test::read_set;
using reid::test::rows;
using reid::test::TempDir;
using reid::test::touch;
using Catch::Matchers::Contains;
using Rows = std::vector<std::string>;
namespace fs = std::filesystem;

namespace {

Json entry(const std::string& split, int64_t id, const std::string& path, const Rows& captions) {
  return {{"split", split}, {"captions", captions}, {"file_path", path}, {"processed_tokens", Json::array()}, {"id", id}};
}

/// A CUHK-PEDES of two training people, one of val and two of test.
Json cuhk() {
  return Json::array({entry("train", 2, "Market/0002_c1.jpg", {"a man", "a tall man"}), entry("train", 1, "CUHK01/0001.png", {"red"}),
                      entry("train", 1, "CUHK01/0000.png", {"red hat", "in red", "red shoes"}), entry("val", 3, "cam_a/3.jpg", {"blue"}),
                      entry("test", 5, "test_query/5.jpg", {"green", "green coat"}), entry("test", 4, "cam_b/4.jpg", {"black"})});
}

void write(const fs::path& root, const Json& list, bool pictures = true) {
  fs::create_directories(root / "imgs");
  write_file_atomic(root / "reid_raw.json", list.dump());
  if (!pictures) return;
  for (const auto& item : list) {
    if (item.is_object() && item.contains("file_path")) touch(root / "imgs", {item["file_path"].get<std::string>()});
  }
}

}  // namespace

TEST_CASE("cuhk_pedes: a sentence is a query, a picture stands once in the gallery", "[datasets][captions]") {
  const TempDir root;
  write(root / "CUHK-PEDES", cuhk());
  const auto set = read_set("cuhk_pedes", root.path());
  const auto below = root / "CUHK-PEDES/imgs";
  CHECK(rows(set.train, below) == Rows{"CUHK01/0000.png 1 -1", "CUHK01/0001.png 1 -1", "Market/0002_c1.jpg 2 -1"});
  CHECK(set.train[0].captions == Rows{"red hat", "in red", "red shoes"});
  REQUIRE(set.splits.size() == 1);
  CHECK(rows(set.splits[0].gallery, below) == Rows{"cam_b/4.jpg 4 -1", "test_query/5.jpg 5 -1"});
  CHECK(rows(set.splits[0].query, below) == Rows{"cam_b/4.jpg 4 -1", "test_query/5.jpg 5 -1", "test_query/5.jpg 5 -1"});
  CHECK(set.splits[0].query[1].captions == Rows{"green"});
  CHECK(set.splits[0].query[2].captions == Rows{"green coat"});
  CHECK(set.default_protocol == "text_to_image");
  CHECK_THAT(set.notes.at(1), Contains("1 training identities have a single picture"));

  const auto turned = read_set("cuhk_pedes", root.path(), {false, true}, "image_to_text");
  CHECK(turned.splits[0].query.size() == 2);
  CHECK(turned.splits[0].gallery.size() == 3);
  const auto val = read_set(Json{{"name", "cuhk_pedes"}, {"part", "val"}}, root.path());
  CHECK(rows(val.splits[0].gallery, below) == Rows{"cam_a/3.jpg 3 -1"});
  const auto part = read_set(Json{{"name", "cuhk_pedes"}, {"only", {"CUHK01", "cam_b"}}}, root.path());
  CHECK(part.train.size() == 2);
  CHECK(part.splits[0].gallery.size() == 1);
  CHECK_THAT(part.notes.at(1), Contains("a part of the set: pictures below CUHK01, cam_b alone"));
}

TEST_CASE("a wrong entry names file, entry and what is wrong", "[datasets][captions]") {
  struct Case {
    const char* pointer;
    Json value;
    const char* message;
  };
  const auto wrong = GENERATE(values<Case>({
      {"/5", Json("text"), "entry 5: must be an object, got the string"},
      {"/5/split", Json("dev"), "entry 5: \"split\" must be train, val or test, got 'dev'"},
      {"/5/split", Json(1), "entry 5: \"split\" must be a string, got the integer 1"},
      {"/4/id", Json("5"), "entry 4: \"id\" must be an integer from 0, got the string"},
      {"/4/id", Json(-1), "entry 4: \"id\" must be an integer from 0, got -1"},
      {"/4/id", Json(1.5), "entry 4: \"id\" must be an integer from 0"},
      {"/4/captions", Json("one"), "entry 4: \"captions\" must be a list, got the string"},
      {"/4/captions", Json::array(), "entry 4: \"captions\" must hold a sentence, got an empty list"},
      {"/4/captions/1", Json(" \t"), "entry 4: caption 1 must be a sentence, got an empty one"},
      {"/4/captions/0", Json("\u00a0\u3000\u200b"), "entry 4: caption 0 must be a sentence, got an empty one"},
      {"/4/captions/0", Json(3), "entry 4: caption 0 must be a string, got the integer 3"},
      {"/4/file_path", Json("../x.jpg"), "entry 4: \"file_path\" must be the path of a picture below imgs/, got '../x.jpg'"},
      {"/4/file_path", Json("/etc/x.jpg"), "must be the path of a picture below imgs/"},
      {"/4/file_path", Json("x.txt"), "must be the path of a picture below imgs/"},
      {"/4/file_path", Json("cam_a/3.jpg"), "entry 4: picture must be listed for one part and identity, got 'cam_a/3.jpg' of entry 3 again"},
      {"/0/id", Json(7), "entry 0: training identities must follow each other without a gap, got 7 after 1"},
  }));
  const TempDir root;
  auto list = cuhk();
  write(root.path(), list);
  list[Json::json_pointer(wrong.pointer)] = wrong.value;
  write(root.path(), list, false);
  INFO(wrong.pointer << " = " << wrong.value.dump());
  CHECK_THROWS_AS(read_set("cuhk_pedes", root.path()), DatasetError);
  CHECK_THROWS_WITH(read_set("cuhk_pedes", root.path()), Contains("reid_raw.json: ") && Contains(wrong.message));
  const auto report = datasets::check(*datasets::registry().create("cuhk_pedes", ""), "cuhk_pedes", root.path(), 1);
  CHECK(report.count("misnamed") == 1);
}

TEST_CASE("a picture that is listed again is taken once, with all its sentences", "[datasets][captions]") {
  const TempDir root;
  auto list = cuhk();
  list.push_back(entry("train", 2, "Market/0002_c1.jpg", {"a very tall man"}));
  list.push_back(entry("test", 4, "cam_b/4.jpg", {"black"}));
  write(root.path(), list);
  const auto set = read_set("cuhk_pedes", root.path());
  CHECK(rows(set.train, root / "imgs") == Rows{"CUHK01/0000.png 1 -1", "CUHK01/0001.png 1 -1", "Market/0002_c1.jpg 2 -1"});
  CHECK(set.train[2].captions == Rows{"a man", "a tall man", "a very tall man"});
  CHECK(rows(set.splits.at(0).gallery, root / "imgs") == Rows{"cam_b/4.jpg 4 -1", "test_query/5.jpg 5 -1"});
  CHECK(set.splits[0].query.size() == 4);
  CHECK_THAT(set.notes.back(), Contains("more than once, each taken once with all its sentences: 2"));

  // Counted as the authors count, and nothing to complain of.
  const auto reader = datasets::registry().create("cuhk_pedes", "");
  std::map<std::string, int64_t> counts;
  for (const auto& count : reader->counts(root.path())) counts[count.what] = count.actual;
  CHECK(counts.at("train images") == 4);
  CHECK(counts.at("train captions") == 7);
  CHECK(counts.at("train identities") == 2);
  CHECK(datasets::check(*reader, "cuhk_pedes", root.path(), 1).count("misnamed") == 0);

  // Another identity: it stays with both in training, and can't be scored.
  auto shared = cuhk();
  shared.push_back(entry("train", 3, "Market/0002_c1.jpg", {"a very tall man"}));
  write(root.path(), shared);
  const auto both = read_set("cuhk_pedes", root.path());
  CHECK(rows(both.train, root / "imgs") ==
        Rows{"CUHK01/0000.png 1 -1", "CUHK01/0001.png 1 -1", "Market/0002_c1.jpg 2 -1", "Market/0002_c1.jpg 3 -1"});
  CHECK(both.train[3].captions == Rows{"a very tall man"});
  CHECK_THAT(both.notes.back(), Contains("under two identities: 1"));
  shared.back() = entry("test", 5, "cam_b/4.jpg", {"black"});
  write(root.path(), shared);
  CHECK_THROWS_WITH(read_set("cuhk_pedes", root.path()), Contains("entry 6: picture must be listed for one part and identity"));
}

TEST_CASE("gaps between training identities are those of the whole file, whatever part is used", "[datasets][captions]") {
  const TempDir root;
  auto list = cuhk();
  list.push_back(entry("train", 3, "CUHK01/0003.png", {"grey"}));
  write(root.path(), list);
  const Json part{{"name", "cuhk_pedes"}, {"only", {"CUHK01", "cam_b"}}};
  const auto set = read_set(part, root.path());  // identities 1 and 3 of 1 to 3
  CHECK(rows(set.train, root / "imgs") == Rows{"CUHK01/0000.png 1 -1", "CUHK01/0001.png 1 -1", "CUHK01/0003.png 3 -1"});
  list.push_back(entry("train", 5, "Market/0005_c1.jpg", {"far away"}));
  write(root.path(), list);
  CHECK_THROWS_WITH(read_set(part, root.path()), Contains("without a gap, got 5 after 3"));
  // An entry that can't be read may be the one that is lacking: one thing wrong, not two.
  list.push_back(entry("train", 4, "Market/0004_c1.jpg", {}));
  write(root.path(), list);
  const auto report = datasets::check(*datasets::registry().create("cuhk_pedes", ""), "cuhk_pedes", root.path(), 1);
  CHECK(report.count("misnamed") == 1);
}

TEST_CASE("cuhk_pedes says why the list without a split won't do", "[datasets][captions]") {
  const TempDir root;
  touch(root / "CUHK-PEDES", {"caption_all.json"}, "[]");
  for (const auto& folder : {root.path(), root / "CUHK-PEDES"}) {
    CHECK_THROWS_AS(read_set("cuhk_pedes", folder), DatasetError);
    CHECK_THROWS_WITH(read_set("cuhk_pedes", folder), Contains("must be reid_raw.json") && Contains("got caption_all.json alone"));
  }
  write(root / "CUHK-PEDES", cuhk());
  CHECK_NOTHROW(read_set("cuhk_pedes", root.path()));
}

TEST_CASE("missing pictures, keys and files, and files that aren't JSON", "[datasets][captions]") {
  const TempDir root;
  auto list = cuhk();
  list[2].erase("captions");
  write(root.path(), list);
  CHECK_THROWS_WITH(read_set("cuhk_pedes", root.path()), Contains("entry 2: must have the key \"captions\""));
  write(root.path(), cuhk());
  fs::remove(root / "imgs/cam_b/4.jpg");
  CHECK_THROWS_WITH(read_set("cuhk_pedes", root.path()), Contains("entry 5: picture must be there, got no file") && Contains("cam_b/4.jpg"));
  CHECK_NOTHROW(read_set("cuhk_pedes", root.path(), {true, false}));
  write_file_atomic(root / "reid_raw.json", "{}");
  CHECK_THROWS_WITH(read_set("cuhk_pedes", root.path()), Contains("must be a list of objects, got an object"));
  write_file_atomic(root / "reid_raw.json", "[{\"split\": \"tr\xff\"}]");
  CHECK_THROWS_AS(read_set("cuhk_pedes", root.path()), ConfigError);
  CHECK_THROWS_WITH(read_set("cuhk_pedes", root.path()), Contains("reid_raw.json: ") && Contains("UTF-8") && Contains(", in /0"));
  write_file_atomic(root / "reid_raw.json", "[]");
  CHECK_THROWS_WITH(read_set("cuhk_pedes", root.path()), Contains("part train must hold entries, got none"));
  const TempDir other;
  CHECK_THROWS_WITH(read_set("icfg_pedes", other.path()), Contains("ICFG-PEDES.json"));
  touch(other / "ICFG-PEDES", {"ICFG_PEDES.json"}, "[]");
  CHECK_THROWS_WITH(read_set("icfg_pedes", other.path()), Contains("must be named ICFG-PEDES.json, got ICFG_PEDES.json"));
  CHECK_THROWS_AS(read_set(Json{{"name", "icfg_pedes"}, {"part", "val"}}, other.path()), ConfigError);
  const TempDir third;
  touch(third / "ICFG_PEDES", {"ICFG-PEDES.json"}, "[]");
  CHECK_THROWS_WITH(read_set("icfg_pedes", third.path()), Contains("ICFG_PEDES/ICFG-PEDES.json: part train must hold entries, got none"));
}

TEST_CASE("rstp_reid has its own key and cameras in its names", "[datasets][captions]") {
  const TempDir root;
  Json list = Json::array();
  for (const auto& [split, id, path] : {std::tuple{"train", 0, "0000_c14_0031.jpg"}, {"val", 1, "0001_c2_0001.jpg"}, {"test", 2, "odd.jpg"}}) {
    list.push_back({{"id", id}, {"img_path", path}, {"captions", {"a", "b"}}, {"split", split}});
    touch(root / "RSTPReid/imgs", {path});
  }
  write_file_atomic(root / "RSTPReid/data_captions.json", list.dump());
  const auto set = read_set("rstp_reid", root.path());
  CHECK(set.train.at(0).camera == 14);
  CHECK(set.splits.at(0).gallery.at(0).camera == -1);
  CHECK(set.splits.at(0).query.size() == 2);
}

TEST_CASE("drawn sets with captions: layout, counts, splits, the same for any number of threads", "[datasets][captions]") {
  const auto kind = GENERATE(SyntheticKind::cuhk_pedes, SyntheticKind::icfg_pedes, SyntheticKind::rstp_reid);
  const std::string name = enum_name(kind);
  INFO(name);
  const TempDir root;
  auto options = datasets::synthetic_defaults(kind);
  options.identities = 16;
  const auto made = make_synthetic(kind, options, root / "set", 3);
  const auto set = read_set(name, made.folder);
  CHECK(static_cast<int64_t>(set.train.size()) == 8 * options.images_per_identity);
  const auto held = kind == SyntheticKind::icfg_pedes ? 8 : 4;
  CHECK(static_cast<int64_t>(set.splits.at(0).gallery.size()) == held * options.images_per_identity);
  CHECK(set.splits[0].query.size() == set.splits[0].gallery.size() * static_cast<std::size_t>(options.captions));
  CHECK_THAT(set.notes.at(0) + set.notes.back(), Contains("drawn pictures"));
  std::set<int64_t> train, test;
  for (const auto& sample : set.train) train.insert(sample.identity);
  for (const auto& sample : set.splits[0].gallery) test.insert(sample.identity);
  CHECK(train.size() == 8);
  for (const auto id : test) CHECK(train.count(id) == 0);
  const auto report = datasets::check(*datasets::registry().create(name, ""), name, made.folder, 2);
  for (const auto& problem : report.problems) FAIL_CHECK(problem.message);
  CHECK(report.counts.size() >= 6);

  make_synthetic(kind, options, root / "again", 1);
  const std::string list = kind == SyntheticKind::cuhk_pedes   ? "CUHK-PEDES/reid_raw.json"
                           : kind == SyntheticKind::icfg_pedes ? "ICFG-PEDES/ICFG-PEDES.json"
                                                               : "RSTPReid/data_captions.json";
  CHECK(read_file(root / ("set/" + list)) == read_file(root / ("again/" + list)));
  auto other = options;
  other.seed = 1;
  make_synthetic(kind, other, root / "other", 2);
  CHECK(read_file(root / ("set/" + list)) != read_file(root / ("other/" + list)));
}

TEST_CASE("drawn captions are varied and partial, and tell people apart better than chance", "[datasets][captions]") {
  const TempDir root;
  auto options = datasets::synthetic_defaults(SyntheticKind::cuhk_pedes);
  options.identities = 40;
  const auto made = make_synthetic(SyntheticKind::cuhk_pedes, options, root / "set");
  const auto set = read_set("cuhk_pedes", made.folder);
  std::set<std::string> sentences;
  std::vector<std::pair<int64_t, std::set<std::string>>> words;
  std::size_t shoes = 0, count = 0;
  for (const auto& sample : set.train) {
    for (const auto& caption : sample.captions) {
      sentences.insert(caption);
      ++count;
      shoes += caption.find("shoes") != std::string::npos || caption.find("sneakers") != std::string::npos ? 1 : 0;
      std::set<std::string> bag;
      std::string word;
      for (const char c : caption + " ") {
        if (c != ' ' && c != ',' && c != '.') {
          word.push_back(c);
        } else if (!word.empty()) {
          bag.insert(std::move(word));
          word.clear();
        }
      }
      words.emplace_back(sample.identity, bag);
    }
  }
  CHECK(sentences.size() > count * 9 / 10);
  CHECK(shoes > count / 5);       // some sentences name the shoes,
  CHECK(shoes < count * 4 / 5);   // others don't
  // The nearest other sentence by common words is of the same person far more often than by chance (1 in 20).
  std::size_t right = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::pair<double, int64_t> best{-1, -1};
    for (std::size_t j = 0; j < words.size(); ++j) {
      if (j == i) continue;
      std::size_t common = 0;
      for (const auto& word : words[i].second) common += words[j].second.count(word);
      const double score = static_cast<double>(common) /
                           static_cast<double>(words[i].second.size() + words[j].second.size() - common);
      best = std::max(best, {score, words[j].first});
    }
    right += best.second == words[i].first ? 1 : 0;
  }
  CHECK(right > count / 4);
  CHECK(right < count * 95 / 100);
}
