// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include "cuhk03_mat.hpp"
#include "fuzz/targets.hpp"
#include "mat5.hpp"
#include "reid/core/error.hpp"
#include "reid/core/log.hpp"

namespace reid::fuzz {
namespace {

template <class Read>
void attempt(const std::string& path, Read read) {
  try {
    read();
  } catch (const DatasetError& error) {
    require_sentence(error.what(), path);
  }
}

}  // namespace

void mat5(std::string_view bytes) {
  const std::string path = scratch_file("fuzz.mat", bytes);
  attempt(path, [&] {
    const auto config = datasets::read_cuhk03_config(path);
    require(config.files.size() == config.labels.size(), "each file must have a label");
    for (const auto* part : {&config.train, &config.query, &config.gallery}) {
      for (const int64_t index : *part) {
        require(index >= 0 && index < static_cast<int64_t>(config.files.size()), "places must lie within the list");
      }
    }
    for (const auto& name : config.files) require(name.find('/') == std::string::npos, "names must not lead elsewhere");
  });
  attempt(path, [&] {
    for (const auto& list : datasets::Mat5File(path).field_of_cells("trainIdxAll", 2)) {
      for (const int64_t value : list) require(value >= 0, "numbers must be whole, from 0");
    }
  });
}

void cuhk03(std::string_view bytes) {
  namespace fs = std::filesystem;
  set_log_level(LogLevel::error);
  const std::string path = scratch_file("cuhk-03.mat", bytes);
  attempt(path, [&] {
    for (const auto& set : datasets::read_cuhk03_test_sets(path)) {
      for (const auto& [pair, person] : set) {
        require(pair >= 1 && pair <= 5 && person >= 1 && person < 10000, "test sets must hold pairs and persons");
      }
    }
  });
  const fs::path folder = fs::path(scratch_folder()) / "cuhk03" / "images_labeled";
  fs::create_directories(folder.parent_path());
  attempt(path, [&] {
    datasets::extract_cuhk03(path, "labeled", folder);
    require(fs::is_directory(folder), "pictures must be there when the work is done");
    fs::remove_all(folder);
  });
  require(fs::is_empty(folder.parent_path()), "what is refused must leave nothing behind");
}

}  // namespace reid::fuzz
