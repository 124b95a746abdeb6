// SPDX-License-Identifier: Apache-2.0
// Whole runs with sentences: a dual encoder, support sets, a teacher and its student.
#include <torch/torch.h>

#include <filesystem>
#include <fstream>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/engine/compare.hpp"
#include "reid/engine/oracle.hpp"
#include "reid/models/registry.hpp"
#include "reid/text/wordpiece.hpp"
#include "support.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using test::run_options;
using test::TempDir;

namespace {

const std::vector<std::string> kWords{"red", "green", "blue", "white", "black", "brown", "pink", "grey"};

/// The drawn set with two sentences to a picture: each names one half of the person.
class CaptionedSet : public data::DataSetReader {
 public:
  struct Options {
    bool silent = false;   ///< a picture without sentence
    bool broken = false;   ///< a sentence that isn't UTF-8
    int64_t lonely = 0;    ///< identities with one picture
    template <class V>
    void fields(V&& v) {
      v("silent", silent, "one picture has no sentence");
      v("broken", broken, "one sentence isn't UTF-8");
      v("lonely", lonely, "identities with one picture", Range{0, 8});
    }
  };
  explicit CaptionedSet(const Options& options) : options_(options) {}

  data::DataSet read(const std::filesystem::path&, const data::Parts& parts, const std::string& protocol) const override {
    data::DataSet set;
    set.name = "captioned";
    set.default_protocol = "text_to_image";
    if (parts.train) {
      for (int64_t id = 0; id < 8; ++id) add(set.train, id, id < options_.lonely ? 1 : 3);
      if (options_.silent) set.train[4].captions.clear();
      if (options_.broken) set.train[4].captions[1] = "red \xc3(";
    }
    if (parts.evaluation) {
      data::EvaluationSplit split;
      auto& pictures = protocol == "image_to_text" ? split.query : split.gallery;
      auto& sentences = protocol == "image_to_text" ? split.gallery : split.query;
      for (int64_t id = 20; id < 28; ++id) add(pictures, id, 2);
      for (const auto& picture : pictures) {
        for (const auto& caption : picture.captions) sentences.emplace_back(picture).captions = {caption};
      }
      set.splits.push_back(std::move(split));
    }
    return set;
  }
  std::vector<std::string> protocols() const override { return {"text_to_image", "image_to_text"}; }
  std::vector<data::DocumentedCount> counts(const std::filesystem::path&) const override { return {}; }
  std::string terms() const override { return "none"; }

 private:
  static void add(std::vector<Sample>& list, int64_t id, int64_t pictures) {
    for (int64_t k = 0; k < pictures; ++k) {
      Sample sample;
      sample.path = std::to_string(id) + " " + std::to_string(k);
      sample.identity = id;
      sample.captions = {"top " + kWords[static_cast<std::size_t>(id % 8)] + " " + kWords[static_cast<std::size_t>(k)],
                         "below " + kWords[static_cast<std::size_t>(id * 3 % 8)]};
      list.push_back(sample);
    }
  }
  Options options_;
};

struct Stage {
  TempDir dir;
  nn::ModelRegistry models{"model"};
  data::DataSetRegistry datasets{"data set"};

  Stage() {
    std::vector<std::string> pieces{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "top", "below"};
    pieces.insert(pieces.end(), kWords.begin(), kWords.end());
    text::write_vocabulary(vocabulary(), pieces);
    if (!models::registry().contains("tiny")) models::registry().add<test::TinyModel>("tiny");
    datasets.add<CaptionedSet>("captioned");
  }
  std::filesystem::path vocabulary() const { return dir / "vocab.txt"; }
  engine::Catalogue catalogue() const { return {models::registry(), losses::objectives(), datasets, test::draw}; }

  Json model() const {
    return {{"name", "dual_encoder"},
            {"image", {{"name", "tiny"}, {"neck", false}}},
            {"text",
             {{"encoder", {{"name", "embedding"}, {"width", 8}}}, {"head", {{"name", "pool"}}},
              {"tokenizer", {{"vocab", vocabulary().string()}}}, {"length", 6}, {"frozen", false}}},
            {"width", 8}};
  }
  Json experiment(const Json& stages) const {
    return {{"seed", 3}, {"data", {{"name", "captioned"}, {"root", "anywhere"}}}, {"model", model()}, {"stages", stages}};
  }
  Json stage(const std::string& name, const Json& objective, int64_t epochs) const {
    return {{"name", name},
            {"objective", objective},
            {"optimizer", {{"name", "adam"}, {"rate", 0.01}}},
            {"schedule", "constant"},
            {"sampler", {{"name", "random"}, {"batch", 16}}},
            {"augment", Json::array({"flip"})},
            {"epochs", epochs}};
  }
  Json two_stages() const {
    auto teacher = stage("teacher", {{"name", "lcr2s_teacher"}, {"attention", {{"heads", 2}}}, {"matching", "sdm"}}, 2);
    auto student = stage("student", {{"name", "lcr2s_student"}, {"matching", "ranking"}}, 2);
    teacher["support"] = student["support"] = {{"members", 2}};
    student["start"] = "afresh";
    return experiment({teacher, student});
  }
  engine::RunSummary train(const Json& json, const engine::RunOptions& options) const {
    const auto names = catalogue();
    return engine::train_experiment(engine::read_experiment(json, names), names, options);
  }
};

nn::StateDict tensors_of(const std::filesystem::path& file) { return nn::read_weights(file).tensors; }

bool equal(const nn::StateDict& a, const nn::StateDict& b) {
  if (a.size() != b.size() || a.empty()) return false;
  return std::all_of(a.begin(), a.end(), [&](const auto& item) { return torch::equal(item.second, b.at(item.first)); });
}

/// Keeps every batch that it is shown.
class Watcher : public nn::Objective {
 public:
  struct Options {
    template <class V>
    void fields(V&&) {}
  };
  Watcher(const Options&, nn::Model&, const nn::TrainingFacts& facts) : facts_(facts) {}
  nn::ObjectiveResult compute(nn::Model& model, const Batch& batch, const Progress&) override {
    seen.push_back(batch);
    seen.back().images = batch.images.clone();
    samples = facts_.samples;
    return {model.encode_image(batch.images).embedding.square().mean(), {}};
  }
  static std::vector<Batch> seen;
  static int64_t samples;

 private:
  nn::TrainingFacts facts_;
};
std::vector<Batch> Watcher::seen;
int64_t Watcher::samples = 0;

}  // namespace

TEST_CASE("a dual encoder learns sentences and is scored by them", "[engine][text]") {
  const Stage world;
  const auto run = world.dir / "run";
  const auto json = world.experiment(Json::array({world.stage("only", {{"name", "image_text"}, {"matching", "sdm"}}, 30)}));
  const auto summary = world.train(json, run_options(run));
  REQUIRE(summary.finished);
  REQUIRE(summary.json.at("pictures") == 24);
  REQUIRE(summary.json.at("sentences") == 48);
  const auto names = world.catalogue();
  const auto score = [&](const std::string& protocol, nn::Model& model) {
    const auto set = engine::open_dataset({"captioned", "anywhere", "", Json::object()}, {false, true}, protocol, names);
    engine::EvaluationOptions options;
    options.protocol = protocol;
    options.resamples = 50;
    return engine::evaluate_model(model, set, options, names.decoder, engine::make_runtime("cpu", 2), 1).json;
  };
  auto model = engine::open_run(run, names);
  const auto forward = score("text_to_image", *model);
  REQUIRE(forward.at("queries") == 32);
  REQUIRE(forward.at("gallery") == 16);
  REQUIRE(forward.at("sentences") == 32);
  REQUIRE(forward.at("pictures") == 16);
  const auto backward = score("image_to_text", *engine::open_run(run, names));
  REQUIRE(backward.at("queries") == 16);
  REQUIRE(backward.at("gallery") == 32);
  REQUIRE(forward.at("data_fingerprint") != backward.at("data_fingerprint"));
  // The loss of training fell far below that of guessing, and the protocol needs a model that reads.
  std::ifstream log(run / "log.jsonl");
  std::string first, line, last;
  std::getline(log, first);
  while (std::getline(log, line)) last = line;
  REQUIRE(Json::parse(last).at("loss").get<double>() < 0.6 * Json::parse(first).at("loss").get<double>());
  test::TinyModel blind({});
  blind.eval();
  REQUIRE_THROWS_WITH(score("text_to_image", blind), Contains("text encoder"));
}

TEST_CASE("a batch holds the support of its samples: the same identity, other pictures", "[engine][text]") {
  const Stage world;
  nn::ObjectiveRegistry objectives("objective");
  objectives.add_entry({"watcher", {}, Json::object(), {},
                        [](const Json&, const std::string&, nn::Model& model, const nn::TrainingFacts& facts) {
                          return std::make_shared<Watcher>(Watcher::Options{}, model, facts);
                        }});
  const engine::Catalogue names{models::registry(), objectives, world.datasets, test::draw};
  std::map<bool, std::vector<Batch>> seen;
  for (const bool redraw : {true, false}) {
    auto stage = world.stage("only", "watcher", 3);
    stage["support"] = {{"members", 2}, {"redraw", redraw}};
    auto json = world.experiment(Json::array({stage}));
    json["data"]["options"] = {{"lonely", 2}};
    Watcher::seen.clear();
    engine::train_experiment(engine::read_experiment(json, names), names, run_options(world.dir / (redraw ? "a" : "b")));
    REQUIRE(Watcher::samples == 36);  // two identities of one picture are left out
    seen[redraw] = Watcher::seen;
  }
  const auto set = engine::open_dataset({"captioned", "anywhere", "", {{"lonely", 2}}}, {}, "", names);
  std::vector<Sample> samples;  // as the run has them: a sentence each, lonely ones gone
  for (const auto& picture : set.train) {
    if (picture.identity < 2) continue;
    for (const auto& caption : picture.captions) samples.emplace_back(picture).captions = {caption};
  }
  const text::WordPiece tokenizer(world.vocabulary(), {});
  std::set<std::string> drawn[2];
  for (const bool redraw : {true, false}) {
    REQUIRE(seen[redraw].size() == 6);
    for (const auto& batch : seen[redraw]) {
      REQUIRE(batch.support_images.sizes() == torch::IntArrayRef({16, 2, 3, 16, 8}));
      REQUIRE(batch.support_tokens.sizes() == torch::IntArrayRef({16, 2, 6}));
      for (int64_t i = 0; i < 16; ++i) {
        const auto own = batch.index[i].item<int64_t>();
        const auto& sample = samples[static_cast<std::size_t>(own)];
        std::vector<int64_t> ids(6);
        std::array<bool, 6> mask{};
        tokenizer.encode_padded(sample.captions.front(), 6, ids.data(), mask.data());
        REQUIRE(torch::equal(batch.tokens[i], torch::tensor(ids)));
        for (int64_t m = 0; m < 2; ++m) {
          int64_t fitting = 0;
          for (const auto& other : samples) {
            tokenizer.encode_padded(other.captions.front(), 6, ids.data(), mask.data());
            const bool same = torch::equal(batch.support_tokens[i][m], torch::tensor(ids));
            fitting += same && other.identity == sample.identity && other.path != sample.path;
          }
          REQUIRE(fitting > 0);
        }
        drawn[redraw].insert(std::to_string(own) + ":" + std::to_string(batch.support_images[i].sum().item<float>()));
      }
    }
  }
  REQUIRE(drawn[true].size() > drawn[false].size());
}

TEST_CASE("teacher and student follow each other, and a run stopped in either is the uninterrupted one", "[engine][text]") {
  const Stage world;
  const auto json = world.two_stages();
  REQUIRE(world.train(json, run_options(world.dir / "whole")).finished);
  const auto whole = tensors_of(world.dir / "whole/model.safetensors");
  REQUIRE(std::none_of(whole.begin(), whole.end(), [](const auto& item) { return item.first.find("fusion") != std::string::npos; }));
  const auto teacher = tensors_of(world.dir / "whole/stage-teacher.safetensors");
  REQUIRE(teacher.size() == whole.size());
  REQUIRE_FALSE(equal(teacher, whole));
  REQUIRE(tensors_of(world.dir / "whole/stage-teacher.objective.safetensors").count("image_fusion.query.weight") == 1);
  // What the teacher would see if it knew who is who is said to be no result.
  const auto names = world.catalogue();
  const auto set = engine::open_dataset({"captioned", "anywhere", "", Json::object()}, {false, true}, "", names);
  engine::EvaluationOptions scoring;
  scoring.resamples = 20;
  const auto runtime = engine::make_runtime("cpu", 2);
  const auto oracle = engine::evaluate_oracle(world.dir / "whole", "teacher", set, scoring, names, runtime, 1).json;
  REQUIRE(oracle.at("oracle") == Json{{"stage", "teacher"}, {"support", 2}});
  REQUIRE(oracle.at("notes").dump().find("not a result") != std::string::npos);
  const auto alone = engine::open_model(json.at("model"), world.dir / "whole/stage-teacher.safetensors", names);
  const auto plain = engine::evaluate_model(*alone, set, scoring, names.decoder, runtime, 1).json;
  REQUIRE(oracle.at("queries") == plain.at("queries"));
  REQUIRE(oracle.at("metrics").at("map").get<double>() != plain.at("metrics").at("map").get<double>());
  REQUIRE_THROWS_WITH(engine::evaluate_oracle(world.dir / "whole", "student", set, scoring, names, runtime, 1), Contains("'student'"));

  // The checkpoint of the student holds its teacher, as that stage left it.
  const auto checkpoint = tensors_of(world.dir / "whole/checkpoint.safetensors");
  for (const auto& [name, tensor] : teacher) REQUIRE(torch::equal(checkpoint.at("objective.teacher_model." + name), tensor));

  for (const int64_t steps : {2, 6, 7, 9}) {
    CAPTURE(steps);
    const auto folder = world.dir / ("stopped" + std::to_string(steps));
    auto options = run_options(folder);
    options.stop = [steps, count = int64_t{0}]() mutable { return ++count >= steps; };
    REQUIRE_FALSE(world.train(json, options).finished);
    REQUIRE(world.train(json, run_options(folder, true)).finished);
    REQUIRE(equal(tensors_of(folder / "model.safetensors"), whole));
  }
}

TEST_CASE("stages that another run has ended are taken over to the same bits", "[engine][text]") {
  const Stage world;
  const auto json = world.two_stages();
  world.train(json, run_options(world.dir / "first"));
  auto other = json;
  other["stages"][1]["objective"]["relation_weight"] = 0;
  world.train(other, run_options(world.dir / "whole"));
  auto options = run_options(world.dir / "taken");
  options.stages_from = world.dir / "first";
  const auto summary = world.train(other, options);
  REQUIRE(summary.json == read_json_file(world.dir / "whole/done.json"));
  for (const char* file : {"model", "stage-teacher", "stage-teacher.objective", "checkpoint"}) {
    CAPTURE(file);
    const auto name = std::string(file) + ".safetensors";
    REQUIRE(equal(tensors_of(world.dir / "taken" / name), tensors_of(world.dir / "whole" / name)));
  }
  REQUIRE(read_file(world.dir / "taken/log.jsonl").find("\"taken_over\"") != std::string::npos);

  // Nothing is taken from a run on other data, from another seed or teacher, or from a folder without a run.
  options.output = world.dir / "refused";
  for (const auto* change : {"/seed=4", "/stages/0/epochs=3", "/data/options/lonely=1"}) {
    CAPTURE(change);
    auto changed = other;
    set_json(changed, change);
    REQUIRE_THROWS_AS(world.train(changed, options), Error);
  }
  const auto log = read_file(world.dir / "first/log.jsonl");
  for (const char* damage : {"[1]\n", "{\"stage\": 1}\n", "{\"stage\": \"teacher\", \"step\": \"x\"}\n"}) {
    CAPTURE(damage);
    write_file_atomic(world.dir / "first/log.jsonl", log + damage);
    REQUIRE_THROWS_AS(world.train(other, options), ConfigError);
  }
  write_file_atomic(world.dir / "first/log.jsonl", log);
  write_file_atomic(world.dir / "first/stage-teacher.objective.safetensors", "damaged");
  REQUIRE_THROWS_WITH(world.train(other, options), Contains("stage-teacher.objective.safetensors"));
  options.stages_from = world.dir / "nothing";
  REQUIRE_THROWS_WITH(world.train(other, options), Contains("nothing: run must have ended a stage"));
  REQUIRE_FALSE(std::filesystem::exists(world.dir / "refused"));
}

TEST_CASE("a run keeps its vocabulary: moved, it is opened, scored and continued", "[engine][text]") {
  const Stage world;
  namespace fs = std::filesystem;
  const auto json = world.two_stages();
  const auto names = world.catalogue();
  const auto runtime = engine::make_runtime("cpu", 2);
  const auto set = engine::open_dataset({"captioned", "anywhere", "", Json::object()}, {false, true}, "", names);
  engine::EvaluationOptions scoring;
  scoring.resamples = 20;
  const auto score = [&](const fs::path& run) {
    return engine::evaluate_model(*engine::open_run(run, names), set, scoring, names.decoder, runtime, 1).json.at("metrics");
  };
  const auto oracle = [&](const fs::path& run) {
    return engine::evaluate_oracle(run, "teacher", set, scoring, names, runtime, 1).json.at("metrics");
  };
  REQUIRE(world.train(json, run_options(world.dir / "whole")).finished);
  const auto whole = tensors_of(world.dir / "whole/model.safetensors");
  const auto bytes = read_file(world.vocabulary());
  REQUIRE(read_file(world.dir / "whole/model-vocab.txt") == bytes);
  const auto list = read_json_file(world.dir / "whole/files.json");
  REQUIRE(list.size() == 1);
  REQUIRE(list[0].at("option") == "/text/tokenizer/vocab");
  REQUIRE(list[0].at("file") == "model-vocab.txt");
  REQUIRE(read_json_file(world.dir / "whole/config.json").at("model").at("text").at("tokenizer").at("vocab") == world.vocabulary().string());
  const auto plain = score(world.dir / "whole"), told = oracle(world.dir / "whole");

  const auto stopped = [&](const std::string& name, int64_t steps) {
    auto options = run_options(world.dir / name);
    options.stop = [steps, count = int64_t{0}]() mutable { return ++count >= steps; };
    REQUIRE_FALSE(world.train(json, options).finished);
    return world.dir / name;
  };
  const auto first = stopped("first", 2), second = stopped("second", 8);
  fs::create_directory(world.dir / "elsewhere");
  const auto moved = [&](const fs::path& run) {
    const auto to = world.dir / "elsewhere" / run.filename();
    fs::rename(run, to);
    return to;
  };
  fs::rename(world.vocabulary(), world.dir / "gone.txt");
  const auto run = moved(world.dir / "whole");
  CHECK(score(run) == plain);
  CHECK(oracle(run) == told);
  CHECK(world.train(json, run_options(run, true)).finished);  // nothing to do
  for (const auto& half : {first, second}) {
    const auto there = moved(half);
    CAPTURE(there.string());
    REQUIRE(world.train(read_json_file(there / "config.json"), run_options(there, true)).finished);
    CHECK(equal(tensors_of(there / "model.safetensors"), whole));
    CHECK(score(there) == plain);
  }
  // Only the run's own place stands for the file that is gone.
  auto other = json;
  other["model"]["text"]["tokenizer"]["vocab"] = (world.dir / "nowhere.txt").string();
  CHECK_THROWS_WITH(world.train(other, run_options(run, true)), Contains("nowhere.txt"));
  CHECK_THROWS_WITH(world.train(json, run_options(world.dir / "fresh")), Contains("vocab.txt"));

  write_file_atomic(run / "model-vocab.txt", bytes + "damaged\n");
  CHECK_THROWS_WITH(engine::open_run(run, names), Contains("model-vocab.txt: file must be as the run was trained with"));
  CHECK_THROWS_WITH(world.train(json, run_options(run, true)), Contains("/model/text/tokenizer/vocab"));
  fs::remove(run / "model-vocab.txt");
  CHECK_THROWS_WITH(engine::open_run(run, names), Contains("model-vocab.txt"));
  for (const char* damage : {"[{\"file\": \"model-vocab.txt\"}]", "[1]", "{", "[{\"option\": \"x\", \"file\": \"a\", \"fingerprint\": \"\"}]",
                             "[{\"option\": \"/x\", \"file\": \"../a\", \"fingerprint\": \"\"}]"}) {
    CAPTURE(damage);
    write_file_atomic(run / "files.json", damage);
    CHECK_THROWS_AS(engine::open_run(run, names), ConfigError);
    CHECK_THROWS_WITH(engine::open_run(run, names), Contains("files.json"));
  }
}

TEST_CASE("a run goes on with the vocabulary it was begun with, wherever that lies", "[engine][text]") {
  const Stage world;
  namespace fs = std::filesystem;
  const auto json = world.two_stages();
  const auto stopped = [&](const std::string& name, const Json& from) {
    auto options = run_options(world.dir / name);
    options.stop = [count = int64_t{0}]() mutable { return ++count >= 8; };
    REQUIRE_FALSE(world.train(from, options).finished);
    return options.output;
  };
  const auto run = stopped("run", json), early = stopped("early", json);
  const auto bytes = read_file(world.vocabulary());
  auto swapped = bytes;  // as many pieces, other ids
  swapped.replace(swapped.find("red\ngreen"), 9, "green\nred");
  write_file_atomic(world.dir / "same.txt", bytes);
  write_file_atomic(world.dir / "other.txt", swapped);
  const auto with = [&](const char* name) {
    auto changed = json;
    changed["model"]["text"]["tokenizer"]["vocab"] = (world.dir / name).string();
    return changed;
  };
  CHECK_THROWS_AS(world.train(with("other.txt"), run_options(run, true)), ConfigError);
  CHECK_THROWS_WITH(world.train(with("other.txt"), run_options(run, true)),
                    Contains("/model/text/tokenizer/vocab must name the file that the run was begun with") && Contains("other.txt (fnv1a64:"));
  write_file_atomic(world.vocabulary(), swapped);
  CHECK_THROWS_WITH(world.train(json, run_options(run, true)), Contains("/model/text/tokenizer/vocab"));

  // Stages are taken over by the same measure.
  auto taking = run_options(world.dir / "taken");
  taking.stages_from = run;
  CHECK_THROWS_WITH(world.train(with("other.txt"), taking), Contains("must have ended a stage"));
  CHECK(world.train(with("same.txt"), taking).finished);
  CHECK_THAT(read_file(world.dir / "taken/log.jsonl"), Contains("taken_over"));
  CHECK(world.train(with("same.txt"), run_options(run, true)).finished);
  CHECK(equal(tensors_of(run / "model.safetensors"), tensors_of(world.dir / "taken/model.safetensors")));
  auto silent = json;
  silent["model"]["text"]["tokenizer"]["vocab"] = "";
  CHECK_THROWS_AS(world.train(silent, run_options(run, true)), Error);

  // A run of an earlier version kept no copy: it needs the file at its place, and keeps one from then on.
  write_file_atomic(world.vocabulary(), bytes);
  for (const char* name : {"files.json", "model-vocab.txt"}) {
    fs::remove(early / name);
    fs::remove(run / name);
  }
  CHECK(engine::open_run(run, world.catalogue())->tokenizer() != nullptr);
  CHECK_THROWS_WITH(world.train(with("same.txt"), run_options(early, true)), Contains("another /model/text/tokenizer/vocab"));
  CHECK(world.train(json, run_options(early, true)).finished);
  CHECK(read_file(early / "model-vocab.txt") == bytes);
  CHECK(equal(tensors_of(early / "model.safetensors"), tensors_of(run / "model.safetensors")));
}

TEST_CASE("a suite trains one teacher for all its students and shows it as an oracle", "[engine][text]") {
  const Stage world;
  auto base = world.two_stages();
  base.erase("seed");
  base.erase("data");
  Json suite{{"protocol", "text_to_image"},
             {"data", {{"name", "captioned"}, {"root", "anywhere"}}},
             {"seeds", Json::array({1, 2})},
             {"base", base},
             {"entries", Json::array({Json{{"name", "both"}}, Json{{"name", "other"}},
                                      Json{{"name", "teacher"}, {"oracle", {{"of", "both"}, {"stage", "teacher"}}}}})}};
  auto stages = base.at("stages");
  stages[1]["objective"]["relation_weight"] = 0;
  suite["entries"][1]["experiment"] = {{"stages", stages}};
  const auto names = world.catalogue();
  const auto summary = engine::compare(suite, ".", names, run_options(world.dir / "suite"));
  REQUIRE(summary.finished);
  REQUIRE_THAT(summary.markdown, Contains("| teacher (oracle, no result) | 2 |") && Contains("fused with 2 others"));
  for (const char* seed : {"1", "2"}) {
    const auto log = [&](const char* entry) { return read_file(world.dir / "suite/runs" / (std::string(entry) + "-" + seed) / "log.jsonl"); };
    REQUIRE(log("both").find("taken_over") == std::string::npos);
    REQUIRE_THAT(log("other"), Contains("taken_over") && Contains(std::string("both-") + seed));
  }
  const auto& entries = summary.json.at("entries");
  REQUIRE(entries[2].at("metrics").at("map") != entries[0].at("metrics").at("map"));
  REQUIRE(engine::compare(suite, ".", names, run_options(world.dir / "suite", true)).markdown == summary.markdown);

  const auto refused = [&](const Json& oracle) {
    auto wrong = suite;
    wrong["entries"][2].update(oracle);
    std::string message;
    try {
      engine::compare(wrong, ".", names, run_options(world.dir / "wrong"));
    } catch (const ConfigError& error) {
      message = error.what();
    }
    return message;
  };
  CHECK_THAT(refused({{"oracle", {{"of", "nobody"}, {"stage", "teacher"}}}}), Contains("/oracle/of") && Contains("'nobody'"));
  CHECK_THAT(refused({{"oracle", {{"of", "both"}, {"stage", "student"}}}}), Contains("/oracle/stage") && Contains("'student'"));
  CHECK_THAT(refused({{"seeds", {3}}}), Contains("seeds of 'both'"));
  CHECK_THAT(refused({{"weights", "w.pth"}}), Contains("without experiment, model and weights"));
}

TEST_CASE("a stage that goes on begins where the one before ended", "[engine][text]") {
  const Stage world;
  auto json = world.two_stages();
  json["stages"][1]["start"] = "go_on";
  json["stages"][1]["optimizer"] = {{"name", "sgd"}, {"rate", 0}};
  world.train(json, run_options(world.dir / "on"));
  const auto first = tensors_of(world.dir / "on/stage-teacher.safetensors");
  REQUIRE(torch::equal(tensors_of(world.dir / "on/model.safetensors").at("text_projection.weight"), first.at("text_projection.weight")));
  json["stages"][1]["start"] = "afresh";
  world.train(json, run_options(world.dir / "afresh"));
  REQUIRE_FALSE(torch::equal(tensors_of(world.dir / "afresh/model.safetensors").at("text_projection.weight"), first.at("text_projection.weight")));
}

TEST_CASE("validation by sentences chooses an epoch", "[engine][text]") {
  const Stage world;
  auto json = world.experiment(Json::array({world.stage("only", "image_text", 3)}));
  json["validation"] = {{"identities", 0.4}};
  const auto summary = world.train(json, run_options(world.dir / "run"));
  REQUIRE(summary.json.at("best").at("metric") == "map");
  REQUIRE(summary.json.at("identities") == 5);
}

TEST_CASE("runs with sentences that can't be are refused before they begin", "[engine][text]") {
  const Stage world;
  const auto refused = [&](const std::function<void(Json&)>& change) {
    auto json = world.two_stages();
    change(json);
    const auto folder = world.dir / "refused";
    std::string message;
    try {
      world.train(json, run_options(folder));
    } catch (const Error& error) {
      message = error.what();
    }
    REQUIRE_FALSE(std::filesystem::exists(folder));
    return message;
  };
  CHECK_THAT(refused([](Json& json) { json["data"]["options"] = {{"silent", true}}; }), Contains("sentence") && Contains("1 1"));
  CHECK_THAT(refused([](Json& json) { json["data"]["options"] = {{"broken", true}}; }), Contains("UTF-8") && Contains("1 1"));
  CHECK_THAT(refused([](Json& json) { json["data"]["options"] = {{"broke", true}}; }), Contains("/data/options"));
  CHECK_THAT(refused([](Json& json) { json["stages"][0]["support"]["members"] = 3; }),
             Contains("/stages/0/support/members") && Contains("(2), got 3"));
  CHECK_THAT(refused([](Json& json) { json["stages"].erase(0); }), Contains("got the first stage"));
  CHECK_THAT(refused([](Json& json) { json["stages"][1].erase("support"); }), Contains("/stages/1/objective: support") && Contains("(2 members), got 0"));
  CHECK_THAT(refused([](Json& json) { json["stages"][0].erase("support"); }), Contains("/stages/1/objective: support") && Contains("(0 members), got 2"));
  CHECK_THAT(refused([](Json& json) { json["stages"][0]["objective"] = "image_text"; }), Contains("another objective"));
  CHECK_THAT(refused([](Json& json) { json["stages"][1]["name"] = "teacher"; }), Contains("/stages/1/name"));
  CHECK_THAT(refused([](Json& json) { json["stages"][1]["name"] = "../x"; }), Contains("/stages/1/name"));
  CHECK_THAT(refused([](Json& json) { json["weights"] = Json::array({{{"file", "w.pth"}, {"part", "texts"}}}); }), Contains("'texts'"));
  CHECK_THAT(refused([&](Json& json) { json["model"]["text"]["tokenizer"]["vocab"] = (world.dir / "none.txt").string(); }), Contains("none.txt"));
}
