// SPDX-License-Identifier: Apache-2.0
// A user's own pictures: one directory per identity.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <utility>

#include "layout.hpp"
#include "reid/core/random.hpp"
#include "reid/datasets/files.hpp"
#include "reid/datasets/registry.hpp"
#include "reid/datasets/synthetic.hpp"

namespace reid::datasets {

enum class FolderSplit { automatic, subfolders, random };

}  // namespace reid::datasets

template <>
struct reid::EnumNames<reid::datasets::FolderSplit> {
  static constexpr std::array<std::pair<reid::datasets::FolderSplit, const char*>, 3> values{
      {{reid::datasets::FolderSplit::automatic, "auto"},
       {reid::datasets::FolderSplit::subfolders, "subfolders"},
       {reid::datasets::FolderSplit::random, "random"}}};
};

namespace reid::datasets {
namespace fs = std::filesystem;
namespace {

struct FolderOptions {
  FolderSplit split = FolderSplit::automatic;
  std::string camera = "auto";
  double train_fraction = 0.5;
  int64_t queries = 1;
  int64_t seed = 0;
  template <class V>
  void fields(V&& v) {
    v("split", split,
      "subfolders: root/{train,query,gallery}/IDENTITY/; random: root/IDENTITY/, split by identity; auto: "
      "subfolders where root holds a folder of one of these names");
    v("camera", camera,
      "regular expression (ECMAScript) searched in each path below the identity's folder, its first group the "
      "camera's number; auto: _c(\\d+) if all names have it; none: no cameras");
    v("train_fraction", train_fraction, "random: share of the identities that train", Range{0, 1});
    v("queries", queries, "random: queries per test identity, or per identity and camera where there are cameras",
      Range{1, 1e6});
    v("seed", seed, "random: seed of the split", Range{0, 9e15});
  }
};

/// All pictures of one part, by identity name.
using People = std::map<std::string, std::vector<Sample>>;

class Folder final : public LayoutReader {
 public:
  using Options = FolderOptions;
  explicit Folder(Options options) : options_(std::move(options)) {
    if (options_.camera == "auto" || options_.camera == "none") return;
    try {
      camera_.emplace(options_.camera, std::regex::ECMAScript | std::regex::optimize);
    } catch (const std::regex_error&) {
      throw ConfigError(fmt::format("folder: camera must be a regular expression, 'auto' or 'none', got '{}'",
                                    options_.camera));
    }
    if (camera_->mark_count() < 1) {
      throw ConfigError(fmt::format("folder: camera must have a group for the camera's number, got '{}'",
                                    options_.camera));
    }
  }

  data::DataSet load(const fs::path& root, const data::Parts& parts, const std::string& protocol,
                     Scan& scan) const override {
    data::DataSet set;
    set.name = "folder";
    if (!protocol.empty()) choose_protocol(set.name, protocol);
    std::error_code ignored;
    if (!fs::is_directory(root, ignored)) {
      throw DatasetError(fmt::format("{}: data set root must be a folder, got {}", root.string(),
                                     fs::exists(root, ignored) ? "a file" : "a path that doesn't exist"));
    }
    note_synthetic(root, set.notes);
    const bool cameras = uses_subfolders(root) ? load_subfolders(root, parts, set, scan)
                                               : load_random(root, parts, set, scan);
    set.default_protocol = cameras ? "generic_camera" : "generic";
    if (protocol == "generic_camera" && !cameras) {
      throw DatasetError(fmt::format("{}: protocol generic_camera must have a camera in every name, got none; set "
                                     "the option camera, or use protocol generic", root.string()));
    }
    set.notes.push_back(cameras ? fmt::format("cameras read from the names by {}",
                                              camera_ ? options_.camera : "_c(\\d+)")
                                : "no cameras");
    return set;
  }

  std::vector<std::string> protocols() const override { return {"generic", "generic_camera"}; }

  std::vector<data::DocumentedCount> count(const fs::path& root, Scan& scan) const override {
    if (root.empty()) return {};
    const data::DataSet set = load(root, {}, "", scan);
    const auto size = [](const std::vector<Sample>& list) { return static_cast<int64_t>(list.size()); };
    const data::EvaluationSplit& split = set.splits.at(0);
    std::vector<data::DocumentedCount> counts{{"train images", 0, size(set.train), ""},
                                              {"train identities", 0, count_identities(set.train, 0), ""},
                                              {"query images", 0, size(split.query), ""},
                                              {"query identities", 0, count_identities(split.query, 0), ""},
                                              {"gallery images", 0, size(split.gallery), ""},
                                              {"gallery identities", 0, count_identities(split.gallery, 0), ""}};
    for (auto& count : counts) {
      count.expected = count.actual;
      count.source = "as found: nothing is documented";
    }
    expect_synthetic(root, counts);
    return counts;
  }

  std::string terms() const override {
    return "Your own pictures: see to it that you may use them.";
  }

 private:
  bool uses_subfolders(const fs::path& root) const {
    if (options_.split != FolderSplit::automatic) return options_.split == FolderSplit::subfolders;
    std::error_code ignored;
    return fs::is_directory(root / "train", ignored) || fs::is_directory(root / "query", ignored) ||
           fs::is_directory(root / "gallery", ignored);
  }

  /// Names of the folders directly below one folder, sorted; hidden ones are left out.
  static std::vector<std::string> folders(const fs::path& folder) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator it(folder, error); !error && it != fs::directory_iterator();
         it.increment(error)) {
      std::error_code ignored;
      const std::string name = it->path().filename().string();
      if (it->is_directory(ignored) && name[0] != '.') names.push_back(name);
    }
    if (error) {
      throw DatasetError(fmt::format("{}: path must be a readable folder, got {}", folder.string(), error.message()));
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  /// The pictures of every identity below `folder`, each with its camera if there is one.
  People people(const fs::path& folder, Scan& scan) const {
    static const std::regex market("_c(\\d+)", std::regex::ECMAScript | std::regex::optimize);
    const std::regex& pattern = camera_ ? *camera_ : market;
    People found;
    for (const auto& name : folders(folder)) {
      const PictureList list = list_pictures(folder / name, true);
      scan.skipped += list.skipped;
      if (list.names.empty()) continue;
      auto& samples = found[name];
      for (const auto& picture : list.names) {
        Sample sample;
        sample.path = (folder / name).string() + "/" + picture;
        std::smatch match;
        if (options_.camera != "none" && std::regex_search(picture, match, pattern)) {
          const std::string digits = match[1].str();
          std::string_view text = digits;
          const auto camera = take_number(text);
          if (camera && *camera >= 0 && text.empty()) sample.camera = *camera;
        }
        if (camera_ && sample.camera < 0) {
          scan.report("misnamed", sample.path,
                      fmt::format("{}: path below the identity's folder must match {} with a number, got '{}'",
                                  sample.path, options_.camera, picture));
          continue;
        }
        samples.push_back(std::move(sample));
      }
    }
    if (found.empty()) {
      scan.report("missing", folder.string(),
                  fmt::format("{}: folder must hold one folder of pictures per identity, got none", folder.string()));
    }
    return found;
  }

  /// Whether all have a camera; some with and some without is an error.
  static bool all_have_cameras(const std::vector<const People*>& parts, Scan& scan) {
    const Sample* with = nullptr;
    const Sample* without = nullptr;
    for (const People* part : parts) {
      for (const auto& [name, samples] : *part) {
        for (const auto& sample : samples) {
          (sample.camera >= 0 ? with : without) = &sample;
        }
      }
    }
    if (with != nullptr && without != nullptr) {
      scan.report("misnamed", without->path,
                  fmt::format("{}: names must all hold a camera (_c and a number) or none, got one without beside "
                              "{}; set the option camera", without->path, with->path));
    }
    return with != nullptr && without == nullptr;
  }

  static void append(const People& people, const std::map<std::string, int64_t>& numbers,
                     std::vector<Sample>& out) {
    for (const auto& [name, samples] : people) {
      for (Sample sample : samples) {
        sample.identity = numbers.at(name);
        out.push_back(std::move(sample));
      }
    }
    sort_by_path(out);
  }

  bool load_subfolders(const fs::path& root, const data::Parts& parts, data::DataSet& set, Scan& scan) const {
    People train, query, gallery;
    if (parts.train) train = people(root / "train", scan);
    if (parts.evaluation) query = people(root / "query", scan);
    if (parts.evaluation) gallery = people(root / "gallery", scan);
    // Numbers don't depend on the parts that are read.
    std::set<std::string> names;
    std::error_code ignored;
    for (const char* part : {"train", "query", "gallery"}) {
      if (!fs::is_directory(root / part, ignored)) continue;
      for (const auto& name : folders(root / part)) names.insert(name);
    }
    std::map<std::string, int64_t> numbers;
    for (const auto& name : names) numbers.emplace(name, static_cast<int64_t>(numbers.size()));
    const bool cameras = all_have_cameras({&train, &query, &gallery}, scan);
    append(train, numbers, set.train);
    if (parts.evaluation) {
      data::EvaluationSplit split;
      append(query, numbers, split.query);
      append(gallery, numbers, split.gallery);
      set.splits.push_back(std::move(split));
    }
    if (!cameras) drop_cameras(set);
    return cameras;
  }

  bool load_random(const fs::path& root, const data::Parts& parts, data::DataSet& set, Scan& scan) const {
    const People all = people(root, scan);
    const bool cameras = all_have_cameras({&all}, scan);
    std::vector<std::string> order;
    std::map<std::string, int64_t> numbers;
    for (const auto& [name, samples] : all) {
      order.push_back(name);
      numbers.emplace(name, static_cast<int64_t>(numbers.size()));
    }
    Random random({static_cast<uint64_t>(options_.seed), 0xf01de5});
    random.shuffle(order);
    const auto train_count =
        static_cast<std::size_t>(options_.train_fraction * static_cast<double>(order.size()) + 0.5);
    People train, test;
    for (std::size_t i = 0; i < order.size(); ++i) {
      (i < train_count ? train : test).emplace(order[i], all.at(order[i]));
    }
    set.notes.push_back(fmt::format("split by identity with seed {}: {} train, {} test", options_.seed,
                                    train.size(), test.size()));
    if (parts.train) append(train, numbers, set.train);
    if (parts.train && train.empty()) {
      scan.report("missing", root.string(),
                  fmt::format("{}: train_fraction must leave an identity to train on, got {} of {} identities",
                              root.string(), options_.train_fraction, order.size()));
    }
    if (parts.evaluation) {
      data::EvaluationSplit split;
      for (const auto& [name, samples] : test) {
        choose_queries(name, samples, cameras, numbers.at(name), split);
      }
      sort_by_path(split.query);
      sort_by_path(split.gallery);
      if (split.query.empty()) {
        scan.report("missing", root.string(),
                    fmt::format("{}: some test identity must have {}, got {} test identities and no query",
                                root.string(), cameras ? "pictures from two cameras" : "two pictures", test.size()));
      }
      set.splits.push_back(std::move(split));
    }
    if (!cameras) drop_cameras(set);
    return cameras;
  }

  /// A query is drawn only where a picture that it can match stays in the gallery.
  void choose_queries(const std::string& name, const std::vector<Sample>& samples, bool cameras,
                      int64_t identity, data::EvaluationSplit& split) const {
    std::map<int64_t, std::vector<std::size_t>> groups;  // by camera, or all in one
    for (std::size_t i = 0; i < samples.size(); ++i) groups[cameras ? samples[i].camera : 0].push_back(i);
    std::size_t kept = samples.size();
    std::set<std::size_t> queries;
    uint64_t key = 0xcbf29ce484222325ULL;
    for (const char c : name) key = (key ^ static_cast<uint8_t>(c)) * 0x100000001b3ULL;
    Random random({static_cast<uint64_t>(options_.seed), 0x9e7, key});
    std::map<int64_t, std::size_t> left;
    for (auto& [camera, members] : groups) left[camera] = members.size();
    for (auto& [camera, members] : groups) {
      random.shuffle(members);
      const auto wanted = std::min(members.size(), static_cast<std::size_t>(options_.queries));
      for (std::size_t q = 0; q < wanted; ++q) {
        const std::size_t matches = cameras ? kept - left[camera] : kept - 1;
        if (matches == 0 || !others_keep_match(queries, samples, cameras, camera, left, kept)) break;
        queries.insert(members[q]);
        --left[camera];
        --kept;
      }
    }
    for (std::size_t i = 0; i < samples.size(); ++i) {
      Sample sample = samples[i];
      sample.identity = identity;
      (queries.count(i) != 0 ? split.query : split.gallery).push_back(std::move(sample));
    }
  }

  /// Whether every query chosen so far still has a match when one more picture of `camera` leaves the gallery.
  static bool others_keep_match(const std::set<std::size_t>& queries, const std::vector<Sample>& samples,
                                bool cameras, int64_t camera, const std::map<int64_t, std::size_t>& left,
                                std::size_t kept) {
    if (!cameras) return kept >= 2;
    for (const std::size_t query : queries) {
      const int64_t own = samples[query].camera;
      if (own != camera && kept - left.at(own) <= 1) return false;
    }
    return true;
  }

  static void drop_cameras(data::DataSet& set) {
    for (auto& sample : set.train) sample.camera = -1;
    for (auto& split : set.splits) {
      for (auto& sample : split.query) sample.camera = -1;
      for (auto& sample : split.gallery) sample.camera = -1;
    }
  }

  FolderOptions options_;
  std::optional<std::regex> camera_;
};

}  // namespace

void register_folder(data::DataSetRegistry& registry) {
  registry.add<Folder>("folder", {"a user's own pictures, one folder per identity", "", "", ""});
}

}  // namespace reid::datasets
