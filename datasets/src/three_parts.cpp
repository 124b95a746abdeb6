// SPDX-License-Identifier: Apache-2.0
#include "three_parts.hpp"

#include <fmt/format.h>

#include <utility>

#include "reid/core/error.hpp"

namespace reid::datasets {
namespace fs = std::filesystem;
namespace {

class ThreePartReader final : public LayoutReader {
 public:
  explicit ThreePartReader(ThreeParts set) : set_(std::move(set)) {}

  data::DataSet load(const fs::path& root, const data::Parts& parts, const std::string& protocol,
                     Scan& scan) const override {
    data::DataSet result;
    result.name = set_.name;
    choose_protocol(set_.name, protocol);
    result.default_protocol = set_.protocols.front();
    const Located found = find(root);
    result.notes = set_.notes;
    result.notes.insert(result.notes.end(), found.notes.begin(), found.notes.end());
    note_synthetic(found.folder, result.notes);
    if (parts.train && !set_.train.empty()) result.train = part(found.folder, set_.train, scan);
    if (parts.evaluation) {
      data::EvaluationSplit split;
      split.query = part(found.folder, set_.query, scan);
      split.gallery = part(found.folder, set_.gallery, scan);
      result.splits.push_back(std::move(split));
    }
    return result;
  }

  std::vector<std::string> protocols() const override { return set_.protocols; }

  std::vector<data::DocumentedCount> count(const fs::path& root, Scan& scan) const override {
    const data::DataSet found = load(root, {}, "", scan);
    const data::EvaluationSplit& split = found.splits.at(0);
    std::vector<data::DocumentedCount> counts;
    for (const auto& [what, expected, source] : set_.documented) {
      const auto& list = what.rfind("query", 0) == 0     ? split.query
                         : what.rfind("gallery", 0) == 0 ? split.gallery
                                                         : found.train;
      const int64_t actual = what == "cameras"                               ? count_cameras(list)
                             : what.find("identities") != std::string::npos ? count_identities(list, set_.lowest_identity)
                                                                            : static_cast<int64_t>(list.size());
      counts.push_back({what, expected, actual, source});
    }
    expect_synthetic(find(root).folder, counts);
    return counts;
  }

  std::string terms() const override { return set_.terms; }

 private:
  Located find(const fs::path& root) const {
    std::vector<std::string> children = set_.train;
    children.insert(children.end(), set_.query.begin(), set_.query.end());
    children.insert(children.end(), set_.gallery.begin(), set_.gallery.end());
    return locate(root, children, set_.official);
  }

  /// The part under the first of its names that is there (under the first of all, if none is).
  std::vector<Sample> part(const fs::path& folder, const std::vector<std::string>& names, Scan& scan) const {
    std::error_code ignored;
    for (const auto& name : names) {
      if (fs::is_directory(folder / name, ignored)) {
        return read_part(folder / name, set_.parse, set_.pattern, scan, set_.recursive);
      }
    }
    return read_part(folder / names.front(), set_.parse, set_.pattern, scan, set_.recursive);
  }

  ThreeParts set_;
};

}  // namespace

void add_three_parts(data::DataSetRegistry& registry, ThreeParts set) {
  registry.add_entry({set.name, set.info, write_options(NoOptions{}), describe_options(NoOptions{}),
                      [set](const Json& options, const std::string& pointer) -> std::shared_ptr<data::DataSetReader> {
                        read_options<NoOptions>(options, pointer);
                        return std::make_shared<ThreePartReader>(set);
                      }});
}

}  // namespace reid::datasets
