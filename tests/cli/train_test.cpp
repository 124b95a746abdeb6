// SPDX-License-Identifier: Apache-2.0
// The verbs train, evaluate, embed and compare of the real program, on a drawn data set and a network of thumbnails.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "cli/run_reid.hpp"
#include "reid/core/io.hpp"
#include "reid/core/json.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using test::run_reid;
using test::TempDir;

namespace {

namespace fs = std::filesystem;

/// A data set and an experiment, made once for all cases of this file.
struct Workshop {
  Workshop() {
    const auto made = run_reid({"datasets", "make", "market1501", "--output", data(), "--identities", "12",
                                "--images-per-identity", "8", "--cameras", "3", "--seed", "3", "--quiet"});
    if (made.status != 0) throw std::runtime_error(made.err);
    write_file_atomic(config(), experiment().dump());
  }
  std::string data() const { return dir / "data"; }
  std::string config() const { return dir / "experiment.json"; }
  Json experiment() const {
    return Json{{"seed", 1},
                {"data", {{"name", "market1501"}, {"root", data()}}},
                {"model", {{"name", "resnet18"}, {"preprocess", {{"height", 32}, {"width", 16}}}}},
                {"sampler", {{"name", "identity_rga"}, {"identities", 3}, {"images", 4}}},
                {"optimizer", {{"name", "adam"}, {"rate", 3e-4}}},
                {"augment", Json::array({"flip"})},
                {"epochs", 2}};
  }
  /// A finished run, trained on first use.
  std::string run() const {
    const std::string path = dir / "run";
    if (!fs::exists(path)) {
      const auto trained = run_reid({"train", "--config", config(), "--output", path, "--threads", "2", "--quiet"});
      if (trained.status != 0) throw std::runtime_error(trained.err);
    }
    return path;
  }
  TempDir dir;
};

const Workshop& workshop() {
  static const Workshop instance;
  return instance;
}

/// One sentence for people, and nothing of a crash.
void check_refusal(const test::Run& run, int status, const std::string& part) {
  INFO(run.err);
  REQUIRE(run.status == status);
  REQUIRE_THAT(run.err, Contains(part));
  REQUIRE_THAT(run.err, !Contains("c10") && !Contains("terminate") && !Contains("Exception raised from"));
  REQUIRE(run.out.empty());
}

}  // namespace

TEST_CASE("train leaves a run that evaluate and embed can use", "[cli]") {
  const auto& shop = workshop();
  const auto run = shop.run();
  for (const char* name : {"config.json", "environment.json", "log.jsonl", "checkpoint.safetensors", "model.safetensors", "done.json"}) {
    INFO(name);
    REQUIRE(fs::exists(fs::path(run) / name));
  }
  const std::string json = shop.dir / "scores.json";
  auto scored = run_reid({"evaluate", "--run", run, "--json", json, "--flip", "--quiet", "--threads", "2"});
  INFO(scored.err);
  REQUIRE(scored.status == 0);
  REQUIRE_THAT(scored.out, Contains("market1501") && Contains("rank1") && Contains("map"));
  const auto result = read_json_file(json);
  REQUIRE(result.at("protocol") == "market1501");
  REQUIRE(result.at("flip") == true);
  REQUIRE(result.at("metrics").at("map").get<double>() > 0);
  REQUIRE(result.at("model").at("name") == "resnet18");
  REQUIRE(result.at("selected") == "last");
  REQUIRE(result.at("seed") == 0);  // not the training's 1

  // The same weights by name and file give the same scores.
  const std::string again = shop.dir / "again.json";
  scored = run_reid({"evaluate", "--config", shop.config(), "--weights", run + "/model.safetensors", "--dataset", "market1501",
                     "--root", shop.data(), "--flip", "--json", again, "--quiet", "--threads", "1"});
  INFO(scored.err);
  REQUIRE(scored.status == 0);
  REQUIRE(read_json_file(again).at("metrics") == result.at("metrics"));
  REQUIRE(read_json_file(again).at("weights_fingerprint") == result.at("weights_fingerprint"));
  REQUIRE(read_json_file(again).at("seed") == 0);
  REQUIRE(read_json_file(again).at("ci95") == result.at("ci95"));
  scored = run_reid({"evaluate", "--run", run, "--flip", "--seed", "1", "--json", again, "--quiet", "--threads", "2"});
  REQUIRE(scored.status == 0);
  REQUIRE(read_json_file(again).at("seed") == 1);
  REQUIRE(read_json_file(again).at("metrics") == result.at("metrics"));
  REQUIRE(read_json_file(again).at("ci95") != result.at("ci95"));

  const std::string features = shop.dir / "f.npy", paths = shop.dir / "f.txt";
  const auto embedded = run_reid({"embed", "--run", run, "--input", shop.data(), "--output", features, "--paths", paths, "--quiet"});
  INFO(embedded.err);
  REQUIRE(embedded.status == 0);
  std::istringstream lines(read_file(paths));
  std::vector<std::string> listed;
  for (std::string line; std::getline(lines, line);) listed.push_back(line);
  REQUIRE(std::is_sorted(listed.begin(), listed.end()));
  REQUIRE(listed.size() > 50);
  const auto bytes = read_file(features);
  const std::string shape = "'shape': (" + std::to_string(listed.size()) + ", 512)";
  REQUIRE_THAT(bytes.substr(0, 128), Contains("'<f4'") && Contains(shape));

  // A list file in another order gives the same rows in sorted order.
  std::string reversed;
  for (auto it = listed.rbegin(); it != listed.rend(); ++it) reversed += *it + "\n";
  write_file_atomic(shop.dir / "list.txt", reversed);
  const std::string other = shop.dir / "g.npy";
  REQUIRE(run_reid({"embed", "--run", run, "--input", shop.dir / "list.txt", "--output", other, "--quiet"}).status == 0);
  REQUIRE(read_file(other) == bytes);

  // What the configuration says of features holds here, too.
  const auto embed_by_name = [&](const std::string& output, std::vector<std::string> more) {
    std::vector<std::string> words{"embed", "--config", shop.config(), "--weights", run + "/model.safetensors",
                                   "--input", shop.data() + "/query", "--output", output, "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    const auto made = run_reid(words);
    INFO(made.err);
    REQUIRE(made.status == 0);
    return read_file(output);
  };
  const auto plain = embed_by_name(other, {}), flipped = embed_by_name(other, {"--flip"});
  REQUIRE(flipped != plain);
  REQUIRE(embed_by_name(other, {"--set", "/evaluation/flip=true"}) == flipped);
  REQUIRE(embed_by_name(other, {"--set", "/evaluation/precision=bf16"}) != plain);
}

TEST_CASE("a cache of decoded pictures changes nothing but the time", "[cli]") {
  const auto& shop = workshop();
  const std::string cache = shop.dir / "pictures.cache";
  for (const char* name : {"cached", "cached again"}) {
    const std::string output = shop.dir / name;
    const auto trained = run_reid({"train", "--config", shop.config(), "--output", output, "--set", "/data/cache=" + cache,
                                   "--threads", "2", "--quiet"});
    INFO(trained.err);
    REQUIRE(trained.status == 0);
    REQUIRE(fs::exists(cache));
    REQUIRE(read_json_file(output + "/done.json").at("weights_fingerprint") ==
            read_json_file(shop.run() + "/done.json").at("weights_fingerprint"));
  }
}

TEST_CASE("Ctrl-C ends training with a checkpoint that resume goes on from", "[cli]") {
  const auto& shop = workshop();
  const std::string output = shop.dir / "stopped";
  std::vector<std::string> words{REID_PROGRAM, "train", "--config", shop.config(), "--output", output, "--set", "/epochs=2000",
                                 "--quiet", "--threads", "1"};
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const int nothing = ::open("/dev/null", O_WRONLY);
    ::dup2(nothing, STDOUT_FILENO);
    ::dup2(nothing, STDERR_FILENO);
    ::execv(REID_PROGRAM, argv.data());
    ::_exit(127);
  }
  const auto log = fs::path(output) / "log.jsonl";
  std::error_code error;
  for (int i = 0; i < 1200 && !(fs::exists(log, error) && fs::file_size(log, error) > 0); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ::kill(child, SIGINT);
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) == 1);
  REQUIRE(fs::exists(fs::path(output) / "checkpoint.safetensors"));
  REQUIRE_FALSE(fs::exists(fs::path(output) / "done.json"));
  check_refusal(run_reid({"evaluate", "--run", output}), 2, "--resume");
  check_refusal(run_reid({"train", "--config", shop.config(), "--output", output, "--quiet"}), 2, "--resume");
  // It goes on where it was, and stops again just the same: another experiment is refused, its own isn't.
  check_refusal(run_reid({"train", "--config", shop.config(), "--output", output, "--resume", "--quiet"}), 2, "epochs");
}

TEST_CASE("a diverged run ends with status 1 and says where", "[cli]") {
  const auto& shop = workshop();
  const auto run = run_reid({"train", "--config", shop.config(), "--output", shop.dir / "diverged", "--quiet",
                             "--set", "/optimizer/rate=1e3", "--set", "/schedule=constant", "--set", "/epochs=50",
                             "--set", "/optimizer/name=sgd"});
  check_refusal(run, 1, "loss must be finite");
  REQUIRE_THAT(run.err, Contains("step") && Contains("cross_entropy") && Contains("triplet"));
}

TEST_CASE("a small suite gives a table, and again the same one", "[cli]") {
  const auto& shop = workshop();
  Json base = shop.experiment();
  base.erase("data");
  base.erase("seed");
  base["epochs"] = 1;
  const Json suite{{"title", "Small"},
                   {"protocol", "market1501"},
                   {"data", {{"name", "market1501"}, {"root", shop.data()}}},
                   {"base", base},
                   {"entries", Json::array({Json{{"name", "plain"}},
                                            Json{{"name", "flat"}, {"experiment", {{"optimizer", {{"rate", 0.0}}}}}}})}};
  write_file_atomic(shop.dir / "suite.json", suite.dump());
  const std::string output = shop.dir / "compared";
  const auto first = run_reid({"compare", shop.dir / "suite.json", "--output", output, "--quiet"});
  INFO(first.err);
  REQUIRE(first.status == 0);
  REQUIRE_THAT(first.out, Contains("# Small") && Contains("| plain |") && Contains("| flat |"));
  REQUIRE(read_file(output + "/report.md") == first.out);
  REQUIRE(run_reid({"compare", shop.dir / "suite.json", "--output", output, "--quiet"}).out == first.out);
  for (const std::string option : {"/schedule/warmup_epochs", "/augment/0/probability"}) {  // of parts by default, and by name
    const auto run = run_reid({"compare", shop.dir / "suite.json", "--output", output, "--quiet", "--set", "/base" + option + "=x"});
    check_refusal(run, 2, "suite.json with --set: /entries/0 (plain): " + option + ": ");
  }
  check_refusal(run_reid({"compare", shop.dir / "suite.json", "--output", output, "--quiet", "--set", "/base/epochs=3"}), 2,
                "another configuration");
}

TEST_CASE("wrong input of the training verbs is refused in one sentence", "[cli]") {
  const auto& shop = workshop();
  const std::string out = shop.dir / "never";
  const auto train_with = [&](const std::string& assignment) {
    return run_reid({"train", "--config", shop.config(), "--output", out, "--set", assignment, "--quiet"});
  };
  check_refusal(run_reid({"train", "--output", out}), 2, "--config");
  check_refusal(run_reid({"train", "--output", out, "--resume"}), 2, "never: folder must hold a run to be resumed");
  check_refusal(run_reid({"train", "--config", "no.json", "--output", out}), 2, "no.json");
  write_file_atomic(shop.dir / "twice.json", "{\"seed\": 1, \"seed\": 2}");
  check_refusal(run_reid({"train", "--config", shop.dir / "twice.json", "--output", out}), 2, "seed");
  check_refusal(train_with("/epoch=3"), 2, "experiment.json with --set: /epoch: unknown key; did you mean 'epochs'");
  check_refusal(train_with("/epochs=x"), 2, "/epochs");
  check_refusal(train_with("/schedule/flor=0"), 2, "/schedule/flor: unknown key; did you mean 'floor'");  // cosine, by default
  check_refusal(train_with("/model/name=resnet19"), 2, "resnet18");
  check_refusal(train_with("/data/root=" + std::string(shop.dir / "nowhere")), 2, "nowhere");
  check_refusal(train_with("/data/name=market"), 2, "market1501");
  check_refusal(train_with("/weights=" + shop.config()), 2, "experiment.json");
  check_refusal(train_with("/sampler/identities=500"), 2, "500 identities");
  check_refusal(run_reid({"train", "--config", shop.config(), "--output", out, "--device", "cuda:77", "--quiet"}), 2, "cuda:77");
  check_refusal(run_reid({"train", "--config", shop.config(), "--output", shop.config(), "--quiet"}), 2, "folder");
  REQUIRE_FALSE(fs::exists(out));

  const auto weights = shop.run() + "/model.safetensors";
  const auto evaluate = [&](std::vector<std::string> more) {
    std::vector<std::string> words{"evaluate", "--config", shop.config(), "--weights", weights, "--quiet", "--json", out};
    words.insert(words.end(), more.begin(), more.end());
    return run_reid(words);
  };
  check_refusal(run_reid({"evaluate", "--model", "resnet18"}), 2, "--weights");
  check_refusal(run_reid({"evaluate", "--run", shop.dir.path().string()}), 2, "config.json");
  check_refusal(run_reid({"evaluate", "--model", "osnet_x0_25", "--weights", weights, "--dataset", "market1501", "--root", shop.data()}), 2, "model.safetensors");
  check_refusal(evaluate({"--protocol", "market15"}), 2, "market1501");
  check_refusal(evaluate({"--metric", "cosin"}), 2, "cosine");
  check_refusal(evaluate({"--feature", "neck"}), 2, "after_neck");
  check_refusal(evaluate({"--root", shop.dir / "nowhere"}), 2, "nowhere");
  check_refusal(evaluate({"--dataset", "mars"}), 2, "--dataset: data set: name must be one of");
  check_refusal(evaluate({"--batch", "0"}), 2, "--batch");
  REQUIRE_FALSE(fs::exists(out));

  const auto embed = [&](const std::string& input) {
    return run_reid({"embed", "--config", shop.config(), "--weights", weights, "--input", input, "--output", out, "--quiet"});
  };
  const auto embed_more = [&](std::vector<std::string> more) {
    std::vector<std::string> words{"embed", "--config", shop.config(), "--weights", weights, "--input", shop.data() + "/query", "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    return run_reid(words);
  };
  check_refusal(embed(shop.dir / "nowhere"), 2, "nowhere");
  check_refusal(embed_more({"--output", out, "--set", "/modle/neck=false"}), 2, "did you mean 'model'");
  check_refusal(embed_more({"--output", out, "--set", "/data/root=x"}), 2, "/evaluation or /model");
  check_refusal(embed_more({"--output", out, "--set", "/evaluation/precision=bf17"}), 2, "bf16");
  check_refusal(embed_more({"--output", out, "--set", "/model/name=\xff"}), 2, "UTF-8");
  check_refusal(embed_more({"--output", ""}), 2, "--output");
  check_refusal(embed_more({"--output", shop.dir.path().string()}), 2, "folder");
  check_refusal(embed_more({"--output", out, "--paths", shop.dir / "none/paths.txt"}), 2, "none/paths.txt");
  write_file_atomic(shop.dir / "misspelt.json", R"({"model": "resnet18", "evalution": {"flip": true}})");
  check_refusal(run_reid({"embed", "--config", shop.dir / "misspelt.json", "--weights", weights, "--input", shop.data() + "/query",
                          "--output", out, "--quiet"}),
                2, "did you mean 'evaluation'");
  // What the verb doesn't read must be right, too.
  write_file_atomic(shop.dir / "unread.json", R"({"model": "resnet18", "data": {"nme": "market1501"}})");
  check_refusal(run_reid({"embed", "--config", shop.dir / "unread.json", "--weights", weights, "--input", shop.data() + "/query",
                          "--output", out, "--quiet"}),
                2, "unread.json: /data/nme: unknown key; did you mean 'name'?");
  check_refusal(embed_more({"--output", out, "--paths", out}), 2, "--paths: file must be another than that of --output");
  check_refusal(run_reid({"train", "--config", shop.config(), "--output", "", "--quiet"}), 2, "--output");
  fs::create_directories(shop.dir / "empty");
  check_refusal(embed(shop.dir / "empty"), 2, "pictures");
  fs::create_directories(shop.dir / "broken");
  write_file_atomic(shop.dir / "broken/a.jpg", "");
  check_refusal(embed(shop.dir / "broken"), 2, "a.jpg");
  write_file_atomic(shop.dir / "list2.txt", "no/such/picture.jpg\n");
  check_refusal(embed(shop.dir / "list2.txt"), 2, "no/such/picture.jpg");
  REQUIRE_FALSE(fs::exists(out));

  check_refusal(run_reid({"compare", "no.json", "--output", out}), 2, "no.json");
  check_refusal(run_reid({"compare", shop.config(), "--output", ""}), 2, "--output");
  check_refusal(run_reid({"compare", shop.config(), "--output", shop.config()}), 2, "output must be a folder, got a file");
  check_refusal(run_reid({"compare", shop.config(), "--output", out}), 2, "experiment.json: /");
  check_refusal(run_reid({"compare", shop.config(), "--output", out, "--set", "/seed=[]"}), 2, "experiment.json with --set: /");
  check_refusal(evaluate({"--set", "/seed=3"}), 2, "/data or /evaluation or /model");
}
