// SPDX-License-Identifier: Apache-2.0
// GRID: Loy et al., "Multi-camera Activity Correlation Analysis", CVPR 2009.
//   underground_reid/{probe,gallery}/0001_1_25004_107_32_106_221.jpeg = identity, camera, ...; identity 0 in the gallery =
//   distractor; features_and_partitions.mat: `trainIdxAll`, ten splits of 125 and 125 identities
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "layout.hpp"
#include "mat5.hpp"
#include "reid/core/error.hpp"
#include "reid/datasets/registry.hpp"

namespace reid::datasets {
namespace fs = std::filesystem;
namespace {

constexpr char kPattern[] = "like 0001_1_25004_107_32_106_221.jpeg (identity, camera from 1 to 8)";
/// Place of the identities that train in each struct of `trainIdxAll`.
constexpr std::size_t kTrainField = 2;

struct GridOptions {
  std::optional<int64_t> split;
  template <class V>
  void fields(V&& v) {
    v("split", split, "one of the set's 10 splits, from 1, to train and to score on; null: all 10 to score on", Range{1, 10});
  }
};

bool parse(std::string_view name, Sample& sample) {
  const auto identity = take_number(name);
  if (!identity || *identity < 0 || name.empty() || name[0] != '_') return false;
  name.remove_prefix(1);
  const auto camera = take_number(name);
  if (!camera || *camera < 1 || *camera > 8) return false;
  sample.identity = *identity;
  sample.camera = *camera;
  return true;
}

class Grid final : public LayoutReader {
 public:
  using Options = GridOptions;
  explicit Grid(const Options& options) : options_(options) {}

  data::DataSet load(const fs::path& root, const data::Parts& parts, const std::string& protocol,
                     Scan& scan) const override {
    data::DataSet set;
    set.name = "grid";
    set.default_protocol = choose_protocol(set.name, protocol);
    const Located found = find(root);
    set.notes = found.notes;
    const auto probe = read_part(found.folder / "probe", parse, kPattern, scan);
    const auto gallery = read_part(found.folder / "gallery", parse, kPattern, scan);
    const auto splits = Mat5File(found.folder / "features_and_partitions.mat").field_of_cells("trainIdxAll", kTrainField);
    if (options_.split && *options_.split > static_cast<int64_t>(splits.size())) {
      throw ConfigError(fmt::format("grid: split must be at most {}, the number of splits, got {}", splits.size(), *options_.split));
    }
    if (parts.train && !options_.split && !scan.collecting()) {
      throw ConfigError(fmt::format("grid: split must be 1 to {} for training (each split has a training set of its own), got "
                                    "null", splits.size()));
    }
    for (std::size_t i = 0; i < splits.size(); ++i) {
      if (options_.split && *options_.split != static_cast<int64_t>(i) + 1) continue;
      const std::set<int64_t> train(splits[i].begin(), splits[i].end());
      data::EvaluationSplit split;
      for (const auto* list : {&probe, &gallery}) {
        for (const auto& sample : *list) {
          if (train.count(sample.identity) == 0) {
            (list == &probe ? split.query : split.gallery).push_back(sample);
          } else if (parts.train && options_.split) {
            set.train.push_back(sample);
          }
        }
      }
      if (parts.evaluation) set.splits.push_back(std::move(split));
    }
    return set;
  }

  std::vector<data::DataSet> everything(const fs::path& root, Scan& scan) const override {
    const Located found = find(root);
    std::vector<data::DataSet> sets(1);
    sets[0].name = "grid";
    sets[0].splits.push_back({read_part(found.folder / "probe", parse, kPattern, scan),
                              read_part(found.folder / "gallery", parse, kPattern, scan)});
    return sets;
  }

  std::vector<std::string> protocols() const override { return {"grid"}; }

  std::vector<data::DocumentedCount> count(const fs::path& root, Scan& scan) const override {
    const Located found = find(root);
    const auto probe = read_part(found.folder / "probe", parse, kPattern, scan);
    const auto gallery = read_part(found.folder / "gallery", parse, kPattern, scan);
    const char* source = "torchreid's data set page";
    auto all = probe;
    all.insert(all.end(), gallery.begin(), gallery.end());
    return {{"identities", 250, count_identities(probe), source},
            {"images", 1275, static_cast<int64_t>(all.size()), source},
            {"cameras", 8, count_cameras(all), source}};
  }

  std::string terms() const override { return "Photographs of real people, for research only."; }

 private:
  static Located find(const fs::path& root) {
    return locate(root, {"probe", "gallery"}, {"underground_reid", "grid/underground_reid"});
  }

  GridOptions options_;
};

}  // namespace

void register_grid(data::DataSetRegistry& registry) {
  registry.add<Grid>("grid", {"250 people in an underground station, 8 cameras, 775 distractors; the set's own 10 splits",
                              "Loy et al., Multi-camera Activity Correlation Analysis, CVPR 2009",
                              "KaiyangZhou/deep-person-reid torchreid/data/datasets/image/grid.py",
                              "same lists, sorted by name; cameras as in the names, from 1"});
}

}  // namespace reid::datasets
