// SPDX-License-Identifier: Apache-2.0
// What holds for every registered network, whatever it is.
#include <torch/torch.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "reid/core/error.hpp"
#include "reid/models/body.hpp"
#include "reid/models/registry.hpp"
#include "reid/nn/blocks.hpp"
#include "support/catch.hpp"
#include "support/formula_weights.hpp"

using namespace reid;

namespace {

/// A part small enough to train here: 64x32 pictures, the lightest body.
Json small_part(const std::string& name) {
  Json part{{"name", name}, {"preprocess", {{"height", 64}, {"width", 32}}}};
  if (name.rfind("rga", 0) == 0) part["body"] = "resnet18";
  if (name.rfind("vit", 0) == 0) part["depth"] = 2;
  if (name == "clip_vit_b16") merge_json(part, {{"depth", 2}, {"width", 96}, {"heads", 3}});
  if (name == "clip_resnet50") merge_json(part, {{"width", 16}, {"heads", 8}});
  return part;
}

std::vector<std::string> light_names() {
  std::vector<std::string> names;
  for (const auto& name : models::registry().names()) {
    // resnet50 and vit_s16 cover their blocks; a dual encoder has tests of its own.
    if (name != "resnet101" && name != "vit_b16" && name != "dual_encoder") names.push_back(name);
  }
  return names;
}

}  // namespace

TEST_CASE("every network gives features of its size for any number of pictures", "[models]") {
  for (const auto& name : light_names()) {
    CAPTURE(name);
    torch::manual_seed(3);
    auto model = nn::make_model(models::registry(), small_part(name));
    // At its start, and with statistics of no training, the body's map fades beside the positions.
    if (name == "vit_hybrid") test::fill_by_formula(*model);
    model->eval();
    const torch::NoGradGuard no_grad;
    const auto images = test::formula_images("contract", 3, 64, 32);
    const auto all = model->embed(images);
    REQUIRE(all.sizes() == torch::IntArrayRef({3, model->embedding_size()}));
    REQUIRE(all.isfinite().all().item<bool>());
    // Deterministic, and a row doesn't depend on the others.
    REQUIRE(torch::equal(all, model->embed(images)));
    for (int64_t i = 0; i < 3; ++i) {
      REQUIRE(test::relative_error(model->embed(images.narrow(0, i, 1)), all.narrow(0, i, 1)) < 1e-5);
    }
    REQUIRE(test::relative_error(all[0], all[1]) > 1e-4);  // and it does look at the picture
    REQUIRE(model->embed(images.narrow(0, 0, 0)).sizes() == torch::IntArrayRef({0, model->embedding_size()}));

    const auto output = model->encode_image(images, nn::want_neck | nn::want_tokens | nn::want_maps);
    REQUIRE(output.embedding.sizes() == all.sizes());
    REQUIRE(output.tokens.dim() == 3);
    REQUIRE(output.tokens.size(0) == 3);
    if (model->feature() == nn::Feature::after_neck) REQUIRE(torch::equal(output.neck, all));
    for (const auto& map : output.maps) {
      REQUIRE(map.size(0) == 3);
      REQUIRE(map.size(1) == 1);
      REQUIRE((map >= 0).logical_and(map <= 1).all().item<bool>());
    }
    REQUIRE_FALSE(model->encode_image(images).neck.defined());
  }
}

TEST_CASE("every parameter of every network gets a finite gradient that is not zero", "[models]") {
  for (const auto& name : light_names()) {
    CAPTURE(name);
    torch::manual_seed(5);
    auto model = nn::make_model(models::registry(), small_part(name));
    test::fill_by_formula(*model);
    for (auto& parameter : model->named_parameters()) {
      // A gate of OSNet x0.25 has one hidden unit: it must not be dead.
      const torch::NoGradGuard no_grad;
      if (parameter.key().find("gate.fc1.bias") != std::string::npos) parameter.value().fill_(2);
    }
    model->train();
    const auto output = model->encode_image(test::formula_images("gradient", 5, 64, 32), nn::want_neck);
    const auto& feature = output.neck.defined() ? output.neck : output.embedding;
    const auto weight = 2 * test::formula_uniform("sum", feature.sizes().vec()).to(torch::kFloat32) - 1;
    ((feature * weight).sum() + (output.embedding * weight.flip(1)).sum()).backward();
    for (const auto& parameter : model->named_parameters()) {
      CAPTURE(parameter.key());
      if (!parameter.value().requires_grad()) {
        REQUIRE(parameter.key() == (name.rfind("rga", 0) == 0 ? "feat_bn.bias" : "bottleneck.bias"));
        continue;
      }
      REQUIRE(parameter.value().grad().defined());
      REQUIRE(parameter.value().grad().isfinite().all().item<bool>());
      // A bias of all keys shifts every product of a query alike, which the softmax doesn't see.
      if (parameter.key() == "attnpool.k_proj.bias") continue;
      REQUIRE(parameter.value().grad().abs().max().item<float>() > 0);
    }
  }
}

TEST_CASE("options make a round trip through spec", "[models]") {
  for (const auto& name : light_names()) {
    CAPTURE(name);
    auto model = nn::make_model(models::registry(), small_part(name));
    const auto spec = model->spec();
    REQUIRE(spec.at("name") == name);
    REQUIRE(spec.at("preprocess").at("height") == 64);
    REQUIRE(spec.size() == models::registry().at(name).defaults.size() + 1);
    REQUIRE(nn::make_model(models::registry(), spec)->spec() == spec);
  }
}

TEST_CASE("info is complete and says what the feature is", "[models]") {
  REQUIRE(models::registry().names() ==
          std::vector<std::string>{"clip_resnet50", "clip_vit_b16", "dual_encoder", "mobilenet_v2", "osnet_x0_25", "osnet_x0_5", "osnet_x0_75", "osnet_x1_0",
                                   "resnet101", "resnet18", "resnet34", "resnet50", "rga_c", "rga_s", "rga_sc", "vit_b16",
                                   "vit_hybrid", "vit_s16", "vit_tiny"});
  for (const auto& name : models::registry().names()) {
    CAPTURE(name);
    const auto& entry = models::registry().at(name);
    REQUIRE_FALSE(entry.info.summary.empty());
    REQUIRE_FALSE(entry.info.paper.empty());
    REQUIRE_FALSE(entry.info.reference.empty());
    REQUIRE_FALSE(entry.info.claim.empty());
    if (name == "dual_encoder") continue;  // its picture side says
    const bool clip = name.rfind("clip", 0) == 0;
    REQUIRE(entry.defaults.at("preprocess").at("height") == (clip ? 384 : 256));
    REQUIRE(entry.defaults.at("preprocess").at("width") == 128);
    const bool before = clip || name.rfind("osnet", 0) == 0 || name.rfind("vit", 0) == 0;
    REQUIRE(entry.defaults.at("feature") == (before ? "before_neck" : "after_neck"));
  }
}

TEST_CASE("wrong options are refused by name", "[models]") {
  for (const auto& name : models::registry().names()) {
    CAPTURE(name);
    if (name == "dual_encoder") continue;
    const auto make = [&](const Json& options) {
      Json part = small_part(name);
      merge_json(part, options);
      return nn::make_model(models::registry(), part, "/model");
    };
    REQUIRE_THROWS_AS(make({{"last_strid", 1}}), ConfigError);
    REQUIRE_THROWS_AS(make({{"preprocess", {{"height", 0}}}}), ConfigError);
    REQUIRE_THROWS_WITH(make({{"neck", false}, {"feature", "after_neck"}}),
                        Catch::Contains("before_neck") && Catch::Contains("/model"));
  }
  REQUIRE_THROWS_WITH(nn::make_model(models::registry(), "resnet5O"), Catch::Contains("did you mean 'resnet50'"));
  REQUIRE_THROWS_AS(nn::make_model(models::registry(), "resnet"), RegistryError);
}

TEST_CASE("pictures of another shape are a ShapeError that names both sizes", "[models]") {
  for (const auto& name : {"resnet18", "osnet_x0_25", "rga_sc", "vit_tiny"}) {
    CAPTURE(name);
    auto model = nn::make_model(models::registry(), small_part(name));
    model->eval();
    REQUIRE_THROWS_WITH(model->embed(torch::zeros({1, 3, 32, 64})),
                        Catch::Contains("64, 32") && Catch::Contains("[1, 3, 32, 64]"));
    REQUIRE_THROWS_AS(model->embed(torch::zeros({3, 64, 32})), ShapeError);
    REQUIRE_THROWS_AS(model->embed(torch::zeros({1, 1, 64, 32})), ShapeError);
    REQUIRE_THROWS_AS(model->embed(torch::zeros({1, 3, 64, 32}, torch::kUInt8)), ShapeError);
    REQUIRE_THROWS_AS(model->embed(torch::Tensor()), ShapeError);
    REQUIRE_THROWS_AS(model->encode_text(torch::zeros({1, 4}), torch::ones({1, 4})), ConfigError);
  }
}

TEST_CASE("folded networks give the same features and can be folded twice", "[models]") {
  for (const auto& name : light_names()) {
    CAPTURE(name);
    auto model = nn::make_model(models::registry(), small_part(name));
    test::fill_by_formula(*model);
    test::set_momentum_one(*model);
    const torch::NoGradGuard no_grad;
    model->train();
    model->encode_image(test::formula_images("train", 4, 64, 32), nn::want_neck);
    model->eval();
    const auto images = test::formula_images("fold", 2, 64, 32);
    const auto before = model->embed(images);
    const auto values = model->parameters().size();
    model->fold_batch_norms();
    REQUIRE(test::relative_error(model->embed(images), before) < 1e-4);
    // A transformer on patches has nothing to fold; its hybrid has the body.
    const bool nothing = (name.rfind("vit", 0) == 0 && name != "vit_hybrid") || name == "clip_vit_b16";
    REQUIRE((nothing ? model->parameters().size() == values : model->parameters().size() < values));
    model->fold_batch_norms();
    REQUIRE(test::relative_error(model->embed(images), before) < 1e-4);
    for (const auto& parameter : model->parameters()) REQUIRE_FALSE(parameter.requires_grad());
  }
}

TEST_CASE("channels-last memory and bfloat16 keep the features", "[models]") {
  for (const auto& name : {"resnet18", "mobilenet_v2", "osnet_x0_25", "rga_sc", "vit_tiny", "vit_hybrid", "clip_resnet50", "clip_vit_b16"}) {
    CAPTURE(name);
    auto model = nn::make_model(models::registry(), small_part(name));
    test::fill_by_formula(*model);
    test::set_momentum_one(*model);
    const torch::NoGradGuard no_grad;
    model->train();
    model->encode_image(test::formula_images("train", 4, 64, 32), nn::want_neck);
    model->eval();
    const auto images = test::formula_images("format", 2, 64, 32);
    const auto plain = model->embed(images);
    nn::use_channels_last(*model);
    REQUIRE(test::relative_error(model->embed(images), plain) < 1e-4);
    // By formula its attention picks one place, which bfloat16's rounding turns into another.
    if (name == std::string("clip_resnet50")) continue;
    model->to(torch::kBFloat16);
    const auto half = model->embed(images);
    REQUIRE(half.scalar_type() == torch::kBFloat16);
    REQUIRE(torch::cosine_similarity(half.to(torch::kFloat32), plain, 1).min().item<float>() > 0.95);
  }
}

TEST_CASE("every network file of the folder is in the list", "[models]") {
  std::set<std::string> registering;
  for (const auto& file : std::filesystem::directory_iterator(REID_SOURCE_DIR "/models/src")) {
    std::ifstream stream(file.path());
    const std::string text((std::istreambuf_iterator<char>(stream)), {});
    const auto stem = file.path().stem().string();
    if (text.find("void register_" + stem + "(") != std::string::npos) registering.insert(stem);
  }
  std::ifstream stream(REID_SOURCE_DIR "/models/CMakeLists.txt");
  const std::string text((std::istreambuf_iterator<char>(stream)), {});
  const auto begin = text.find("set(models ") + 11;
  std::istringstream words(text.substr(begin, text.find(')', begin) - begin));
  std::set<std::string> listed;
  for (std::string word; words >> word;) listed.insert(word);
  REQUIRE(listed == registering);
}
