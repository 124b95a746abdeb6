// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "reid/core/json.hpp"
#include "reid/data/dataset.hpp"
#include "reid/datasets/registry.hpp"
#include "support/temp_dir.hpp"

namespace reid::test {

/// Makes files with a few bytes in them, and the folders they stand in.
inline void touch(const std::filesystem::path& root, const std::vector<std::string>& names,
                  const std::string& contents = "x") {
  for (const auto& name : names) {
    std::filesystem::create_directories((root / name).parent_path());
    std::ofstream(root / name, std::ios::binary) << contents;
  }
}

/// `path id camera` of every sample, the path below `root`.
inline std::vector<std::string> rows(const std::vector<Sample>& samples, const std::filesystem::path& root) {
  std::vector<std::string> result;
  for (const auto& sample : samples) {
    std::string row = fmt::format("{} {} {}", std::filesystem::relative(sample.path, root).string(),
                                  sample.identity, sample.camera);
    if (sample.clothes >= 0) row += fmt::format(" {}", sample.clothes);
    result.push_back(row);
  }
  return result;
}

inline data::DataSet read_set(const Json& part, const std::filesystem::path& root, data::Parts parts = {},
                              const std::string& protocol = "") {
  return datasets::registry().create(part, "/data")->read(root, parts, protocol);
}

}  // namespace reid::test
