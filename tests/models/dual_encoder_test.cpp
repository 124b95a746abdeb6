// SPDX-License-Identifier: Apache-2.0
#include "reid/models/dual_encoder.hpp"

#include <torch/torch.h>

#include <filesystem>
#include <fstream>

#include "reid/core/error.hpp"
#include "reid/models/registry.hpp"
#include "support/catch.hpp"
#include "support/formula_weights.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using torch::Tensor;

namespace {

const std::string kVocabulary = std::string(REID_FIXTURES) + "/text/wordpiece_uncased.txt";

Json small_part(const Json& changes = Json::object()) {
  Json part{{"name", "dual_encoder"},
            {"image", {{"name", "resnet18"}, {"preprocess", {{"height", 64}, {"width", 32}}}}},
            {"text",
             {{"encoder", {{"name", "text_transformer"}, {"width", 16}, {"heads", 2}, {"hidden", 32}}},
              {"head", {{"name", "text_cnn"}, {"width", 24}, {"stem", 12}, {"inner", 8}, {"blocks", 2}}},
              {"tokenizer", {{"vocab", kVocabulary}}},
              {"length", 12},
              {"frozen", false}}},
            {"width", 10}};
  merge_json(part, changes);
  return part;
}

std::shared_ptr<nn::Model> make(const Json& changes = Json::object()) {
  torch::manual_seed(3);
  return nn::make_model(models::registry(), small_part(changes), "/model");
}

struct Sentences {
  Tensor tokens, mask;
};

Sentences sentences_of(const nn::Model& model, const std::vector<std::string>& texts) {
  const auto n = static_cast<int64_t>(texts.size()), length = model.text_length();
  Sentences result{torch::empty({n, length}, torch::kInt64), torch::empty({n, length}, torch::kBool)};
  for (int64_t i = 0; i < n; ++i) {
    model.tokenizer()->encode_padded(texts[static_cast<std::size_t>(i)], length, result.tokens.data_ptr<int64_t>() + i * length,
                                     result.mask.data_ptr<bool>() + i * length);
  }
  return result;
}

}  // namespace

TEST_CASE("a dual encoder brings pictures and sentences to one width", "[models][text]") {
  for (const Json& head : {Json{{"name", "text_cnn"}, {"width", 24}}, Json{{"name", "bi_lstm"}, {"width", 24}},
                          Json{{"name", "pool"}, {"pooling", "cls"}}}) {
    CAPTURE(head.dump());
    auto part = small_part();
    part["text"]["head"] = head;
    auto model = nn::make_model(models::registry(), part);
    model->eval();
    const torch::NoGradGuard no_grad;
    const Tensor pictures = test::formula_images("dual", 2, 64, 32);
    REQUIRE(model->embed(pictures).sizes() == torch::IntArrayRef({2, 10}));
    const auto [tokens, mask] = sentences_of(*model, {"a man in a red shirt", "she wears black trousers and a hat today"});
    const auto all = model->encode_text(tokens, mask).embedding;
    REQUIRE(all.sizes() == torch::IntArrayRef({2, 10}));
    REQUIRE(all.isfinite().all().item<bool>());
    REQUIRE(test::relative_error(all[0], all[1]) > 1e-4);
    // A row depends neither on its neighbours nor on what is written where nothing is real.
    auto noisy = tokens.clone();
    noisy.masked_fill_(mask.logical_not(), 7);
    for (int64_t i = 0; i < 2; ++i) {
      REQUIRE(test::relative_error(model->encode_text(tokens.narrow(0, i, 1), mask.narrow(0, i, 1)).embedding, all.narrow(0, i, 1)) < 1e-5);
    }
    REQUIRE(test::relative_error(model->encode_text(noisy, mask).embedding, all) < 1e-6);
    REQUIRE_FALSE(model->encode_image(pictures, nn::want_neck).neck.defined());
  }
}

TEST_CASE("a frozen text encoder keeps still while its head learns", "[models][text]") {
  auto model = make({{"text", {{"frozen", true}}}, {"reason_mlp", 6}});
  model->train();
  const auto [tokens, mask] = sentences_of(*model, {"a man in a red shirt", "a woman with a bag"});
  const auto weight = 2 * test::formula_uniform("sum", {2, 10}).to(torch::kFloat32) - 1;
  ((model->encode_text(tokens, mask).embedding + model->encode_image(test::formula_images("dual", 2, 64, 32)).embedding) * weight)
      .sum()
      .backward();
  int64_t frozen = 0, learning = 0;
  for (const auto& item : model->named_parameters()) {
    CAPTURE(item.key());
    const bool text = item.key().rfind("text.", 0) == 0;
    const bool neck = item.key().rfind("image.bottleneck", 0) == 0;  // behind the feature that is taken
    REQUIRE(item.value().requires_grad() == !(text || item.key() == "image.bottleneck.bias"));
    if (!text && !neck) REQUIRE(item.value().grad().defined());
    (text ? frozen : learning) += 1;
  }
  REQUIRE(frozen > 0);
  REQUIRE(learning > 0);
  // No dropout in the encoder, though the model trains: the same sentence gives the same tokens' features.
  const auto features = [&, t = tokens, m = mask] { return model->encode_text(t, m, nn::want_tokens).tokens; };
  REQUIRE(torch::equal(features(), features()));
  auto free = make();
  free->train();
  const auto [t2, m2] = sentences_of(*free, {"a man in a red shirt"});
  REQUIRE_FALSE(torch::equal(free->encode_text(t2.repeat({2, 1}), m2.repeat({2, 1}), nn::want_tokens).tokens[0],
                             free->encode_text(t2.repeat({2, 1}), m2.repeat({2, 1}), nn::want_tokens).tokens[0]));
}

TEST_CASE("token features of a frozen encoder are kept in a file", "[models][text]") {
  const test::TempDir dir;
  const auto file = dir / "tokens.cache";
  const Json cached{{"text", {{"frozen", true}, {"cache", file.string()}}}};
  auto plain = make({{"text", {{"frozen", true}}}}), model = make(cached);
  plain->train();
  model->train();
  const auto [tokens, mask] = sentences_of(*model, {"a man in a red shirt", "a woman with a bag", "a man in a red shirt"});
  const auto features = [t = tokens, m = mask](nn::Model& of) { return of.encode_text(t, m, nn::want_tokens).tokens; };
  const auto first = features(*model);
  const Tensor expected = (features(*plain) * mask.unsqueeze(2)).to(torch::kFloat16).to(torch::kFloat32);
  REQUIRE(torch::equal(first, expected));
  REQUIRE(torch::equal(features(*model), first));
  const auto size = std::filesystem::file_size(file);
  REQUIRE(size == 32 + 2 * (8 + 12 * 8 + 12 * 16 * 2));  // the same sentence stands once
  {
    auto other = make(cached);
    test::fill_by_formula(*other);
    other->train();
    REQUIRE_THROWS_WITH(features(*other), Contains("another encoder"));
    // A teacher beside its student: the same encoder reads the same file, where it is told that it may.
    nn::load_state(*other->weight_part("text").module, nn::state_of(*model->weight_part("text").module), {}, "itself");
    other->eval();
    REQUIRE(torch::equal(other->encode_text(tokens, mask, nn::want_tokens | nn::want_cached).tokens, first));
    REQUIRE_FALSE(torch::equal(features(*other), first));
    REQUIRE(std::filesystem::file_size(file) == size);
  }
  // Read again; a damaged row and one that was cut off are computed again.
  for (const bool cut : {false, true}) {
    model.reset();
    if (cut) {
      std::filesystem::resize_file(file, size - 5);
    } else {
      std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
      bytes.seekp(static_cast<std::streamoff>(size) - 3);
      bytes.put('x');
    }
    model = make(cached);
    model->train();
    REQUIRE(torch::equal(features(*model), first));
    REQUIRE(std::filesystem::file_size(file) == size);
  }
  // In evaluation nothing is rounded. Other weights begin the file afresh; another file is left alone.
  model->eval();
  plain->eval();
  REQUIRE(torch::equal(features(*model), features(*plain)));
  const auto asleep = model;  // and the file is free for another
  model = make(cached);
  test::fill_by_formula(*model);
  model->train();
  REQUIRE_FALSE(torch::equal(features(*model), first));
  REQUIRE(std::filesystem::file_size(file) == size);
  model.reset();
  std::ofstream(file) << "a letter to a friend, longer than a header of thirty-two bytes";
  model = make(cached);
  model->train();
  REQUIRE_THROWS_WITH(features(*model), Contains("another file"));
  REQUIRE_THROWS_WITH(make({{"text", {{"frozen", false}, {"cache", "x"}}}}), Contains("/model/text/cache"));
}

TEST_CASE("every option stands in a dual encoder's spec, and makes it again", "[models][text]") {
  const auto model = make();
  const auto& spec = model->spec();
  REQUIRE(spec.at("image").at("preprocess").at("height") == 64);
  REQUIRE(spec.at("text").at("encoder").at("vocabulary") == model->tokenizer()->size());
  REQUIRE(spec.at("text").at("head").at("blocks") == 2);
  REQUIRE(nn::make_model(models::registry(), spec)->spec() == spec);
  REQUIRE(model->preprocess().height == 64);
  REQUIRE(model->text_length() == 12);
  const auto files = dynamic_cast<const nn::MadeFromFiles&>(*model).file_options();
  REQUIRE(files == std::vector<std::string>{"/text/tokenizer/vocab"});
  REQUIRE(spec.at(Json::json_pointer(files.front())) == kVocabulary);
}

TEST_CASE("weights may be loaded into one side", "[models][text]") {
  auto model = make();
  auto other = nn::make_model(models::registry(), small_part().at("image"));
  test::fill_by_formula(*other);
  const auto part = model->weight_part("image");
  nn::load_state(*part.module, nn::state_of(*other), part.layouts, "other.pth");
  other->eval();
  model->eval();
  const Tensor pictures = test::formula_images("dual", 1, 64, 32);
  const auto state = nn::state_of(*model);
  const auto expected = torch::linear(other->encode_image(pictures).embedding, state.at("image_projection.weight"), state.at("image_projection.bias"));
  REQUIRE(test::relative_error(model->embed(pictures), expected) < 1e-5);
  REQUIRE(model->weight_part("text").module != nullptr);
  REQUIRE(model->weight_part("").module == model.get());
  REQUIRE_THROWS_WITH(model->weight_part("texts"), Contains("image, text") && Contains("'texts'"));
  REQUIRE_THROWS_WITH(other->weight_part("image"), Contains("'image'"));
}

TEST_CASE("sides that don't fit are refused", "[models][text]") {
  REQUIRE_THROWS_WITH(make({{"width", 0}}), Contains("/model/width") && Contains("512") && Contains("24"));
  REQUIRE_THROWS_WITH(make({{"text", {{"length", 200}}}}), Contains("/model/text/length") && Contains("200"));
  REQUIRE_THROWS_WITH(make({{"text", {{"encoder", {{"vocabulary", 77}}}}}}), Contains("/model/text/encoder/vocabulary") && Contains("77"));
  REQUIRE_THROWS_AS(make({{"text", {{"tokenizer", {{"vocab", "nowhere.txt"}}}}}}), InputError);
  REQUIRE_THROWS_AS(make({{"text", {{"head", {{"name", "text_cn"}}}}}}), RegistryError);
  REQUIRE_THROWS_AS(make({{"text", {{"encoder", {{"name", "bert"}}}}}}), RegistryError);
  REQUIRE_THROWS_AS(make({{"text", {{"lenght", 3}}}}), ConfigError);
  auto model = make();
  REQUIRE_THROWS_AS(model->encode_text(torch::zeros({1, 13}, torch::kInt64), torch::ones({1, 13}, torch::kBool).slice(1, 0, 12)), ShapeError);
  REQUIRE_THROWS_AS(model->encode_text(torch::zeros({1, 4}, torch::kInt64), torch::zeros({1, 4}, torch::kBool)), ShapeError);
  const auto speechless = make({{"text", {{"tokenizer", {{"vocab", ""}}}}}});
  REQUIRE(speechless->tokenizer() == nullptr);
  REQUIRE(speechless->spec().at("text").at("encoder").at("vocabulary") == 8000);
}

TEST_CASE("a file of both of CLIP's towers loads into a dual encoder of them", "[models][text][clip]") {
  const auto part = [](int64_t width) {
    return Json{{"name", "dual_encoder"},
                {"image", {{"name", "clip_vit_b16"}, {"width", 12}, {"heads", 3}, {"depth", 2}, {"projection", 5},
                           {"preprocess", {{"height", 64}, {"width", width}}}}},
                {"text", {{"encoder", {{"name", "clip_text"}, {"layers", 2}, {"width", 12}, {"heads", 3}, {"projection", 5}}},
                          {"head", {{"name", "pool"}, {"pooling", "eot"}}}, {"tokenizer", {{"vocab", kVocabulary}}}, {"length", 12}}},
                {"width", 0}};
  };
  const auto made = nn::make_model(models::registry(), part(64));
  for (const std::string prefix : {"", "base_model."}) {
    CAPTURE(prefix);
    nn::StateDict file;
    for (const auto& [name, tensor] : nn::state_of(*made)) {
      const bool image = name.rfind("image.", 0) == 0;
      file[prefix + (image ? "visual." + name.substr(6) : name.substr(5))] = tensor.clone();
    }
    file[prefix.empty() ? "logit_scale" : "classifier.weight"] = torch::ones({});
    // The grid is another one: 4 x 4 places for 4 x 2.
    const auto fresh = nn::make_model(models::registry(), part(32));
    const auto report = nn::load_state(*fresh, file, fresh->layouts(), "ViT-B-16.pt");
    CHECK(report.layout == (prefix.empty() ? "clip" : "irra"));
    CHECK(report.left_out.size() == 1);
    const auto loaded = nn::state_of(*fresh);
    CHECK(loaded.at("image.positional_embedding").size(0) == 9);
    for (const auto& [name, tensor] : nn::state_of(*made)) {
      if (name != "image.positional_embedding") CHECK(loaded.at(name).equal(tensor));
    }
  }
}
