// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <fstream>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "../parallel.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/datasets/registry.hpp"
#include "reid/datasets/synthetic.hpp"
#include "describe.hpp"
#include "scene.hpp"

namespace reid::datasets {
namespace fs = std::filesystem;
using synthetic::Shot;

void SyntheticOptions::validate_for(SyntheticKind kind) const {
  const auto refuse = [](const std::string& message) { throw ConfigError("datasets make: " + message); };
  const double train = train_fraction * static_cast<double>(identities);
  if (train < 0.5 || train > static_cast<double>(identities) - 0.5) {
    refuse(fmt::format("train_fraction must leave a person on each side, got {} of {}", train_fraction, identities));
  }
  if (kind == SyntheticKind::market1501 && cameras > 6) {
    refuse(fmt::format("cameras of market1501 must be at most 6, as its names have it, got {}", cameras));
  }
  if (kind == SyntheticKind::cuhk03 && cameras != 2) {
    refuse(fmt::format("cameras of cuhk03 must be 2, as its protocols have it, got {}", cameras));
  }
  const bool has_val = kind == SyntheticKind::cuhk_pedes || kind == SyntheticKind::rstp_reid;
  if (has_val && train > static_cast<double>(identities) - 1.5) {
    refuse(fmt::format("train_fraction must leave a person for val and one for test, got {} of {}", train_fraction, identities));
  }
  if (kind == SyntheticKind::ltcc && cameras > 12) {
    refuse(fmt::format("cameras of ltcc must be at most 12, got {}", cameras));
  }
  if (kind == SyntheticKind::ltcc && images_per_identity < 4 * outfits) {
    refuse(fmt::format("images_per_identity must be at least 4 per outfit ({} outfits), got {}", outfits,
                       images_per_identity));
  }
}

SyntheticOptions synthetic_defaults(SyntheticKind kind) {
  SyntheticOptions options;
  if (kind == SyntheticKind::msmt17) {
    options.cameras = 15;
    options.images_per_identity = 20;
  } else if (kind == SyntheticKind::cuhk03) {
    options.cameras = 2;
    options.images_per_identity = 10;
  } else if (kind == SyntheticKind::ltcc) {
    options.cameras = 12;
    options.images_per_identity = 24;
  } else if (kind == SyntheticKind::cuhk_pedes) {
    options.cameras = 5;
    options.images_per_identity = 4;
  } else if (kind == SyntheticKind::icfg_pedes) {
    options.cameras = 15;
    options.captions = 1;
  } else if (kind == SyntheticKind::rstp_reid) {
    options.cameras = 15;
    options.images_per_identity = 5;
  }
  return options;
}

namespace {

/// One file of the tree to be.
struct Job {
  std::string path;
  Shot shot;
  Json entry = nullptr;  ///< of a set with captions: all but the captions, which are written when the picture is drawn
};

/// A picture of a person, before it has a name.
struct Take {
  int64_t person = 0;  ///< 0..identities-1
  int64_t outfit = 0;
  int64_t camera = 1;
  int64_t number = 0;  ///< within the person and outfit
  int64_t frame = 0;
  bool query = false;
};

constexpr uint64_t kPlanStream = 0x706c616e;
/// Keys of shots: people count up from 0, these stand far above.
constexpr uint64_t kDistractorKey = 1ULL << 40, kJunkKey = 2ULL << 40, kExtraKey = 3ULL << 40, kBoxKey = 4ULL << 40,
                   kLabeledKey = 5ULL << 40;

class Plan {
 public:
  Plan(SyntheticKind kind, const SyntheticOptions& options) : options_(options) {
    std::vector<int64_t> order(static_cast<std::size_t>(options.identities));
    std::iota(order.begin(), order.end(), 0);
    Random random({static_cast<uint64_t>(options.seed), kPlanStream});
    random.shuffle(order);
    const auto train = static_cast<std::size_t>(options.train_fraction * static_cast<double>(options.identities) + 0.5);
    train_.assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(train));
    test_.assign(order.begin() + static_cast<std::ptrdiff_t>(train), order.end());
    std::sort(train_.begin(), train_.end());
    std::sort(test_.begin(), test_.end());
    switch (kind) {
      case SyntheticKind::market1501: market(); break;
      case SyntheticKind::msmt17: msmt(); break;
      case SyntheticKind::cuhk03: cuhk03(); break;
      case SyntheticKind::ltcc: ltcc(); break;
      case SyntheticKind::folder: folder(); break;
      case SyntheticKind::cuhk_pedes: captioned("CUHK-PEDES", "reid_raw.json", "file_path", 1, true); break;
      case SyntheticKind::icfg_pedes: captioned("ICFG-PEDES", "ICFG-PEDES.json", "file_path", 0, false); break;
      case SyntheticKind::rstp_reid: captioned("RSTPReid", "data_captions.json", "img_path", 0, true); break;
    }
  }

  std::string inside;                          ///< the set's official folder, "" if none
  std::vector<Job> jobs;
  std::map<std::string, std::string> texts;    ///< list files
  std::string captions;                        ///< file of the captions, "" if there are none

 private:
  Shot shot(const Take& take, bool hand_drawn = false) const {
    Shot s;
    s.seed = static_cast<uint64_t>(options_.seed);
    s.camera = take.camera;
    s.key = static_cast<uint64_t>((take.person * 10 + take.outfit) * 10000 + take.number);
    s.identity = take.person;
    s.outfit = take.outfit;
    s.hand_drawn = hand_drawn;
    s.width = static_cast<int>(options_.width);
    s.height = static_cast<int>(options_.height);
    return s;
  }

  /// The pictures of one person, `count` of them in one outfit, over at most half as many cameras, so that a query
  /// for each camera leaves the gallery a picture from each.
  void add_takes(int64_t person, int64_t outfit, int64_t count, std::vector<Take>& takes) const {
    Random random({static_cast<uint64_t>(options_.seed), kPlanStream, static_cast<uint64_t>(person),
                   static_cast<uint64_t>(outfit)});
    std::vector<int64_t> cameras(static_cast<std::size_t>(options_.cameras));
    std::iota(cameras.begin(), cameras.end(), 1);
    random.shuffle(cameras);
    const int64_t most = std::min(options_.cameras, count / 2);
    const int64_t visited = most <= 2 ? most : std::max<int64_t>(2, most - random.below(std::max<int64_t>(1, most / 3) + 1));
    const int64_t start = 100 + random.below(60000);
    for (int64_t i = 0; i < count; ++i) {
      Take take;
      take.person = person;
      take.outfit = outfit;
      take.camera = cameras[static_cast<std::size_t>(i % visited)];
      take.number = i;
      take.frame = start + 25 * i;
      take.query = i < visited;  // the first from each camera
      takes.push_back(take);
    }
  }
  std::vector<Take> takes(int64_t person) const {
    std::vector<Take> result;
    add_takes(person, 0, options_.images_per_identity, result);
    return result;
  }

  void market() {
    inside = "";
    const auto name = [](int64_t id, const Take& t, int64_t box) {
      const std::string who = id < 0 ? "-1" : fmt::format("{:04}", id);
      return fmt::format("{}_c{}s{}_{:06}_{:02}.jpg", who, t.camera, 1 + t.frame / 25000 % 6, t.frame, box);
    };
    int64_t test_pictures = 0;
    for (const int64_t person : train_) {
      for (const Take& t : takes(person)) {
        jobs.push_back({"bounding_box_train/" + name(person + 1, t, 1 + t.number % 7), shot(t)});
        add_box(name(person + 1, t, 0), t);
      }
    }
    for (const int64_t person : test_) {
      for (const Take& t : takes(person)) {
        ++test_pictures;
        if (t.query) {
          jobs.push_back({"query/" + name(person + 1, t, 0), shot(t, true)});
        } else {
          jobs.push_back({"bounding_box_test/" + name(person + 1, t, 1 + t.number % 7), shot(t)});
        }
        add_box(name(person + 1, t, 0), t);
      }
    }
    const auto extra = [&](int64_t count, uint64_t key, int64_t id, const char* folder) {
      Random random({static_cast<uint64_t>(options_.seed), kPlanStream, key});
      for (int64_t i = 0; i < count; ++i) {
        Take t;
        t.camera = 1 + random.below(options_.cameras);
        t.frame = 10 * i;
        Job job{folder + name(id, t, 1 + i % 7), shot(t)};
        job.shot.key = key + static_cast<uint64_t>(i);
        // Distractors: the background alone, or people whom nobody knows. Junk: those who are in the set, cut badly.
        const bool empty = id >= 0 && random.chance(0.4);
        job.shot.identity = empty     ? -1
                            : id >= 0 ? 1000000 + random.below(1000000)
                                      : test_[static_cast<std::size_t>(random.below(static_cast<int64_t>(test_.size())))];
        job.shot.spoiled = id < 0 || random.chance(0.4);
        jobs.push_back(std::move(job));
      }
    };
    const auto share = [&](double part) { return static_cast<int64_t>(part * static_cast<double>(test_pictures) + 0.5); };
    extra(share(options_.distractors), kDistractorKey, 0, "bounding_box_test/");
    extra(share(options_.junk), kJunkKey, -1, "bounding_box_test/");
    extra(options_.extra_distractors, kExtraKey, 0, "images/");
  }

  /// A hand-drawn box of every picture, for multi query; a query's is the query itself.
  void add_box(const std::string& name, const Take& take) {
    Job job{"gt_bbox/" + name, shot(take, true)};
    if (!take.query) job.shot.key += kBoxKey;
    jobs.push_back(std::move(job));
  }

  void msmt() {
    inside = "MSMT17_V1";
    constexpr std::array<const char*, 3> kTimes{"morning", "noon", "afternoon"};
    const auto part = [&](const std::vector<int64_t>& people, const char* folder, const std::string& first,
                          const std::string& second, const auto& is_first) {
      for (std::size_t id = 0; id < people.size(); ++id) {
        for (const Take& t : takes(people[id])) {
          const std::string path =
              fmt::format("{:04}/{:04}_{:03}_{:02}_{:04}{}_{:04}_{}.jpg", id, id, t.number, t.camera,
                          301 + t.frame % 28, kTimes[static_cast<std::size_t>(t.frame % 3)], t.frame % 10000, t.number % 3);
          jobs.push_back({folder + path, shot(t)});
          texts[is_first(t) ? first : second] += fmt::format("{} {}\n", path, id);
        }
      }
    };
    part(train_, "train/", "list_val.txt", "list_train.txt", [](const Take& t) { return t.number % 13 == 12; });
    part(test_, "test/", "list_query.txt", "list_gallery.txt", [](const Take& t) { return t.query; });
    texts["list_val.txt"] += "";
  }

  void cuhk03() {
    inside = "cuhk03-np";
    for (const bool labeled : {true, false}) {
      const std::string base = labeled ? "labeled/" : "detected/";
      const auto add = [&](int64_t person, const char* folder, const Take& t) {
        Job job{fmt::format("{}{}/{:04}_c{}_{}.png", base, folder, person + 1, t.camera, t.number + 1), shot(t, labeled)};
        if (labeled) job.shot.key += kLabeledKey;
        jobs.push_back(std::move(job));
      };
      for (const int64_t person : train_) {
        for (const Take& t : takes(person)) add(person, "bounding_box_train", t);
      }
      for (const int64_t person : test_) {
        for (const Take& t : takes(person)) add(person, t.query ? "query" : "bounding_box_test", t);
      }
    }
  }

  void ltcc() {
    inside = "LTCC_ReID";
    const auto all = [&](int64_t person) {
      std::vector<Take> result;
      for (int64_t outfit = 0; outfit < options_.outfits; ++outfit) {
        const int64_t count = options_.images_per_identity / options_.outfits +
                              (outfit < options_.images_per_identity % options_.outfits ? 1 : 0);
        add_takes(person, outfit, count, result);
      }
      return result;
    };
    const auto path = [](const char* folder, const Take& t) {
      return fmt::format("{}/{:03}_{}_c{}_{:06}.png", folder, t.person, t.outfit + 1, t.camera, t.frame);
    };
    for (const int64_t person : train_) {
      for (const Take& t : all(person)) jobs.push_back({path("train", t), shot(t)});
    }
    for (const int64_t person : test_) {
      for (const Take& t : all(person)) jobs.push_back({path(t.query ? "query" : "test", t), shot(t)});
    }
  }

  void folder() {
    inside = "";
    const auto path = [](const char* part, const Take& t) {
      return fmt::format("{}/person_{:04}/{:04}_c{}.jpg", part, t.person + 1, t.number + 1, t.camera);
    };
    for (const int64_t person : train_) {
      for (const Take& t : takes(person)) jobs.push_back({path("train", t), shot(t)});
    }
    for (const int64_t person : test_) {
      for (const Take& t : takes(person)) jobs.push_back({path(t.query ? "query" : "gallery", t), shot(t)});
    }
  }

  /// Pictures below imgs/ and one list. Identities count up through train, val and test.
  void captioned(const char* folder, const char* list, const char* path_key, int64_t first, bool has_val) {
    inside = folder;
    captions = list;
    const auto val = has_val ? static_cast<std::ptrdiff_t>(test_.size() / 2) : 0;
    int64_t id = first;
    const auto part = [&](auto begin, auto end, const char* name) {
      for (auto person = begin; person != end; ++person, ++id) {
        for (const Take& t : takes(*person)) {
          Json entry{{"split", name}, {"id", id}, {path_key, caption_path(path_key, name, id, t)}};
          jobs.push_back({"imgs/" + entry[path_key].get<std::string>(), shot(t), entry});
        }
      }
    };
    part(train_.begin(), train_.end(), "train");
    part(test_.begin(), test_.begin() + val, "val");
    part(test_.begin() + val, test_.end(), "test");
  }

  /// Names as in the three sets: RSTPReid flat with the camera, ICFG-PEDES by part, CUHK-PEDES by source.
  std::string caption_path(const std::string& path_key, const std::string& part, int64_t id, const Take& t) const {
    if (path_key == "img_path") return fmt::format("{:04}_c{}_{:04}.jpg", id, t.camera, t.number);
    if (captions == "ICFG-PEDES.json") {
      return fmt::format("{}/{:04}/{:04}_{:03}_{:02}_0303noon_{:04}_0.jpg", part, id, id, t.number, t.camera, t.frame % 10000);
    }
    constexpr std::array<const char*, 5> kSources{"cam_a", "cam_b", "CUHK01", "CUHK03", "Market"};
    const char* source = kSources[static_cast<std::size_t>((t.camera - 1) % 5)];
    return fmt::format("{}/{:04}_c{}_{:03}.jpg", source, id, t.camera, t.number);
  }

  const SyntheticOptions& options_;
  std::vector<int64_t> train_, test_;
};

constexpr uint64_t kCaptionStream = 0x63617074696f6e;

/// The object of one picture: what was known of it, and the sentences about what it shows.
Json caption_entry(const Job& job, const synthetic::Seen& seen, int64_t captions) {
  const auto person = synthetic::make_person(job.shot.seed, job.shot.identity, job.shot.outfit);
  Json entry = job.entry;
  entry["captions"] = Json::array();
  entry["processed_tokens"] = Json::array();
  for (int64_t i = 0; i < captions; ++i) {
    Random random({job.shot.seed, kCaptionStream, job.shot.key, static_cast<uint64_t>(i)});
    const std::string sentence = synthetic::describe(person, seen, random);
    Json words = Json::array();
    std::string word;
    for (const char c : sentence + " ") {
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
      if (letter) {
        word.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
      } else if (!word.empty()) {
        words.push_back(word);
        word.clear();
      }
    }
    entry["captions"].push_back(sentence);
    entry["processed_tokens"].push_back(std::move(words));
  }
  return entry;
}

void write_picture(const fs::path& path, const Shot& shot, synthetic::Seen& seen) {
  std::vector<uint8_t> rgb = synthetic::draw(shot, &seen);
  const cv::Mat view(shot.height, shot.width, CV_8UC3, rgb.data());
  cv::Mat bgr;
  cv::cvtColor(view, bgr, cv::COLOR_RGB2BGR);
  std::vector<uint8_t> bytes;
  const bool png = path.extension() == ".png";
  const std::vector<int> parameters = png ? std::vector<int>{cv::IMWRITE_PNG_COMPRESSION, 3}
                                          : std::vector<int>{cv::IMWRITE_JPEG_QUALITY, 92};
  bool encoded = false;
  try {
    encoded = cv::imencode(png ? ".png" : ".jpg", bgr, bytes, parameters);
  } catch (const cv::Exception& error) {
    throw WorkError(fmt::format("{}: picture must be encodable, got {}", path.string(), error.err));
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.flush();
  if (!encoded || !file) throw WorkError(fmt::format("{}: file must be written whole, got a write error", path.string()));
}

/// A folder under a temporary name that vanishes unless it is kept.
class Scratch {
 public:
  explicit Scratch(const fs::path& output) {
    fs::path whole = fs::absolute(output).lexically_normal();
    if (!whole.has_filename()) whole = whole.parent_path();  // a slash at the end
    target_ = whole;
    std::error_code error;
    if (fs::exists(target_, error) && (!fs::is_directory(target_, error) || !fs::is_empty(target_, error))) {
      throw InputError(fmt::format("{}: output must be an empty folder or a new one, got {}", output.string(),
                                   fs::is_directory(target_, error) ? "one with files in it" : "a file"));
    }
    path_ = target_.parent_path() / fmt::format(".{}.{}.tmp", target_.filename().string(), ::getpid());
    fs::create_directories(path_, error);
    if (error) {
      throw InputError(fmt::format("{}: output must be in a folder that can be written, got {}", output.string(),
                                   error.message()));
    }
  }
  ~Scratch() {
    std::error_code ignored;
    if (!kept_) fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const fs::path& path() const { return path_; }
  fs::path keep() {
    std::error_code error;
    fs::rename(path_, target_, error);  // replaces an empty folder
    if (error) throw WorkError(fmt::format("{}: folder must take its name, got {}", target_.string(), error.message()));
    kept_ = true;
    return target_;
  }

 private:
  fs::path target_, path_;
  bool kept_ = false;
};

}  // namespace

SyntheticResult make_synthetic(SyntheticKind kind, const SyntheticOptions& options, const fs::path& output,
                               int64_t threads, const ProgressSink& progress) {
  const SyntheticOptions checked = read_options<SyntheticOptions>(write_options(options), "/make");
  checked.validate_for(kind);
  Scratch scratch(output);
  const Plan plan(kind, checked);
  const fs::path base = plan.inside.empty() ? scratch.path() : scratch.path() / plan.inside;
  std::set<std::string> folders;
  for (const auto& job : plan.jobs) folders.insert(fs::path(job.path).parent_path().string());
  std::error_code error;
  for (const auto& folder : folders) {
    fs::create_directories(base / folder, error);
    if (error) throw WorkError(fmt::format("{}: folder must be made, got {}", (base / folder).string(), error.message()));
  }
  std::vector<synthetic::Seen> seen(plan.jobs.size());
  for_each_parallel(static_cast<int64_t>(plan.jobs.size()), threads, progress, "drawing", [&](int64_t i) {
    const Job& job = plan.jobs[static_cast<std::size_t>(i)];
    write_picture(base / job.path, job.shot, seen[static_cast<std::size_t>(i)]);
  });
  if (!plan.captions.empty()) {
    std::string list;
    for (std::size_t i = 0; i < plan.jobs.size(); ++i) {
      list += (i == 0 ? "[\n" : ",\n") + caption_entry(plan.jobs[i], seen[i], checked.captions).dump();
    }
    write_file_atomic(base / plan.captions, list + "\n]\n");
  }
  for (const auto& [name, text] : plan.texts) write_file_atomic(base / name, text);

  const std::string name = enum_name(kind);
  Json record{{"kind", name}, {"options", write_options(checked)}, {"counts", Json::object()}};
  if (plan.captions.empty()) record["options"].erase("captions");
  const auto reader = registry().create(name, "/make");
  for (const auto& count : reader->counts(scratch.path())) record["counts"][count.what] = count.actual;
  write_file_atomic(base / kSyntheticRecord, record.dump(2) + "\n");
  return {static_cast<int64_t>(plan.jobs.size()), scratch.keep()};
}

}  // namespace reid::datasets
