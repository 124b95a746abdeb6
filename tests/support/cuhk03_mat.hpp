// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <string>
#include <vector>

namespace reid::test {

/// Writes what MATLAB writes for cuhk-03.mat: cell arrays of references, pictures as [3, W, H].
class Cuhk03MatWriter {
 public:
  explicit Cuhk03MatWriter(const std::string& path)
      : file_(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)) {}
  ~Cuhk03MatWriter() { H5Fclose(file_); }
  Cuhk03MatWriter(const Cuhk03MatWriter&) = delete;
  Cuhk03MatWriter& operator=(const Cuhk03MatWriter&) = delete;

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
inline void write_cuhk03_mat(const std::string& path) {
  Cuhk03MatWriter mat(path);
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

}  // namespace reid::test
