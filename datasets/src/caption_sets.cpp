// SPDX-License-Identifier: Apache-2.0
// Sets of pictures with sentences: one JSON array of objects, pictures below imgs/.
//   CUHK-PEDES/reid_raw.json      {"split", "captions": [...], "file_path", "processed_tokens", "id"}; the authors' archive
//                                 holds caption_all.json as well or instead: no split, other identities
//   ICFG-PEDES/ICFG-PEDES.json    the same keys, one caption each, no val
//   RSTPReid/data_captions.json   {"id", "img_path", "captions": [...], "split"}
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "layout.hpp"
#include "reid/core/blank.hpp"
#include "reid/core/error.hpp"
#include "reid/core/json.hpp"
#include "reid/datasets/files.hpp"
#include "reid/datasets/registry.hpp"

namespace reid::datasets {
namespace fs = std::filesystem;

enum class CaptionPart { test, val };

}  // namespace reid::datasets

template <>
struct reid::EnumNames<reid::datasets::CaptionPart> {
  static constexpr std::array<std::pair<reid::datasets::CaptionPart, const char*>, 2> values{
      {{reid::datasets::CaptionPart::test, "test"}, {reid::datasets::CaptionPart::val, "val"}}};
};

namespace reid::datasets {
namespace {

/// What tells one of these sets from another.
struct CaptionLayout {
  const char* name;
  std::vector<std::string> folders;  ///< names of the folder it is in, the official one first
  const char* file;
  const char* misspelt;    ///< a name of the file that is seen too; "" if none
  const char* unsplit;     ///< a list of the set that doesn't say train, val or test; "" if none
  const char* path_key;
  bool has_val;
  bool camera_in_name;     ///< 0000_c14_0031.jpg
  std::vector<data::DocumentedCount> documented;
};

struct CaptionOptions {
  CaptionPart part = CaptionPart::test;
  std::vector<std::string> only;
  template <class V>
  void fields(V&& v) {
    v("part", part, "the part that is evaluated: test or val (icfg_pedes has no val)");
    v("only", only, "first folders below imgs/ whose pictures are used, e.g. [\"Market\", \"CUHK01\"]; empty: all");
  }
};

/// One object of the file.
struct Entry {
  std::string part;  ///< "train", "val", "test"
  Sample sample;
  int64_t number = 0;
  int64_t listed = 1;  ///< how often the file names this picture for this identity
};

std::string at_entry(const fs::path& file, int64_t number) { return fmt::format("{}: entry {}", file.string(), number); }

/// The camera in 0000_c14_0031.jpg, -1 if the name isn't so.
int64_t camera_of(std::string_view path) {
  const auto at = path.find("_c", path.rfind('/') == std::string_view::npos ? 0 : path.rfind('/') + 1);
  if (at == std::string_view::npos) return -1;
  std::string_view rest = path.substr(at + 2);
  const auto camera = take_number(rest);
  return camera && *camera >= 0 && rest.substr(0, 1) == "_" ? *camera : -1;
}

/// Reads one object; the sentence that says what is wrong, or nothing.
std::optional<std::string> read_entry(const CaptionLayout& layout, const Json& json, Entry& entry, std::string& relative) {
  if (!json.is_object()) return fmt::format("must be an object, got {}", json_type_name(json));
  const auto value = [&](const char* key) { return json.find(key); };
  for (const char* key : {"split", "id", "captions", layout.path_key}) {
    if (value(key) == json.end()) return fmt::format("must have the key \"{}\", got none", key);
  }
  const Json& split = *value("split");
  if (!split.is_string()) return fmt::format("\"split\" must be a string, got {}", json_type_name(split));
  entry.part = split.get<std::string>();
  const bool known = entry.part == "train" || entry.part == "test" || (entry.part == "val" && layout.has_val);
  if (!known) {
    return fmt::format("\"split\" must be {}, got '{}'", layout.has_val ? "train, val or test" : "train or test", entry.part);
  }
  const Json& id = *value("id");
  if (!id.is_number_integer() || id.get<int64_t>() < 0) {
    return fmt::format("\"id\" must be an integer from 0, got {}", id.is_number_integer() ? id.dump() : json_type_name(id));
  }
  entry.sample.identity = id.get<int64_t>();
  const Json& path = *value(layout.path_key);
  if (!path.is_string()) return fmt::format("\"{}\" must be a string, got {}", layout.path_key, json_type_name(path));
  relative = path.get<std::string>();
  const fs::path steps(relative);
  const bool outside = steps.is_absolute() || std::any_of(steps.begin(), steps.end(), [](const fs::path& s) { return s == ".."; });
  if (outside || !is_picture_name(relative)) {
    return fmt::format("\"{}\" must be the path of a picture below imgs/, got '{}'", layout.path_key, relative);
  }
  const Json& captions = *value("captions");
  if (!captions.is_array()) return fmt::format("\"captions\" must be a list, got {}", json_type_name(captions));
  if (captions.empty()) return std::string("\"captions\" must hold a sentence, got an empty list");
  for (std::size_t i = 0; i < captions.size(); ++i) {
    if (!captions[i].is_string()) {
      return fmt::format("caption {} must be a string, got {}", i, json_type_name(captions[i]));
    }
    auto text = captions[i].get<std::string>();
    if (is_blank(text)) return fmt::format("caption {} must be a sentence, got an empty one", i);
    entry.sample.captions.push_back(std::move(text));
  }
  if (layout.camera_in_name) entry.sample.camera = camera_of(relative);
  return std::nullopt;
}

/// Training identities without a gap, whatever part of the set is used.
void check_identities(const std::vector<Entry>& entries, const fs::path& file, Scan& scan) {
  std::map<int64_t, int64_t> train;  // identity -> the first entry that has it
  for (const auto& entry : entries) {
    if (entry.part == "train") train.emplace(entry.sample.identity, entry.number);
  }
  for (auto it = train.begin(); it != train.end() && std::next(it) != train.end(); ++it) {
    const auto next = std::next(it);
    if (next->first == it->first + 1) continue;
    scan.report("misnamed", file.string(),
                fmt::format("{}: training identities must follow each other without a gap, got {} after {}",
                            at_entry(file, next->second), next->first, it->first));
  }
}

/// All entries of the file, sorted by path; what is wrong goes to `scan`. A picture that is listed again for its identity
/// is one entry with the sentences of both; ICFG-PEDES has one such among its 34,674 of train. A training picture may also
/// stand under two identities, as two entries.
std::vector<Entry> read_entries(const CaptionLayout& layout, const fs::path& folder, const std::vector<std::string>& only,
                                Scan& scan) {
  std::vector<Entry> entries;
  const fs::path file = folder / layout.file;
  std::error_code ignored;
  if (!fs::exists(file, ignored)) {
    scan.report("missing", file.string(),
                fmt::format("{}: list of captions must be there, got no such file", file.string()));
    return entries;
  }
  const Json json = read_json_file(file);
  if (!json.is_array()) {
    throw DatasetError(fmt::format("{}: list of captions must be a list of objects, got {}", file.string(), json_type_name(json)));
  }
  std::unordered_map<std::string, std::size_t> seen;  // picture -> its place in `entries`
  bool whole = true;
  const std::string prefix = (folder / "imgs").string() + "/";
  for (std::size_t i = 0; i < json.size(); ++i) {
    Entry entry;
    entry.number = static_cast<int64_t>(i);
    std::string relative;
    auto wrong = read_entry(layout, json[i], entry, relative);
    const auto [first, fresh] = wrong ? std::pair(seen.end(), true) : seen.emplace(relative, entries.size());
    if (!fresh) {
      Entry& before = entries[first->second];
      const bool same_part = before.part == entry.part;
      if (same_part && before.sample.identity == entry.sample.identity) {
        auto& captions = before.sample.captions;
        captions.insert(captions.end(), entry.sample.captions.begin(), entry.sample.captions.end());
        ++before.listed;
        continue;
      }
      if (!same_part || entry.part != "train") {
        wrong = fmt::format("picture must be listed for one part and identity, got '{}' of entry {} again", relative, before.number);
      }
    }
    if (wrong) {
      scan.report("misnamed", file.string(), fmt::format("{}: {}", at_entry(file, entry.number), *wrong));
      whole = false;
      continue;
    }
    entry.sample.path = prefix + relative;
    entries.push_back(std::move(entry));
  }
  if (whole) check_identities(entries, file, scan);
  if (!only.empty()) {
    std::erase_if(entries, [&](const Entry& entry) {
      const auto below = std::string_view(entry.sample.path).substr(prefix.size());
      return std::find(only.begin(), only.end(), below.substr(0, below.find('/'))) == only.end();
    });
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    const int order = a.sample.path.compare(b.sample.path);
    return order != 0 ? order < 0 : a.number < b.number;
  });
  return entries;
}

template <class Set>
class CaptionReader final : public LayoutReader {
 public:
  using Options = CaptionOptions;
  explicit CaptionReader(const Options& options) : options_(options) {
    REID_CHECK(Set::layout().has_val || options.part == CaptionPart::test, ConfigError,
               fmt::format("{}: part must be test, got val, which this set doesn't have", Set::layout().name));
  }

  data::DataSet load(const fs::path& root, const data::Parts& parts, const std::string& protocol, Scan& scan) const override {
    return load_part(root, parts, protocol, scan, options_.part);
  }

  std::vector<std::string> protocols() const override { return {"text_to_image", "image_to_text"}; }

  std::vector<data::DocumentedCount> count(const fs::path& root, Scan& scan) const override {
    const Located found = find(root);
    struct Counted {
      int64_t images = 0, captions = 0;
      std::set<int64_t> identities;
    };
    std::map<std::string, Counted> counted;
    for (const auto& entry : read_entries(Set::layout(), found.folder, {}, scan)) {
      auto& part = counted[entry.part];
      part.images += entry.listed;
      part.captions += static_cast<int64_t>(entry.sample.captions.size());
      part.identities.insert(entry.sample.identity);
    }
    auto counts = Set::layout().documented;
    for (auto& count : counts) {
      const auto space = count.what.find(' ');
      const auto& part = counted[count.what.substr(0, space)];
      const std::string what = count.what.substr(space + 1);
      count.actual = what == "images"     ? part.images
                     : what == "captions" ? part.captions
                                          : static_cast<int64_t>(part.identities.size());
    }
    expect_synthetic(found.folder, counts);
    return counts;
  }

  std::vector<data::DataSet> everything(const fs::path& root, Scan& scan) const override {
    std::vector<data::DataSet> sets{load_part(root, {}, "", scan, CaptionPart::test)};
    if (Set::layout().has_val) sets.push_back(load_part(root, {false, true}, "", scan, CaptionPart::val));
    return sets;
  }

  std::string terms() const override {
    return "Photographs of real people with descriptions of them, for research only, from its authors on request.";
  }

 private:
  static Located find(const fs::path& root) {
    const CaptionLayout& layout = Set::layout();
    std::error_code ignored;
    std::vector<fs::path> folders{root};
    for (const auto& name : layout.folders) folders.push_back(root / name);
    for (const fs::path& folder : folders) {
      const bool only_misspelt = !root.empty() && layout.misspelt[0] != '\0' && fs::exists(folder / layout.misspelt, ignored) &&
                                 !fs::exists(folder / layout.file, ignored);
      if (only_misspelt) {
        throw DatasetError(fmt::format("{}: list of captions must be named {}, got {}", folder.string(), layout.file, layout.misspelt));
      }
      const bool only_unsplit = !root.empty() && layout.unsplit[0] != '\0' && fs::exists(folder / layout.unsplit, ignored) &&
                                !fs::exists(folder / layout.file, ignored);
      if (only_unsplit) {
        throw DatasetError(fmt::format("{}: list of captions must be {}, which says what is train, val and test, got {} alone, "
                                       "which doesn't and numbers the people otherwise; ask the authors for the former",
                                       folder.string(), layout.file, layout.unsplit));
      }
    }
    return locate(root, {layout.file}, layout.folders);
  }

  data::DataSet load_part(const fs::path& root, const data::Parts& parts, const std::string& protocol, Scan& scan,
                          CaptionPart part) const {
    const CaptionLayout& layout = Set::layout();
    data::DataSet set;
    set.name = layout.name;
    set.default_protocol = "text_to_image";
    const bool from_picture = choose_protocol(set.name, protocol) == "image_to_text";
    const Located found = find(root);
    set.notes = found.notes;
    note_synthetic(found.folder, set.notes);
    if (!options_.only.empty()) {
      set.notes.push_back(fmt::format("a part of the set: pictures below {} alone", fmt::join(options_.only, ", ")));
    }
    const std::string evaluated = part == CaptionPart::test ? "test" : "val";
    if (part == CaptionPart::val) set.notes.push_back("evaluated on val, not on test");
    data::EvaluationSplit split;
    std::error_code ignored;
    std::map<int64_t, int64_t> pictures_of;
    int64_t repeated = 0, shared = 0;
    for (auto& entry : read_entries(layout, found.folder, options_.only, scan)) {
      const bool train = entry.part == "train";
      if (train ? !parts.train : !parts.evaluation || entry.part != evaluated) continue;
      if (!scan.collecting() && !fs::exists(entry.sample.path, ignored)) {  // a check looks at every picture itself
        throw DatasetError(fmt::format("{}: picture must be there, got no file {}",
                                       at_entry(found.folder / layout.file, entry.number), entry.sample.path));
      }
      repeated += entry.listed > 1 ? 1 : 0;
      if (train) {
        shared += !set.train.empty() && set.train.back().path == entry.sample.path ? 1 : 0;
        ++pictures_of[entry.sample.identity];
        set.train.push_back(std::move(entry.sample));
        continue;
      }
      // A sentence is a query (or a gallery entry) of its own; a picture stands once.
      auto& sentences = from_picture ? split.gallery : split.query;
      for (const auto& caption : entry.sample.captions) {
        Sample sentence = entry.sample;
        sentence.captions = {caption};
        sentences.push_back(std::move(sentence));
      }
      (from_picture ? split.query : split.gallery).push_back(std::move(entry.sample));
    }
    const auto lonely = std::count_if(pictures_of.begin(), pictures_of.end(), [](const auto& p) { return p.second == 1; });
    if (lonely > 0) set.notes.push_back(fmt::format("{} training identities have a single picture", lonely));
    if (repeated > 0) {
      set.notes.push_back(fmt::format("pictures that the list has more than once, each taken once with all its sentences: {}", repeated));
    }
    if (shared > 0) set.notes.push_back(fmt::format("training pictures that the list has under two identities: {}", shared));
    const auto need = [&](bool there, const std::string& what) {
      if (!there) {
        scan.report("missing", found.folder.string(),
                    fmt::format("{}: {} must hold entries, got none", (found.folder / layout.file).string(), what));
      }
    };
    if (parts.train) need(!set.train.empty(), "part train");
    if (parts.evaluation) {
      need(!split.gallery.empty(), "part " + evaluated);
      set.splits.push_back(std::move(split));
    }
    return set;
  }

  CaptionOptions options_;
};

struct CuhkPedes {
  static const CaptionLayout& layout() {
    const char* page = "paper and evaluation code of its users";
    const char* second = "second-hand; a redistributed copy has 6,156 and 6,148 captions in val and test";
    static const CaptionLayout layout{"cuhk_pedes", {"CUHK-PEDES"}, "reid_raw.json", "", "caption_all.json", "file_path", true, false,
                                      {{"train identities", 11003, 0, page}, {"train images", 34054, 0, page},
                                       {"train captions", 68126, 0, second}, {"val identities", 1000, 0, page},
                                       {"val images", 3078, 0, page},        {"val captions", 6158, 0, second},
                                       {"test identities", 1000, 0, page},   {"test images", 3074, 0, page},
                                       {"test captions", 6156, 0, second}}};
    return layout;
  }
};

struct IcfgPedes {
  static const CaptionLayout& layout() {
    const char* page = "paper";
    static const CaptionLayout layout{"icfg_pedes", {"ICFG-PEDES", "ICFG_PEDES"}, "ICFG-PEDES.json", "ICFG_PEDES.json", "", "file_path", false, false,
                                      {{"train identities", 3102, 0, page}, {"train images", 34674, 0, page},
                                       {"train captions", 34674, 0, page},  {"test identities", 1000, 0, page},
                                       {"test images", 19848, 0, page},     {"test captions", 19848, 0, page}}};
    return layout;
  }
};

struct RstpReid {
  static const CaptionLayout& layout() {
    const char* page = "paper";
    static const CaptionLayout layout{"rstp_reid", {"RSTPReid"}, "data_captions.json", "", "", "img_path", true, true,
                                      {{"train identities", 3701, 0, page}, {"train images", 18505, 0, page},
                                       {"train captions", 37010, 0, page},  {"val identities", 200, 0, page},
                                       {"val images", 1000, 0, page},       {"val captions", 2000, 0, page},
                                       {"test identities", 200, 0, page},   {"test images", 1000, 0, page},
                                       {"test captions", 2000, 0, page}}};
    return layout;
  }
};

}  // namespace

void register_cuhk_pedes(data::DataSetRegistry& registry) {
  registry.add<CaptionReader<CuhkPedes>>(
      "cuhk_pedes", {"13,003 people from five sets of pictures, two sentences to most pictures",
                     "Li et al., Person Search with Natural Language Description, CVPR 2017, arXiv:1702.05729",
                     "anosorae/IRRA datasets/cuhkpedes.py", "same lists, sorted by path; identities as in the file"});
}
void register_icfg_pedes(data::DataSetRegistry& registry) {
  registry.add<CaptionReader<IcfgPedes>>(
      "icfg_pedes", {"4,102 people of MSMT17, one fine-grained sentence to each picture",
                     "Ding et al., Semantically Self-Aligned Network for Text-to-Image Part-aware Person Re-identification, "
                     "arXiv:2107.12666",
                     "anosorae/IRRA datasets/icfgpedes.py", "same lists, sorted by path; identities as in the file"});
}
void register_rstp_reid(data::DataSetRegistry& registry) {
  registry.add<CaptionReader<RstpReid>>(
      "rstp_reid", {"4,101 people of MSMT17 from 15 cameras, five pictures each, two sentences to each picture",
                    "Zhu et al., DSSL: Deep Surroundings-person Separation Learning for Text-based Person Retrieval, ACM MM 2021, "
                    "arXiv:2109.05534",
                    "anosorae/IRRA datasets/rstpreid.py", "same lists, sorted by path; identities as in the file"});
}

}  // namespace reid::datasets
