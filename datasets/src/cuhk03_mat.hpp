// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

/// The MATLAB files of CUHK03: `cuhk-03.mat` (version 7.3, which is HDF5) holds the pictures themselves and the classic
/// test sets; `cuhk03_new_protocol_config_*.mat` (version 5) holds the lists of the 767/700 split.
namespace reid::datasets {

/// Writes the pictures of one kind, "labeled" or "detected", as PNG files `P_III_V_NN.png` (pair, person, view, picture)
/// into `folder`, unless the folder is there. It appears whole or not at all.
/// @throws DatasetError if the file isn't as its authors made it; WorkError if writing fails.
void extract_cuhk03(const std::filesystem::path& mat, const std::string& kind, const std::filesystem::path& folder);

/// The classic test sets: lists of (pair, person), both from 1.
std::vector<std::vector<std::pair<int64_t, int64_t>>> read_cuhk03_test_sets(const std::filesystem::path& mat);

/// The 767/700 split of one kind of boxes.
struct Cuhk03Config {
  std::vector<std::string> files;  ///< names as in `extract_cuhk03`
  std::vector<int64_t> labels;     ///< identity of each file
  std::vector<int64_t> train, query, gallery;  ///< from 0
};
Cuhk03Config read_cuhk03_config(const std::filesystem::path& path);

}  // namespace reid::datasets
