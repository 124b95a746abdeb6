// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <filesystem>
#include <fstream>

#include "fuzz/targets.hpp"
#include "reid/core/error.hpp"
#include "reid/datasets/registry.hpp"

namespace reid::datasets {
void register_cuhk_pedes(data::DataSetRegistry& registry);
void register_icfg_pedes(data::DataSetRegistry& registry);
void register_rstp_reid(data::DataSetRegistry& registry);
}  // namespace reid::datasets

namespace reid::fuzz {
namespace fs = std::filesystem;
namespace {

struct Caption {
  const char* set;
  const char* file;
};
constexpr std::array<Caption, 3> kSets{{{"cuhk_pedes", "reid_raw.json"}, {"icfg_pedes", "ICFG-PEDES.json"}, {"rstp_reid", "data_captions.json"}}};

/// A root of each set with pictures a.jpg and b/0000_c1_0.jpg; readers ask whether they are there, not what they hold.
std::string root_of(const std::string& set) {
  const std::string root = scratch_folder() + "/" + set;
  if (!fs::exists(root)) {
    fs::create_directories(root + "/imgs/b");
    std::ofstream(root + "/imgs/a.jpg") << "a";
    std::ofstream(root + "/imgs/b/0000_c1_0.jpg") << "b";
  }
  return root;
}

}  // namespace

void captions(std::string_view bytes) {
  static const auto registry = [] {
    auto result = datasets::empty_registry();
    datasets::register_cuhk_pedes(result);
    datasets::register_icfg_pedes(result);
    datasets::register_rstp_reid(result);
    return result;
  }();
  for (const auto& [name, file] : kSets) {
    const std::string root = root_of(name);
    scratch_file(std::string(name) + "/" + file, bytes);
    const auto reader = registry.create(name, "");
    for (const char* protocol : {"text_to_image", "image_to_text"}) {
      try {
        const auto set = reader->read(root, {}, protocol);
        require(!set.train.empty() && set.splits.size() == 1, "a set without entries must be refused");
        for (const auto& sample : set.train) {
          require(sample.path.compare(0, root.size() + 6, root + "/imgs/") == 0, "pictures must lie below imgs");
          require(fs::exists(sample.path) && sample.identity >= 0 && !sample.captions.empty(), "entries must be whole");
        }
        const auto& sentences = protocol[0] == 't' ? set.splits[0].query : set.splits[0].gallery;
        for (const auto& sample : sentences) require(sample.captions.size() == 1, "a query has one sentence");
      } catch (const DatasetError& error) {
        require_sentence(error.what(), root);
      } catch (const ConfigError& error) {
        require_sentence(error.what(), root);
      }
    }
    try {
      for (const auto& count : reader->counts(root)) require(count.actual >= 0, "counts must not be negative");
    } catch (const DatasetError& error) {
      require_sentence(error.what(), root);
    } catch (const ConfigError& error) {
      require_sentence(error.what(), root);
    }
  }
}

}  // namespace reid::fuzz
