// SPDX-License-Identifier: Apache-2.0
// Small sets that are scored on several random halves of their people: VIPeR, CUHK01, PRID 2011 (single shot), i-LIDS.
// The splits come from a seed or from a file; their fingerprint is printed, since results on other splits differ.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "layout.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/core/json.hpp"
#include "reid/core/random.hpp"
#include "reid/datasets/registry.hpp"

namespace reid::datasets {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kHalves = 10;
constexpr uint64_t kSplitStream = 0x73706c6974;

struct SplitOptions {
  std::optional<int64_t> split;
  int64_t seed = 0;
  std::string splits;
  template <class V>
  void fields(V&& v) {
    v("split", split, "one of the splits, from 1, to train and to score on; null: all of them to score on", Range{1, 1000});
    v("seed", seed, "of the random halves", Range{0, 9e15});
    v("splits", splits,
      "JSON file with the halves instead, [{\"train\": [identities], \"test\": [identities]}, ...]; \"\": from the seed");
  }
};

/// Identities of one half and of the other.
struct Halves {
  std::vector<int64_t> train, test;
};

/// What differs between the sets.
struct RandomSplitSet {
  std::string name;
  EntryInfo info;
  std::vector<std::string> children;  ///< folders that are read, of which locate looks for any
  std::vector<std::string> official;
  std::string terms;
  bool both_directions = false;   ///< each half gives two splits: camera 1 as query, then camera 2
  bool one_picture_each = false;  ///< a random query and a random gallery picture of each test identity
  int64_t train_count = -1;       ///< identities of the training half; -1: half of them, rounded down
  int64_t last_shared = -1;       ///< only identities up to it are split; those above stay in every gallery
  std::function<std::vector<Sample>(const fs::path& folder, Scan& scan)> read;
  std::vector<std::pair<std::string, std::pair<int64_t, std::string>>> documented;  ///< what, number, source
};

class RandomSplitReader final : public LayoutReader {
 public:
  RandomSplitReader(RandomSplitSet set, SplitOptions options) : set_(std::move(set)), options_(std::move(options)) {}

  data::DataSet load(const fs::path& root, const data::Parts& parts, const std::string& protocol,
                     Scan& scan) const override {
    data::DataSet result;
    result.name = set_.name;
    result.default_protocol = choose_protocol(set_.name, protocol);
    const Located found = locate(root, set_.children, set_.official);
    result.notes = found.notes;
    const auto all = set_.read(found.folder, scan);
    const auto halves = make_halves(all);
    const int64_t count = static_cast<int64_t>(halves.size()) * (set_.both_directions ? 2 : 1);
    if (options_.split && *options_.split > count) {
      throw ConfigError(fmt::format("{}: split must be at most {}, the number of splits, got {}", set_.name, count,
                                    *options_.split));
    }
    if (parts.train && !options_.split && !scan.collecting()) {
      throw ConfigError(fmt::format("{}: split must be 1 to {} for training (each split has a training set of its own), "
                                    "got null", set_.name, count));
    }
    result.notes.push_back(describe(halves));
    for (int64_t i = 0; i < count; ++i) {
      if (options_.split && *options_.split != i + 1) continue;
      const auto& half = halves[static_cast<std::size_t>(set_.both_directions ? i / 2 : i)];
      const std::set<int64_t> train(half.train.begin(), half.train.end());
      if (parts.train && options_.split) {
        for (const auto& sample : all) {
          if (train.count(sample.identity) != 0) result.train.push_back(sample);
        }
      }
      if (parts.evaluation) result.splits.push_back(evaluation(all, half, set_.both_directions && i % 2 == 1, i));
    }
    return result;
  }

  std::vector<data::DataSet> everything(const fs::path& root, Scan& scan) const override {
    std::vector<data::DataSet> sets(1);
    sets[0].name = set_.name;
    sets[0].train = set_.read(locate(root, set_.children, set_.official).folder, scan);
    return sets;
  }

  std::vector<std::string> protocols() const override { return {set_.name}; }
  std::string terms() const override { return set_.terms; }

  std::vector<data::DocumentedCount> count(const fs::path& root, Scan& scan) const override {
    const auto all = set_.read(locate(root, set_.children, set_.official).folder, scan);
    std::vector<data::DocumentedCount> counts;
    for (const auto& [what, number] : set_.documented) {
      const int64_t camera = what == "camera 1 images" ? 1 : what == "camera 2 images" ? 2 : 0;
      const int64_t actual =
          what == "identities" ? count_identities(all)
          : camera == 0        ? static_cast<int64_t>(all.size())
                               : std::count_if(all.begin(), all.end(), [&](const Sample& s) { return s.camera == camera; });
      counts.push_back({what, number.first, actual, number.second});
    }
    return counts;
  }

 private:
  std::vector<Halves> make_halves(const std::vector<Sample>& all) const {
    std::set<int64_t> people;
    for (const auto& sample : all) {
      if (set_.last_shared < 0 || sample.identity <= set_.last_shared) people.insert(sample.identity);
    }
    if (!options_.splits.empty()) return read_halves(people);
    std::vector<Halves> halves;
    for (int64_t i = 0; i < kHalves; ++i) {
      std::vector<int64_t> order(people.begin(), people.end());
      Random random({static_cast<uint64_t>(options_.seed), kSplitStream, static_cast<uint64_t>(i)});
      random.shuffle(order);
      const auto size = static_cast<int64_t>(order.size());
      const auto cut = std::min(size, set_.train_count >= 0 ? set_.train_count : size / 2);
      Halves half{{order.begin(), order.begin() + cut}, {order.begin() + cut, order.end()}};
      std::sort(half.train.begin(), half.train.end());
      std::sort(half.test.begin(), half.test.end());
      halves.push_back(std::move(half));
    }
    return halves;
  }

  std::vector<Halves> read_halves(const std::set<int64_t>& people) const {
    const Json json = read_json_file(options_.splits);
    const auto refuse = [&](std::size_t i, const std::string& expectation, const std::string& actual) {
      throw ConfigError(fmt::format("{}: /{} must {}, got {}", options_.splits, i, expectation, actual));
    };
    if (!json.is_array() || json.empty()) {
      throw ConfigError(fmt::format("{}: file must be a list of splits, got {}", options_.splits, json_type_name(json)));
    }
    std::vector<Halves> halves;
    for (std::size_t i = 0; i < json.size(); ++i) {
      Halves half;
      std::set<int64_t> seen;
      for (const char* part : {"train", "test"}) {
        if (!json[i].is_object() || !json[i].contains(part) || !json[i][part].is_array() || json[i].size() != 2) {
          refuse(i, "hold the lists \"train\" and \"test\" and nothing else", json[i].dump().substr(0, 60));
        }
        for (const auto& value : json[i][part]) {
          if (!value.is_number_integer() || people.count(value.get<int64_t>()) == 0) {
            refuse(i, "hold identities of the set", value.dump());
          }
          if (!seen.insert(value.get<int64_t>()).second) refuse(i, "hold each identity once", value.dump() + " twice");
          (part[1] == 'r' ? half.train : half.test).push_back(value.get<int64_t>());
        }
      }
      if (half.test.empty()) refuse(i, "have an identity to test on", "none");
      std::sort(half.train.begin(), half.train.end());
      std::sort(half.test.begin(), half.test.end());
      halves.push_back(std::move(half));
    }
    return halves;
  }

  std::string describe(const std::vector<Halves>& halves) const {
    std::string text;
    for (const auto& half : halves) {
      for (const int64_t id : half.train) text += fmt::format("{},", id);
      text += '|';
      for (const int64_t id : half.test) text += fmt::format("{},", id);
      text += ';';
    }
    return fmt::format("{} halves from {}, fingerprint {:016x}", halves.size(),
                       options_.splits.empty() ? fmt::format("seed {}", options_.seed) : options_.splits, fingerprint(text));
  }

  data::EvaluationSplit evaluation(const std::vector<Sample>& all, const Halves& half, bool exchanged, int64_t index) const {
    const std::set<int64_t> test(half.test.begin(), half.test.end());
    data::EvaluationSplit split;
    if (set_.one_picture_each) {
      std::map<int64_t, std::vector<Sample>> pictures;
      for (const auto& sample : all) {
        if (test.count(sample.identity) != 0) pictures[sample.identity].push_back(sample);
      }
      for (auto& [identity, shots] : pictures) {
        Random random({static_cast<uint64_t>(options_.seed), kSplitStream, static_cast<uint64_t>(index),
                       static_cast<uint64_t>(identity) + 1});
        random.shuffle(shots);
        split.query.push_back(shots[0]);
        if (shots.size() > 1) split.gallery.push_back(shots[1]);
      }
      return split;
    }
    for (const auto& sample : all) {
      const bool is_query = sample.camera == (exchanged ? 2 : 1);
      const bool tested = test.count(sample.identity) != 0;
      const bool stranger = set_.last_shared >= 0 && sample.identity > set_.last_shared;
      if (tested && is_query) split.query.push_back(sample);
      if ((tested || stranger) && !is_query) split.gallery.push_back(sample);
    }
    return split;
  }

  RandomSplitSet set_;
  SplitOptions options_;
};

void add_set(data::DataSetRegistry& registry, RandomSplitSet set) {
  if (set.terms.empty()) set.terms = "Photographs of real people, for research only.";
  registry.add_entry({set.name, set.info, write_options(SplitOptions{}), describe_options(SplitOptions{}),
                      [set](const Json& options, const std::string& pointer) -> std::shared_ptr<data::DataSetReader> {
                        return std::make_shared<RandomSplitReader>(set, read_options<SplitOptions>(options, pointer));
                      }});
}

/// Both cameras' folders, each picture parsed and given its camera.
std::vector<Sample> two_folders(const fs::path& folder, const NameParser& parse, const std::string& pattern, Scan& scan) {
  std::vector<Sample> all;
  for (const int64_t camera : {1, 2}) {
    for (auto& sample : read_part(folder / (camera == 1 ? "cam_a" : "cam_b"), parse, pattern, scan)) {
      sample.camera = camera;
      all.push_back(std::move(sample));
    }
  }
  return all;
}

/// `IIIIKKK.png`: four digits of identity, the rest the picture's number.
bool parse_joined(std::string_view name, int64_t& identity, int64_t& number) {
  std::string_view digits = name.substr(0, name.find('.'));
  if (digits.size() < 5 || digits.find_first_not_of("0123456789") != std::string_view::npos) return false;
  std::string_view head = digits.substr(0, 4), tail = digits.substr(4);
  const auto first = take_number(head), second = take_number(tail);
  if (!first || !second || *first < 1 || *second < 1) return false;
  identity = *first;
  number = *second;
  return true;
}

}  // namespace

void register_viper(data::DataSetRegistry& registry) {
  RandomSplitSet set;
  set.name = "viper";
  set.info = {"632 people, two cameras, one picture each; 10 random halves, both directions",
              "Gray et al., Evaluating Appearance Models for Recognition, Reacquisition, and Tracking, PETS 2007",
              "KaiyangZhou/deep-person-reid torchreid/data/datasets/image/viper.py", "the halves are drawn anew"};
  set.children = {"cam_a", "cam_b"};
  set.official = {"VIPeR", "viper/VIPeR"};
  set.both_directions = true;
  set.read = [](const fs::path& folder, Scan& scan) {
    // Paired by their place among the sorted names; the number that a name begins with has to agree.
    const NameParser numbered = [](std::string_view name, Sample& sample) {
      const auto number = take_number(name);
      if (!number || *number < 0) return false;
      sample.identity = *number;
      return true;
    };
    auto all = two_folders(folder, numbered, "like 001_45.bmp (number of the person first)", scan);
    std::map<int64_t, int64_t> places;
    std::array<std::vector<int64_t>, 2> numbers;
    for (const auto& sample : all) numbers[sample.camera == 1 ? 0 : 1].push_back(sample.identity);
    if (numbers[0] != numbers[1]) {
      scan.report("missing", folder.string(),
                  fmt::format("{}: cam_a and cam_b must hold one picture of the same people, got {} and {} that don't pair",
                              folder.string(), numbers[0].size(), numbers[1].size()));
    }
    for (const int64_t number : numbers[0]) places.emplace(number, static_cast<int64_t>(places.size()) + 1);
    for (const int64_t number : numbers[1]) places.emplace(number, static_cast<int64_t>(places.size()) + 1);
    for (auto& sample : all) sample.identity = places.at(sample.identity);
    return all;
  };
  const char* source = "torchreid's data set page";
  set.documented = {{"identities", {632, source}}, {"camera 1 images", {632, source}}, {"camera 2 images", {632, source}}};
  add_set(registry, set);
}

void register_cuhk01(data::DataSetRegistry& registry) {
  RandomSplitSet set;
  set.name = "cuhk01";
  set.info = {"971 people, two cameras, two pictures from each; 10 random halves (485/486), both directions",
              "Li et al., Human Reidentification with Transferred Metric Learning, ACCV 2012",
              "KaiyangZhou/deep-person-reid torchreid/data/datasets/image/cuhk01.py", "the halves are drawn anew"};
  set.children = {"campus"};
  set.official = {"CUHK01", "cuhk01"};
  set.both_directions = true;
  set.read = [](const fs::path& folder, Scan& scan) {
    return read_part(
        folder / "campus",
        [](std::string_view name, Sample& sample) {
          int64_t number = 0;
          if (!parse_joined(name, sample.identity, number) || number > 4) return false;
          sample.camera = 1 + (number - 1) / 2;
          return true;
        },
        "like 0001001.png (identity of four digits, picture 1 to 4)", scan);
  };
  const char* source = "torchreid's data set page";
  set.documented = {{"identities", {971, source}}, {"images", {3884, source}}};
  add_set(registry, set);
}

void register_prid2011_single_shot(data::DataSetRegistry& registry) {
  RandomSplitSet set;
  set.name = "prid2011_single_shot";
  set.info = {"385 and 749 people before two cameras, 200 of them before both; 10 random splits (100/100)",
              "Hirzer et al., Person Re-Identification by Descriptive and Discriminative Classification, SCIA 2011",
              "KaiyangZhou/deep-person-reid torchreid/data/datasets/image/prid.py", "the splits are drawn anew"};
  set.children = {"cam_a", "cam_b"};
  set.official = {"single_shot", "prid_2011/single_shot", "prid2011/prid_2011/single_shot"};
  set.train_count = 100;
  set.last_shared = 200;
  set.read = [](const fs::path& folder, Scan& scan) {
    return two_folders(
        folder,
        [](std::string_view name, Sample& sample) {
          if (name.substr(0, 7) != "person_") return false;
          name.remove_prefix(7);
          const auto number = take_number(name);
          if (!number || *number < 1) return false;
          sample.identity = *number;
          return true;
        },
        "like person_0001.png", scan);
  };
  const char* source = "torchreid's data set page";
  set.documented = {{"camera 1 images", {385, source}}, {"camera 2 images", {749, source}}};
  add_set(registry, set);
}

void register_ilids(data::DataSetRegistry& registry) {
  RandomSplitSet set;
  set.name = "ilids";
  set.info = {"119 people in an airport; 10 random halves, one query and one gallery picture of each person",
              "Zheng et al., Associating Groups of People, BMVC 2009",
              "KaiyangZhou/deep-person-reid torchreid/data/datasets/image/ilids.py", "the halves are drawn anew"};
  set.children = {"Persons"};
  set.official = {"i-LIDS_Pedestrian", "ilids/i-LIDS_Pedestrian"};
  set.one_picture_each = true;
  set.read = [](const fs::path& folder, Scan& scan) {
    return read_part(
        folder / "Persons",
        [](std::string_view name, Sample& sample) {
          int64_t number = 0;  // of the picture: the set says no cameras
          return parse_joined(name, sample.identity, number);
        },
        "like 0001001.jpg (identity of four digits, picture)", scan);
  };
  const char* source = "torchreid's data set page";
  set.documented = {{"identities", {119, source}}, {"images", {476, source}}};
  add_set(registry, set);
}

}  // namespace reid::datasets
