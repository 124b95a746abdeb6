// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <set>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/datasets/synthetic.hpp"
#include "support.hpp"
#include "support/catch.hpp"

using namespace reid;
using datasets::make_synthetic;
using datasets::SyntheticKind;
using datasets::SyntheticOptions;
using reid::test::read_set;
using reid::test::TempDir;
using reid::test::touch;
using Catch::Matchers::Contains;
using Rows = std::vector<std::string>;
namespace fs = std::filesystem;

namespace {

SyntheticOptions small() {
  SyntheticOptions options;
  options.identities = 8;
  options.images_per_identity = 6;
  options.cameras = 3;
  return options;
}

Rows files(const fs::path& root) {
  Rows found;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) found.push_back(fs::relative(entry.path(), root).string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// A fingerprint of all names and contents; of pixels where `pixels` is set, else of bytes.
uint64_t tree_print(const fs::path& root, bool pixels = false) {
  uint64_t print = fingerprint("");
  for (const auto& name : files(root)) {
    print = fingerprint(name, print);
    const std::string bytes = read_file(root / name);
    if (pixels && name.find(".png") != std::string::npos) {
      const cv::Mat picture = cv::imread((root / name).string());
      print = fingerprint({reinterpret_cast<const char*>(picture.data), picture.total() * picture.elemSize()}, print);
    } else {
      print = fingerprint(bytes, print);
    }
  }
  return print;
}

}  // namespace

TEST_CASE("a drawn data set is the same for any number of threads and differs by seed", "[datasets]") {
  const TempDir root;
  make_synthetic(SyntheticKind::market1501, small(), root / "one", 1);
  make_synthetic(SyntheticKind::market1501, small(), root / "four", 4);
  auto other = small();
  other.seed = 1;
  make_synthetic(SyntheticKind::market1501, other, root / "other", 4);
  CHECK(files(root / "one").size() > 8 * 6);
  CHECK(tree_print(root / "one") == tree_print(root / "four"));
  CHECK(tree_print(root / "one") != tree_print(root / "other"));
}

TEST_CASE("a drawn market1501 has the real layout, each query a match in another camera", "[datasets]") {
  const TempDir root;
  auto options = small();
  options.extra_distractors = 5;
  const auto made = make_synthetic(SyntheticKind::market1501, options, root / "set");
  const auto set = read_set("market1501", made.folder, {}, "market1501_multi_query");
  CHECK(set.train.size() == 4 * 6);
  REQUIRE(set.splits.size() == 1);
  const auto& split = set.splits[0];
  std::map<int64_t, int64_t> kinds;
  for (const auto& sample : split.gallery) ++kinds[std::min<int64_t>(sample.identity, 1)];
  CHECK(kinds[0] == 5);  // 0.2 of 24 test pictures
  CHECK(kinds[-1] == 2); // 0.1 of them
  CHECK(kinds[1] + static_cast<int64_t>(split.query.size()) == 4 * 6);
  std::set<int64_t> train;
  for (const auto& sample : set.train) train.insert(sample.identity);
  CHECK(train.size() == 4);
  std::set<std::pair<int64_t, int64_t>> queries;
  for (const auto& query : split.query) {
    CHECK(train.count(query.identity) == 0);
    CHECK(queries.emplace(query.identity, query.camera).second);
    CHECK(std::any_of(split.gallery.begin(), split.gallery.end(), [&](const Sample& item) {
      return item.identity == query.identity && item.camera != query.camera;
    }));
  }
  CHECK(set.multi_query.size() == 4 * 6);
  CHECK(read_set("market1501", made.folder, {}, "market1501_500k").splits[0].gallery.size() == split.gallery.size() + 5);
  CHECK_THAT(set.notes.at(0), Contains("drawn pictures"));
  for (const auto& sample : set.train) {
    const cv::Mat picture = cv::imread(sample.path);
    REQUIRE(picture.rows == 128);
    REQUIRE(picture.cols == 64);
  }
  CHECK(made.pictures == static_cast<int64_t>(files(made.folder).size()) - 1);
}

TEST_CASE("every layout that can be drawn is read back with the counts that it records", "[datasets]") {
  const auto kind = GENERATE(SyntheticKind::market1501, SyntheticKind::msmt17, SyntheticKind::cuhk03, SyntheticKind::ltcc,
                             SyntheticKind::folder);
  const std::string name = enum_name(kind);
  INFO(name);
  const TempDir root;
  auto options = small();
  options.images_per_identity = 14;
  options.outfits = 3;
  if (kind == SyntheticKind::cuhk03) options.cameras = 2;
  const auto made = make_synthetic(kind, options, root / "set");
  const auto reader = datasets::registry().create(name, "");
  const auto counts = reader->counts(made.folder);
  CHECK_FALSE(counts.empty());
  for (const auto& count : counts) {
    INFO(count.what);
    CHECK(count.expected == count.actual);
    CHECK(count.actual > 0);
  }
  const auto set = reader->read(made.folder, {}, kind == SyntheticKind::cuhk03 ? "cuhk03_np_detected" : "");
  const std::size_t val = kind == SyntheticKind::msmt17 ? 4 : 0;  // picture 12 of each training identity
  CHECK(set.train.size() == 4 * 14 - val);
  CHECK(set.splits.at(0).query.size() + set.splits.at(0).gallery.size() >= 4 * 14);
  if (kind == SyntheticKind::ltcc) {
    std::set<int64_t> clothes;
    for (const auto& sample : set.train) clothes.insert(sample.clothes);
    CHECK(clothes.size() == 4 * 3);
  }
  if (kind == SyntheticKind::folder) CHECK(set.default_protocol == "generic_camera");
  if (kind == SyntheticKind::msmt17) CHECK(set.default_protocol == "msmt17_v1");
}

TEST_CASE("the mean colour alone doesn't tell drawn people apart, but helps", "[datasets]") {
  // The global-average baseline on 40 people: nearest neighbour by mean colour, less the mean of the camera (as it is,
  // the colour tells cameras rather than people).
  const TempDir root;
  auto options = small();
  options.identities = 80;
  options.images_per_identity = 8;
  options.cameras = 6;
  options.distractors = 0;
  options.junk = 0;
  const auto made = make_synthetic(SyntheticKind::market1501, options, root / "set");
  const auto set = read_set("market1501", made.folder, {false, true});
  const auto mean = [](const Sample& sample) { return cv::mean(cv::imread(sample.path)); };
  std::vector<cv::Scalar> gallery;
  std::map<int64_t, std::pair<cv::Scalar, double>> cameras;
  for (const auto& item : set.splits.at(0).gallery) {
    gallery.push_back(mean(item));
    cameras[item.camera].first += gallery.back();
    cameras[item.camera].second += 1;
  }
  const auto own = [&](const cv::Scalar& colour, int64_t camera) {
    return colour - cameras.at(camera).first * (1 / cameras.at(camera).second);
  };
  for (std::size_t g = 0; g < gallery.size(); ++g) gallery[g] = own(gallery[g], set.splits[0].gallery[g].camera);
  int64_t hits = 0;
  for (const auto& query : set.splits[0].query) {
    const cv::Scalar colour = own(mean(query), query.camera);
    double best = 1e18;
    bool hit = false;
    for (std::size_t g = 0; g < gallery.size(); ++g) {
      const auto& item = set.splits[0].gallery[g];
      if (item.identity == query.identity && item.camera == query.camera) continue;
      const double distance = cv::norm(colour, gallery[g]);
      if (distance < best) {
        best = distance;
        hit = item.identity == query.identity;
      }
    }
    hits += hit ? 1 : 0;
  }
  const double rank1 = static_cast<double>(hits) / static_cast<double>(set.splits[0].query.size());
  CAPTURE(rank1);
  CHECK(rank1 < 0.5);
  CHECK(rank1 > 1.0 / 40);  // better than chance
}

TEST_CASE("a drawn data set is never written over something, and never by half", "[datasets]") {
  const TempDir root;
  touch(root / "full", {"photo.jpg"});
  CHECK_THROWS_AS(make_synthetic(SyntheticKind::folder, small(), root / "full"), InputError);
  CHECK(files(root / "full") == Rows{"photo.jpg"});
  CHECK_THROWS_AS(make_synthetic(SyntheticKind::folder, small(), root / "full/photo.jpg"), InputError);
  fs::create_directories(root / "empty");
  CHECK_NOTHROW(make_synthetic(SyntheticKind::folder, small(), (root / "empty").string() + "/"));
  CHECK(files(root / "empty").size() == 8 * 6 + 1);
  auto wrong = small();
  wrong.cameras = 7;
  CHECK_THROWS_WITH(make_synthetic(SyntheticKind::market1501, wrong, root / "no"), Contains("at most 6"));
  wrong.cameras = 3;
  CHECK_THROWS_WITH(make_synthetic(SyntheticKind::cuhk03, wrong, root / "no"), Contains("must be 2"));
  wrong.identities = 3;
  CHECK_THROWS_WITH(make_synthetic(SyntheticKind::folder, wrong, root / "no"), Contains("/make/identities"));
  auto outfits = small();
  outfits.outfits = 2;
  CHECK_THROWS_WITH(make_synthetic(SyntheticKind::ltcc, outfits, root / "no"), Contains("at least 4 per outfit"));
  CHECK_FALSE(fs::exists(root / "no"));
  // A drawing that fails midway (progress throws) leaves nothing.
  const auto fail = [](const ProgressUpdate&) { throw WorkError("stop"); };
  CHECK_THROWS_AS(make_synthetic(SyntheticKind::folder, small(), root / "half", 2, fail), WorkError);
  for (const auto& entry : fs::directory_iterator(root.path())) {
    const auto name = entry.path().filename().string();
    CHECK((name == "full" || name == "empty"));
  }
}

TEST_CASE("the drawn pixels are those of every other machine", "[datasets]") {
  const TempDir root;  // PNG files, so that no lossy codec has a say
  auto options = datasets::synthetic_defaults(SyntheticKind::cuhk03);
  options.identities = 16;
  const auto made = make_synthetic(SyntheticKind::cuhk03, options, root / "set");
  CHECK(tree_print(made.folder, true) == 0x555694cd93bc5bcfULL);
}
