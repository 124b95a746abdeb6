// SPDX-License-Identifier: Apache-2.0
#include <hdf5.h>
#include <matio.h>

#include <array>
#include <fstream>
#include <memory>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>

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

/// Writes what MATLAB writes for cuhk-03.mat: cell arrays of references, pictures as [3, W, H].
class MatWriter {
 public:
  explicit MatWriter(const std::string& path) : file_(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)) {}
  ~MatWriter() { H5Fclose(file_); }
  MatWriter(const MatWriter&) = delete;
  MatWriter& operator=(const MatWriter&) = delete;

  template <class T>
  hobj_ref_t array(const std::string& name, hid_t type, const std::vector<hsize_t>& dims, const std::vector<T>& values) {
    const hid_t space = H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr);
    const hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    const hid_t set = H5Dcreate2(file_, name.c_str(), type, space, links, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Dclose(set);
    H5Pclose(links);
    H5Sclose(space);
    hobj_ref_t reference{};
    H5Rcreate(&reference, file_, name.c_str(), H5R_OBJECT, -1);
    return reference;
  }
  hobj_ref_t empty() {
    return array<uint64_t>("/#refs#/e" + std::to_string(next_++), H5T_NATIVE_UINT64, {2}, {0, 0});
  }
  /// 2 wide, 3 high; red is 10 * y + x + base, green 100, blue 200.
  hobj_ref_t picture(int base) {
    std::vector<uint8_t> values;
    for (int c = 0; c < 3; ++c) {
      for (int x = 0; x < 2; ++x) {
        for (int y = 0; y < 3; ++y) values.push_back(static_cast<uint8_t>(c == 0 ? 10 * y + x + base : 100 * c));
      }
    }
    return array<uint8_t>("/#refs#/p" + std::to_string(next_++), H5T_NATIVE_UINT8, {3, 2, 3}, values);
  }
  hobj_ref_t cells(const std::string& name, hsize_t rows, const std::vector<hobj_ref_t>& references) {
    return array(name, H5T_STD_REF_OBJ, {rows, references.size() / rows}, references);
  }
  std::string fresh() { return "/#refs#/c" + std::to_string(next_++); }

 private:
  hid_t file_;
  int next_ = 0;
};

/// Two camera pairs with two people each; each person has pictures 1 and 6 (views 1 and 2), the last lacks picture 1.
void make_mat(const std::filesystem::path& root) {
  std::filesystem::create_directories(root / "cuhk03_release");
  MatWriter mat((root / "cuhk03_release/cuhk-03.mat").string());
  for (const std::string kind : {"labeled", "detected"}) {
    std::vector<hobj_ref_t> pairs;
    for (int pair = 0; pair < 2; ++pair) {
      std::vector<hobj_ref_t> people;
      for (int k = 0; k < 10; ++k) {  // [10, people]: the transpose of MATLAB's
        for (int person = 0; person < 2; ++person) {
          const bool missing = (k != 0 && k != 5) || (k == 0 && pair == 1 && person == 1);
          people.push_back(missing ? mat.empty() : mat.picture(100 * pair + 50 * person + k));
        }
      }
      pairs.push_back(mat.cells(mat.fresh(), 10, people));
    }
    mat.cells("/" + kind, 1, pairs);
  }
  // Two test sets: {(1, 2)} and {(2, 1)}.
  const auto one = mat.array<double>(mat.fresh(), H5T_NATIVE_DOUBLE, {2, 1}, {1, 2});
  const auto two = mat.array<double>(mat.fresh(), H5T_NATIVE_DOUBLE, {2, 1}, {2, 1});
  mat.cells("/testsets", 1, {one, two});
}

void put(mat_t* file, matvar_t* variable) {
  Mat_VarWrite(file, variable, MAT_COMPRESSION_NONE);
  Mat_VarFree(variable);
}

void make_config(const std::filesystem::path& path, const std::vector<std::string>& names, std::vector<double> labels,
                 std::vector<uint16_t> train, std::vector<double> query, std::vector<double> gallery) {
  mat_t* file = Mat_CreateVer(path.c_str(), nullptr, MAT_FT_MAT5);
  std::array<size_t, 2> dims{names.size(), 1};
  matvar_t* cell = Mat_VarCreate("filelist", MAT_C_CELL, MAT_T_CELL, 2, dims.data(), nullptr, 0);
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::string name = names[i];
    std::array<size_t, 2> text{1, name.size()};
    Mat_VarSetCell(cell, static_cast<int>(i),
                   Mat_VarCreate(nullptr, MAT_C_CHAR, MAT_T_UTF8, 2, text.data(), name.data(), 0));
  }
  put(file, cell);
  const auto doubles = [&](const char* name, std::vector<double>& values) {
    std::array<size_t, 2> shape{values.size(), 1};
    put(file, Mat_VarCreate(name, MAT_C_DOUBLE, MAT_T_DOUBLE, 2, shape.data(), values.data(), 0));
  };
  doubles("labels", labels);
  doubles("query_idx", query);
  doubles("gallery_idx", gallery);
  std::array<size_t, 2> shape{train.size(), 1};
  put(file, Mat_VarCreate("train_idx", MAT_C_UINT16, MAT_T_UINT16, 2, shape.data(), train.data(), 0));
  Mat_Close(file);
}

const Rows kNames{"1_001_1_01.png", "1_001_2_06.png", "1_002_1_01.png", "1_002_2_06.png", "2_001_1_01.png",
                  "2_001_2_06.png", "2_002_2_06.png"};

void make_release(const std::filesystem::path& root) {
  make_mat(root);
  for (const std::string kind : {"labeled", "detected"}) {
    make_config(root / ("cuhk03_new_protocol_config_" + kind + ".mat"), kNames, {1, 1, 2, 2, 3, 3, 4}, {1, 2}, {5}, {6, 7});
  }
}

}  // namespace

TEST_CASE("cuhk03 takes the pictures out of the .mat file, once", "[datasets]") {
  const TempDir root;
  make_release(root.path());
  const auto set = read_set("cuhk03", root.path(), {}, "cuhk03_np_labeled");
  Rows found;
  for (const auto& entry : std::filesystem::directory_iterator(root / "images_labeled")) {
    found.push_back(entry.path().filename().string());
  }
  std::sort(found.begin(), found.end());
  CHECK(found == kNames);
  CHECK_FALSE(std::filesystem::exists(root / "images_detected"));
  const cv::Mat picture = cv::imread((root / "images_labeled/1_002_2_06.png").string());
  REQUIRE(picture.rows == 3);
  REQUIRE(picture.cols == 2);
  for (int y = 0; y < 3; ++y) {
    for (int x = 0; x < 2; ++x) {  // pair 0, person 1, picture 5: base 55
      CHECK(picture.at<cv::Vec3b>(y, x) == cv::Vec3b(200, 100, static_cast<uint8_t>(10 * y + x + 55)));
    }
  }
  CHECK(rows(set.train, root.path()) == Rows{"images_labeled/1_001_1_01.png 1 1", "images_labeled/1_001_2_06.png 1 2"});
  CHECK(rows(set.splits.at(0).query, root.path()) == Rows{"images_labeled/2_001_1_01.png 3 1"});
  CHECK(rows(set.splits.at(0).gallery, root.path()) ==
        Rows{"images_labeled/2_001_2_06.png 3 2", "images_labeled/2_002_2_06.png 4 2"});
  // The second time the folder is used as it is.
  std::ofstream(root / "images_labeled/1_001_1_01.png") << "other";
  read_set("cuhk03", root.path(), {}, "cuhk03_np_labeled");
  CHECK(std::filesystem::file_size(root / "images_labeled/1_001_1_01.png") == 5);
}

TEST_CASE("cuhk03 classic has one split for each test set, and trains on one at a time", "[datasets]") {
  const TempDir root;
  const TempDir cache;
  make_release(root.path());
  const Json all{{"name", "cuhk03"}, {"cache", cache.path().string()}};
  const auto set = read_set(all, root.path(), {false, true}, "cuhk03_classic_detected");
  REQUIRE(set.splits.size() == 2);
  CHECK(rows(set.splits[0].query, cache.path()) ==
        Rows{"images_detected/1_002_1_01.png 10002 1", "images_detected/1_002_2_06.png 10002 2"});
  CHECK(rows(set.splits[0].gallery, cache.path()) == rows(set.splits[0].query, cache.path()));
  CHECK(rows(set.splits[1].query, cache.path()) ==
        Rows{"images_detected/2_001_1_01.png 20001 1", "images_detected/2_001_2_06.png 20001 2"});
  CHECK_THROWS_WITH(read_set(all, root.path(), {}, "cuhk03_classic_detected"), Contains("split must be 1 to 20"));
  Json one = all;
  one["split"] = 2;
  const auto second = read_set(one, root.path(), {}, "cuhk03_classic_detected");
  CHECK(second.splits.size() == 1);
  CHECK(second.train.size() == 5);
  CHECK(second.notes == Rows{"classic split 2 of 2"});
  one["split"] = 3;
  CHECK_THROWS_AS(read_set(one, root.path(), {}, "cuhk03_classic_detected"), ConfigError);
  CHECK_FALSE(std::filesystem::exists(root / "images_detected"));
}

TEST_CASE("cuhk03 reads the Market-shaped release of the 767/700 split", "[datasets]") {
  const TempDir root;
  touch(root / "cuhk03-np", {"labeled/bounding_box_train/0001_c1_1.png", "labeled/query/0003_c1_21.png",
                             "labeled/bounding_box_test/0003_c2_22.png"});
  const auto set = read_set("cuhk03", root.path(), {}, "cuhk03_np_labeled");
  CHECK(rows(set.train, root / "cuhk03-np") == Rows{"labeled/bounding_box_train/0001_c1_1.png 1 1"});
  CHECK(rows(set.splits.at(0).gallery, root / "cuhk03-np") == Rows{"labeled/bounding_box_test/0003_c2_22.png 3 2"});
  CHECK_THROWS_AS(read_set("cuhk03", root.path(), {}, "cuhk03_np_detected"), DatasetError);
  CHECK_THROWS_WITH(read_set("cuhk03", root.path(), {}, "cuhk03_classic_labeled"), Contains("which holds its test sets"));
  CHECK_THROWS_WITH(read_set("cuhk03", root.path()), Contains("protocol must be named"));
}

TEST_CASE("cuhk03 refuses MATLAB files that aren't its own", "[datasets]") {
  const TempDir root;
  make_release(root.path());
  const auto config = root / "cuhk03_new_protocol_config_labeled.mat";
  const auto read = [&] { return read_set("cuhk03", root.path(), {}, "cuhk03_np_labeled"); };
  SECTION("an index beyond the list") {
    make_config(config, kNames, {1, 1, 2, 2, 3, 3, 4}, {1, 8}, {5}, {6});
    CHECK_THROWS_WITH(read(), Contains("'train_idx' must hold places 1 to 7, got 8"));
  }
  SECTION("too few labels") {
    make_config(config, kNames, {1, 1}, {1}, {5}, {6});
    CHECK_THROWS_WITH(read(), Contains("'labels' must have 7 entries"));
  }
  SECTION("a label that is no whole number") {
    make_config(config, kNames, {1, 1, 2, 2, 3, 3, 4.5}, {1}, {5}, {6});
    CHECK_THROWS_WITH(read(), Contains("'labels' must hold whole numbers, got 4.5 at place 7"));
  }
  SECTION("a name with a folder") {
    make_config(config, {"../1_001_1_01.png"}, {1}, {1}, {1}, {1});
    CHECK_THROWS_WITH(read(), Contains("'filelist' must hold plain file names"));
  }
  SECTION("no MATLAB file at all") {
    std::ofstream(config, std::ios::trunc) << "nothing of the kind";
    CHECK_THROWS_AS(read(), DatasetError);
    std::filesystem::remove(config);
    CHECK_THROWS_WITH(read(), Contains("no such file"));
  }
  SECTION("a cut-off cuhk-03.mat leaves no folder") {
    const auto mat = root / "cuhk03_release/cuhk-03.mat";
    std::filesystem::resize_file(mat, std::filesystem::file_size(mat) / 2);
    CHECK_THROWS_AS(read(), DatasetError);
    std::ofstream(mat, std::ios::trunc) << "nothing of the kind";
    CHECK_THROWS_AS(read(), DatasetError);
    CHECK_FALSE(std::filesystem::exists(root / "images_labeled"));
    for (const auto& entry : std::filesystem::directory_iterator(root.path())) {
      CHECK_THAT(entry.path().filename().string(), !Contains(".tmp"));
    }
  }
}
