// SPDX-License-Identifier: Apache-2.0
#include "layout.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "reid/core/error.hpp"
#include "reid/core/json.hpp"
#include "reid/datasets/files.hpp"
#include "reid/datasets/registry.hpp"
#include "reid/datasets/synthetic.hpp"

namespace reid::datasets {
namespace fs = std::filesystem;

data::DataSetRegistry empty_registry() { return data::DataSetRegistry("data set"); }

void Scan::report(const std::string& kind, const std::string& path, const std::string& message) const {
  if (findings_ == nullptr) throw DatasetError(message);
  findings_->push_back({kind, path, message});
}

data::DataSet LayoutReader::read(const fs::path& root, const data::Parts& parts,
                                 const std::string& protocol) const {
  Scan scan;
  REID_CHECK(!root.empty(), DatasetError, "data set root: path must be a folder, got an empty path");
  data::DataSet set = load(root, parts, protocol, scan);
  set.skipped_files = scan.skipped;
  return set;
}

std::vector<data::DocumentedCount> LayoutReader::counts(const fs::path& root) const {
  std::vector<Finding> findings;
  Scan scan(&findings);
  auto counted = count(root, scan);
  return counted;
}

std::vector<data::DataSet> LayoutReader::everything(const fs::path& root, Scan& scan) const {
  return {load(root, {}, "", scan)};
}

std::string LayoutReader::choose_protocol(const std::string& name, const std::string& asked) const {
  const auto known = protocols();
  if (asked.empty()) return known.front();
  if (std::find(known.begin(), known.end(), asked) == known.end()) {
    throw InputError(fmt::format("{}: protocol must be one of {}, got '{}'{}", name, fmt::join(known, ", "),
                                 asked, did_you_mean(asked, known)));
  }
  return asked;
}

Located locate(const fs::path& root, const std::vector<std::string>& children,
               const std::vector<std::string>& official) {
  if (root.empty()) return {"/dev/null", {}};  // nothing is below it: the documented counts alone
  std::error_code ignored;
  if (!fs::is_directory(root, ignored)) {
    throw DatasetError(fmt::format("{}: data set root must be a folder, got {}", root.string(),
                                   fs::exists(root, ignored) ? "a file" : "a path that doesn't exist"));
  }
  const auto holds = [&](const fs::path& folder) {
    return std::any_of(children.begin(), children.end(), [&](const std::string& child) {
      std::error_code error;
      return fs::exists(folder / child, error);
    });
  };
  if (holds(root)) return {root, {}};
  for (const auto& name : official) {
    if (holds(root / name)) {
      return {root / name, {fmt::format("read from the folder '{}' inside the root", name)}};
    }
  }
  throw DatasetError(fmt::format("{}: data set root must hold {} (itself, or in a folder {}), got none of them",
                                 root.string(), fmt::join(children, ", "), fmt::join(official, " or ")));
}

std::optional<int64_t> take_number(std::string_view& text) {
  std::size_t at = 0;
  const bool negative = !text.empty() && text[0] == '-';
  if (negative) at = 1;
  const std::size_t begin = at;
  int64_t value = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    if (at - begin >= 18) return std::nullopt;
    value = value * 10 + (text[at] - '0');
    ++at;
  }
  if (at == begin) return std::nullopt;
  text.remove_prefix(at);
  return negative ? -value : value;
}

std::vector<Sample> read_part(const fs::path& folder, const NameParser& parse, const std::string& pattern,
                              Scan& scan, bool recursive) {
  std::vector<Sample> samples;
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    scan.report("missing", folder.string(),
                fmt::format("{}: path must be a folder of pictures, got {}", folder.string(),
                            fs::exists(folder, ignored) ? "a file" : "a path that doesn't exist"));
    return samples;
  }
  const PictureList list = list_pictures(folder, recursive);
  scan.skipped += list.skipped;
  samples.reserve(list.names.size());
  const std::string prefix = folder.string() + "/";
  for (const auto& name : list.names) {
    Sample sample;
    if (parse(name, sample)) {
      sample.path = prefix + name;
      samples.push_back(std::move(sample));
    } else {
      scan.report("misnamed", prefix + name,
                  fmt::format("{}{}: file name must be {}, got '{}'", prefix, name, pattern, name));
    }
  }
  if (list.names.empty()) {
    scan.report("missing", folder.string(),
                fmt::format("{}: folder must hold pictures, got none among {} files", folder.string(),
                            list.skipped));
  }
  return samples;
}

NameParser market_parser(int64_t cameras) {
  return [cameras](std::string_view name, Sample& sample) {
    const auto identity = take_number(name);
    if (!identity || *identity < -1 || name.substr(0, 2) != "_c") return false;
    name.remove_prefix(2);
    if (name.empty() || name[0] < '1' || name[0] > '9') return false;
    const int64_t camera = name[0] - '0';
    const bool longer = name.size() > 1 && name[1] >= '0' && name[1] <= '9';
    if (camera > cameras || longer) return false;
    sample.identity = *identity;
    sample.camera = camera;
    return true;
  };
}

int64_t count_identities(const std::vector<Sample>& samples, int64_t lowest) {
  std::set<int64_t> identities;
  for (const auto& sample : samples) {
    if (sample.identity >= lowest) identities.insert(sample.identity);
  }
  return static_cast<int64_t>(identities.size());
}

int64_t count_cameras(const std::vector<Sample>& samples) {
  std::set<int64_t> cameras;
  for (const auto& sample : samples) cameras.insert(sample.camera);
  return static_cast<int64_t>(cameras.size());
}

namespace {

std::optional<Json> synthetic_record(const fs::path& folder) {
  std::error_code ignored;
  const fs::path path = folder / kSyntheticRecord;
  if (!fs::exists(path, ignored)) return std::nullopt;
  Json record = read_json_file(path);
  if (!record.is_object() || !record.contains("counts") || !record["counts"].is_object()) {
    throw DatasetError(fmt::format("{}: record of a drawn data set must hold \"counts\", got none", path.string()));
  }
  return record;
}

}  // namespace

void note_synthetic(const fs::path& folder, std::vector<std::string>& notes) {
  const auto record = synthetic_record(folder);
  if (!record) return;
  const auto options = record->find("options");
  notes.push_back(fmt::format("drawn pictures, not photographs (options {})",
                              options != record->end() ? options->dump() : "not recorded"));
}

void expect_synthetic(const fs::path& folder, std::vector<data::DocumentedCount>& counts) {
  const auto record = synthetic_record(folder);
  if (!record) return;
  const Json& expected = (*record)["counts"];
  std::vector<data::DocumentedCount> kept;
  for (auto& count : counts) {
    const auto it = expected.find(count.what);
    if (it == expected.end() || !it->is_number_integer()) continue;
    count.expected = it->get<int64_t>();
    count.source = std::string("the tree's own ") + kSyntheticRecord;
    kept.push_back(count);
  }
  counts = std::move(kept);
}

void sort_by_path(std::vector<Sample>& samples) {
  std::sort(samples.begin(), samples.end(),
            [](const Sample& a, const Sample& b) { return a.path < b.path; });
}

}  // namespace reid::datasets
