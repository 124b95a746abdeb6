// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include "fuzz/targets.hpp"
#include "layout.hpp"
#include "reid/core/error.hpp"
#include "reid/datasets/files.hpp"
#include "reid/datasets/registry.hpp"

namespace reid::datasets {
void register_msmt17(data::DataSetRegistry& registry);
}

namespace reid::fuzz {

void lists(std::string_view bytes) {
  // Names of pictures, a line each.
  const auto parser = datasets::market_parser(6);
  std::string_view left = bytes;
  while (!left.empty()) {
    const auto end = left.find('\n');
    const auto name = left.substr(0, end);
    left.remove_prefix(end == std::string_view::npos ? left.size() : end + 1);
    Sample sample;
    if (parser(name, sample)) {
      require(sample.camera >= 1 && sample.camera <= 6, "camera must be one of the set's");
      require(sample.identity >= -1, "identity must be -1 or more");
    }
    datasets::is_picture_name(std::string(name));
  }

  // The same bytes as a list of MSMT17.
  static const auto registry = [] {
    auto result = datasets::empty_registry();
    datasets::register_msmt17(result);
    return result;
  }();
  const std::string root = scratch_folder();
  std::filesystem::create_directories(root + "/train");
  scratch_file("list_train.txt", bytes);
  data::Parts parts;
  parts.evaluation = false;
  try {
    const auto set = registry.create("msmt17", "")->read(root, parts, "");
    require(!set.train.empty(), "a list without pictures must be refused");
    for (const auto& sample : set.train) {
      require(sample.path.compare(0, root.size(), root) == 0, "pictures must lie below the root");
      require(sample.path.find("..") == std::string::npos, "paths must not leave their folder");
      require(sample.camera >= 1 && sample.camera <= 15 && sample.identity >= 0, "labels must be in their ranges");
    }
  } catch (const DatasetError& error) {
    require(std::string(error.what()).compare(0, root.size(), root) == 0, "message must begin with the path");
  }
}

}  // namespace reid::fuzz
