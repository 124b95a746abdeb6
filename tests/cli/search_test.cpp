// SPDX-License-Identifier: Apache-2.0
// `reid search` as a user runs it, with a small dual encoder that is made here.
#include <torch/torch.h>

#include <algorithm>
#include <limits>

#include "cli/run_reid.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/datasets/image_io.hpp"
#include "reid/datasets/sheet.hpp"
#include "reid/metrics/npy.hpp"
#include "reid/models/registry.hpp"
#include "reid/nn/state_dict.hpp"
#include "reid/text/tokenizer.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using test::run_reid;
using Words = std::vector<std::string>;

namespace {

constexpr int64_t kPictures = 12;
const Json kImageSide{{"name", "clip_resnet50"}, {"width", 8},       {"heads", 4},
                      {"blocks", {1, 1, 1, 1}},  {"projection", 16}, {"preprocess", {{"height", 64}, {"width", 32}}}};

/// A folder with pictures, a vocabulary, and models with their weights and configurations.
struct World {
  test::TempDir folder;
  std::shared_ptr<nn::Model> model;
  std::string pictures = (folder / "pictures").string();

  World() {
    torch::manual_seed(7);
    std::filesystem::create_directory(pictures);
    for (int64_t i = 0; i < kPictures; ++i) {
      const auto picture = torch::randint(0, 256, {4, 2, 3}, torch::kInt64).to(torch::kUInt8);
      datasets::write_picture(path_of(i), picture.repeat_interleave(16, 0).repeat_interleave(16, 1));
    }
    write_file_atomic(folder / "vocab.txt", std::string("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nman\nwoman\nred\nblue\nbag\n"));
    Json part{{"name", "dual_encoder"},
              {"image", kImageSide},
              {"text",
               {{"encoder", {{"name", "embedding"}, {"width", 12}, {"positions", 16}}},
                {"head", {{"name", "pool"}, {"pooling", "mean"}}},
                {"tokenizer", {{"kind", "wordpiece"}, {"vocab", (folder / "vocab.txt").string()}}},
                {"length", 8}}},
              {"width", 6}};
    model = make(part, "dual");
    make(kImageSide, "image");
    part["text"]["encoder"]["vocabulary"] = 10;
    part["text"]["tokenizer"]["vocab"] = "";
    make(part, "wordless");
  }

  std::string path_of(int64_t i) const { return pictures + "/p" + std::to_string(10 + i) + ".png"; }
  std::string file(const std::string& name) const { return (folder / name).string(); }

  Words command(const Words& more, const std::string& name = "dual") const {
    Words words{"search", "--config", file(name + ".json"), "--weights", file(name + ".safetensors"), "--device", "cpu", "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

 private:
  std::shared_ptr<nn::Model> make(const Json& part, const std::string& name) {
    auto made = nn::make_model(models::registry(), part);
    made->eval();
    nn::write_safetensors(folder / (name + ".safetensors"), nn::state_of(*made));
    write_file_atomic(folder / (name + ".json"), Json{{"model", part}}.dump());
    return made;
  }
};

const World& world() {
  static const World instance;
  return instance;
}

Json search(const Words& more) {
  auto words = world().command(more);
  words.insert(words.end(), {"--json", "-"});
  const auto run = run_reid(words);
  INFO(run.err);
  REQUIRE(run.status == 0);
  return parse_json(run.out, "stdout");
}

/// The features of all pictures as `reid embed` writes them; made once.
const std::string& stored() {
  static const std::string features = [] {
    const auto& w = world();
    const auto file = w.file("features.npy");
    const auto run = run_reid({"embed", "--config", w.file("dual.json"), "--weights", w.file("dual.safetensors"), "--device", "cpu",
                               "--quiet", "--input", w.pictures, "--output", file, "--paths", w.file("paths.txt")});
    if (run.status != 0) throw std::runtime_error(run.err);
    return file;
  }();
  return features;
}

/// Cosines of a sentence with all pictures.
torch::Tensor cosines(const std::string& sentence) {
  const torch::NoGradGuard no_grad;
  const auto& model = *world().model;
  const auto tokens = torch::zeros({1, 8}, torch::kInt64);
  const auto mask = torch::zeros({1, 8}, torch::kBool);
  model.tokenizer()->encode_padded(sentence, 8, tokens.data_ptr<int64_t>(), mask.data_ptr<bool>());
  const auto feature = world().model->encode_text(tokens, mask).embedding;
  return torch::cosine_similarity(metrics::read_npy_features(stored()), feature, 1);
}

void check_matches(const Json& matches, const torch::Tensor& similarity, int64_t top) {
  const auto best = similarity.argsort(/*dim=*/0, /*descending=*/true);
  REQUIRE(static_cast<int64_t>(matches.size()) == top);
  for (int64_t k = 0; k < top; ++k) {
    CAPTURE(k);
    const auto& match = matches[static_cast<std::size_t>(k)];
    const auto row = best[k].item<int64_t>();
    CHECK(match.at("rank") == k + 1);
    CHECK(match.at("row") == row);
    CHECK(match.at("path") == world().path_of(row));
    CHECK(match.at("similarity").get<double>() == Approx(similarity[row].item<double>()).margin(1e-5));
  }
}

}  // namespace

TEST_CASE("search by sentence in a folder finds what the model's cosines say", "[cli][search]") {
  const auto& w = world();
  const auto json = search({"--input", w.pictures, "--text", "a man with a red bag", "--top", "5"});
  CHECK(json.at("metric") == "cosine");
  CHECK(json.at("gallery") == kPictures);
  REQUIRE(json.at("queries").size() == 1);
  CHECK(json.at("queries")[0].at("text") == "a man with a red bag");
  check_matches(json.at("queries")[0].at("matches"), cosines("a man with a red bag"), 5);
  CHECK(json.at("seconds").contains("features"));
  CHECK(json.at("seconds").contains("ranking"));
}

TEST_CASE("search in stored features: sentences from a file, a table, a contact sheet", "[cli][search]") {
  const auto& w = world();
  write_file_atomic(w.file("sentences.txt"), std::string("a woman\r\nblue bag"));
  const auto sheet = w.file("sheet.png");
  const Words query{"--features", stored(), "--paths", w.file("paths.txt"), "--text-file", w.file("sentences.txt"), "--output", sheet};
  const auto json = search(query);
  REQUIRE(json.at("queries").size() == 2);
  CHECK(json.at("queries")[1].at("text") == "blue bag");
  check_matches(json.at("queries")[0].at("matches"), cosines("a woman"), 10);
  check_matches(json.at("queries")[1].at("matches"), cosines("blue bag"), 10);
  const auto drawn = datasets::decode_image(sheet);
  CHECK(drawn.sizes() == torch::IntArrayRef({4 + 2 * 212, 168 + 10 * 100, 3}));
  // The best match of the first sentence stands in the first cell.
  const auto best = datasets::decode_image(json.at("queries")[0].at("matches")[0].at("path").get<std::string>());
  const auto cell = drawn.slice(0, 4, 196).slice(1, 168, 264).to(torch::kFloat32).mean(torch::IntArrayRef({0, 1}));
  CHECK((cell - best.to(torch::kFloat32).mean(torch::IntArrayRef({0, 1}))).abs().max().item<float>() < 3);

  std::filesystem::remove(sheet);
  const auto run = run_reid(w.command(query));
  REQUIRE(run.status == 0);
  CHECK_THAT(run.out, Contains("text: a woman\n    1  ") && Contains("text: blue bag\n    1  ") && Contains("   10  "));
  CHECK(std::count(run.out.begin(), run.out.end(), '\n') == 22);
  CHECK(std::filesystem::exists(sheet));
}

TEST_CASE("search by picture finds the picture itself first", "[cli][search]") {
  const auto& w = world();
  // Untrained, the model sees little difference between pictures; this one is farther from the others than rounding goes.
  const auto itself = w.path_of(7);
  const auto json = search({"--input", w.pictures, "--image", itself, "--top", "12", "--output", w.file("sheet.jpg")});
  const auto& matches = json.at("queries")[0].at("matches");
  CHECK(json.at("queries")[0].at("image") == itself);
  REQUIRE(matches.size() == 12);
  CHECK(matches[0].at("path") == itself);
  CHECK(matches[0].at("similarity").get<double>() == Approx(1).margin(1e-5));
  CHECK(datasets::decode_image(w.file("sheet.jpg")).size(0) == 4 + 2 * 212);
  // A model for pictures alone can do that, too.
  const auto run = run_reid(w.command({"--input", w.pictures, "--image", itself, "--top", "1"}, "image"));
  INFO(run.err);
  REQUIRE(run.status == 0);
  CHECK_THAT(run.out, Contains("picture: " + itself + "\n    1  1.0000  " + itself));
}

TEST_CASE("search refuses with one sentence, status 2 and no output", "[cli][search]") {
  const auto& w = world();
  stored();
  const auto put = [&](const char* name, const std::string& contents) {
    write_file_atomic(w.file(name), contents);
    return w.file(name);
  };
  auto features = metrics::read_npy_features(stored()).clone();
  features[3][2] = std::numeric_limits<float>::quiet_NaN();
  metrics::write_npy(w.file("nan.npy"), features);
  metrics::write_npy(w.file("wide.npy"), torch::ones({kPictures, 7}));
  const Words in_folder{"--input", w.pictures};
  const auto in_features = [&](const std::string& file) { return Words{"--features", file, "--paths", w.file("paths.txt")}; };
  struct Case {
    Words gallery, query;
    std::string reason;
    const char* model = "dual";
  };
  const std::vector<Case> cases{
      {in_folder, {"--text", "a \xff man"}, "--text: text must be UTF-8, got byte 0xFF at offset 2"},
      {in_folder, {"--text", ""}, "--text: sentence must hold a word, got an empty one"},
      {in_folder, {"--text", " \t"}, "--text: sentence must hold a word"},
      {in_folder, {"--text", "\u00a0\u200b"}, "--text: sentence must hold a word"},
      {in_folder, {"--text-file", put("gap.txt", "a man\n\na bag\n")}, "gap.txt, line 2: sentence must hold a word"},
      {in_folder, {"--text-file", put("bytes.txt", "a man\na \xc3 bag\n")}, "bytes.txt, line 2: text must be UTF-8"},
      {in_folder, {"--text-file", put("empty.txt", "")}, "empty.txt: file must hold sentences"},
      {in_folder, {"--text-file", w.file("nothing.txt")}, "nothing.txt"},
      {in_folder, {"--text", "a man"}, "--text: model must have a text encoder, got 'clip_resnet50'", "image"},
      {in_folder, {"--text", "a man"}, "--text: vocabulary of 'dual_encoder' must be named (/model/text/tokenizer/vocab), got none", "wordless"},
      {in_folder, {"--text", "a man", "--top", "0"}, "--top: number of matches must be between 1 and the gallery's 12, got 0"},
      {in_folder, {"--text", "a man", "--top", "13"}, "the gallery's 12, got 13"},
      {in_folder, {"--text", "a man", "--top", "-1"}, "got -1"},
      {in_folder, {"--text", "a man", "--image", w.path_of(0)}, "one must say what is searched for, got several"},
      {in_folder, {}, "one must say what is searched for, got none"},
      {in_folder, {"--image", w.file("nothing.png")}, "nothing.png"},
      {in_folder, {"--text", "a man", "--output", w.file("sheet.txt")}, "must end with .jpg, .png or .bmp, got '.txt'"},
      {{}, {"--text", "a man"}, "one must say what is searched, got none"},
      {{"--input", w.pictures, "--features", stored(), "--paths", w.file("paths.txt")}, {"--text", "a man"}, "got both"},
      {{"--features", stored()}, {"--text", "a man"}, "--paths: file must be given with --features"},
      {{"--input", w.pictures, "--paths", w.file("paths.txt")}, {"--text", "a man"}, "--paths: file must be given with --features"},
      {in_features(w.file("wide.npy")), {"--text", "a man"}, "wide.npy: features must be as wide as those of 'dual_encoder' (6), got 7"},
      {in_features(w.file("nan.npy")), {"--text", "a man"}, "nan.npy: features must be finite, got NaN in row 3 (" + w.path_of(3) + ")"},
      {in_features(put("text.npy", "no features")), {"--text", "a man"}, "text.npy"},
      {{"--features", stored(), "--paths", put("short.txt", "a.png\n")}, {"--text", "a man"}, "short.txt: paths must be as many as rows"},
  };
  for (const auto& c : cases) {
    auto words = w.command(c.gallery, c.model);
    words.insert(words.end(), c.query.begin(), c.query.end());
    const auto result = w.file("result.json"), sheet = w.file("refused.png");
    words.insert(words.end(), {"--json", result});
    if (std::find(words.begin(), words.end(), "--output") == words.end()) words.insert(words.end(), {"--output", sheet});
    const auto run = run_reid(words);
    INFO(c.reason);
    INFO(run.err);
    CHECK(run.status == 2);
    CHECK_THAT(run.err, Contains(c.reason));
    CHECK(std::count(run.err.begin(), run.err.end(), '\n') == 1);
    CHECK(run.out.empty());
    CHECK_FALSE(std::filesystem::exists(result));
    CHECK_FALSE(std::filesystem::exists(sheet));
    CHECK_FALSE(std::filesystem::exists(w.file("sheet.txt")));
  }
}
