// SPDX-License-Identifier: Apache-2.0
// CLIP's towers against IRRA's copy: same weights by formula, fixtures made by tests/reference/clip.py.
#include <torch/torch.h>

#include "reid/models/clip.hpp"
#include "reid/models/registry.hpp"
#include "reid/models/vit.hpp"
#include "support/catch.hpp"
#include "support/formula_weights.hpp"

using namespace reid;
using torch::Tensor;

namespace {

test::Fixture fixture(const std::string& name) { return test::read_fixture(REID_FIXTURES "/models/" + name + ".json"); }

std::shared_ptr<models::TextEncoder> text_tower(const test::Fixture& expected) {
  Json part{{"name", "clip_text"}};
  merge_json(part, expected.settings.at("options"));
  auto tower = models::text_encoders().create(part, "");
  test::fill_by_formula(*tower);
  return tower;
}

Tensor mask_of(const test::Fixture& expected, int64_t length) {
  const auto lengths = torch::tensor(expected.settings.at("lengths").get<std::vector<int64_t>>());
  return torch::arange(length).unsqueeze(0).lt(lengths.unsqueeze(1));
}

/// Every gradient of the fixture against that of the parameter, by the largest of all.
void check_gradients(const torch::nn::Module& module, const test::Fixture& expected, double tolerance) {
  double largest = 0;
  std::size_t stored = 0, compared = 0;
  for (const auto& [name, tensor] : expected.tensors) {
    if (name.rfind("gradient of ", 0) != 0) continue;
    largest = std::max(largest, tensor.abs().max().item<double>());
    ++stored;
  }
  for (const auto& parameter : module.named_parameters()) {
    CAPTURE(parameter.key());
    const auto& reference = expected.tensors.at("gradient of " + parameter.key());
    const auto gradient = parameter.value().grad().flatten().to(torch::kFloat64);
    const auto step = std::max<int64_t>(1, gradient.numel() / 48);
    CHECK((gradient.slice(0, 0, gradient.numel(), step) - reference).abs().max().item<double>() < tolerance * largest);
    ++compared;
  }
  CHECK(compared == stored);
}

}  // namespace

TEST_CASE("CLIP's text tower: hidden states, projected ones, feature and gradients equal the reference's",
          "[models][parity][clip]") {
  const auto expected = fixture("clip_text");
  const auto tokens = expected.tensors.at("tokens").to(torch::kInt64);
  const auto mask = mask_of(expected, tokens.size(1));
  for (const auto type : {torch::kFloat64, torch::kFloat32}) {
    CAPTURE(torch::toString(type));
    const double tolerance = type == torch::kFloat64 ? 1e-10 : 1e-5;
    const auto tower = text_tower(expected);
    tower->to(type);
    const auto projected = tower->forward(tokens, mask);
    // Behind the end token, too: the reference's mask is causal alone.
    CHECK(test::relative_error(projected, expected.tensors.at("projected")) < tolerance);
    const auto feature = models::pool_tokens(projected, mask, models::TextPooling::eot);
    CHECK(test::relative_error(feature, expected.tensors.at("feature")) < tolerance);
    const auto weight = (2 * test::formula_uniform("weight of the sum", feature.sizes().vec()) - 1).to(type);
    (feature * weight).sum().backward();
    check_gradients(*tower, expected, tolerance);
  }
  Json part{{"name", "clip_text"}};
  merge_json(part, expected.settings.at("options"));
  part["projection"] = 0;
  const auto bare = models::text_encoders().create(part, "");
  test::fill_by_formula(*bare);
  bare->to(torch::kFloat64);
  CHECK(bare->width() == 24);
  CHECK(test::relative_error(bare->forward(tokens, mask), expected.tensors.at("hidden")) < 1e-10);
}

TEST_CASE("CLIP's text tower of the published sizes gives the reference's features", "[models][parity][clip]") {
  const auto expected = fixture("clip_text_whole");
  const auto tower = text_tower(expected);
  const auto tokens = expected.tensors.at("tokens").to(torch::kInt64);
  const torch::NoGradGuard no_grad;
  const auto mask = mask_of(expected, tokens.size(1));
  const auto feature = models::pool_tokens(tower->forward(tokens, mask), mask, models::TextPooling::eot);
  CHECK(test::relative_error(feature, expected.tensors.at("feature")) < 1e-5);
}

TEST_CASE("CLIP's image towers: features, tokens and gradients equal the reference's", "[models][parity][clip]") {
  for (const auto& [file, name] : {std::pair{"clip_vit_stride16", "clip_vit_b16"},
                                   {"clip_vit_stride12", "clip_vit_b16"},
                                   {"clip_resnet", "clip_resnet50"}}) {
    const auto expected = fixture(file);
    const auto height = expected.settings.at("height").get<int64_t>(), width = expected.settings.at("width").get<int64_t>();
    Json part{{"name", name}, {"preprocess", {{"height", height}, {"width", width}}}};
    merge_json(part, expected.settings.at("options"));
    for (const auto type : {torch::kFloat64, torch::kFloat32}) {
      CAPTURE(file, torch::toString(type));
      const bool exact = type == torch::kFloat64;
      const double tolerance = exact ? 1e-10 : 1e-5;
      auto model = nn::make_model(models::registry(), part);
      test::fill_by_formula(*model);
      test::set_momentum_one(*model);
      model->to(type);
      model->train();
      const auto feature = model->encode_image(test::formula_images("train", 4, height, width).to(type)).embedding;
      CHECK(test::relative_error(feature, expected.tensors.at("train.embedding")) < tolerance);
      const auto weight = (2 * test::formula_uniform("weight of the sum", feature.sizes().vec()) - 1).to(type);
      (feature * weight).sum().backward();
      // Statistics of four small maps amplify single precision's rounding.
      check_gradients(*model, expected, exact ? tolerance : 1e-4);
      model->eval();
      const torch::NoGradGuard no_grad;
      const auto images = test::formula_images("test", 2, height, width).to(type);
      const auto alone = model->encode_image(images).embedding;
      CHECK(test::relative_error(alone, expected.tensors.at("eval.embedding")) < tolerance);
      const auto all = model->encode_image(images, nn::want_tokens | nn::want_maps);
      CHECK(test::relative_error(all.embedding, expected.tensors.at("eval.embedding")) < tolerance);
      if (expected.tensors.count("eval.tokens") != 0) {
        CHECK(test::relative_error(all.tokens, expected.tensors.at("eval.tokens")) < tolerance);
      }
    }
  }
}

TEST_CASE("CLIP's position tables are resized as IRRA resizes them", "[models][parity][clip]") {
  const auto expected = fixture("clip_positions");
  REQUIRE(expected.tensors.size() == 2);
  const auto table = 2 * test::formula_uniform("positional_embedding", {197, 4}) - 1;
  for (const int64_t rows : {24, 16}) {
    const auto& reference = expected.tensors.at(std::to_string(rows) + " 8");
    models::ClipVitOptions options;
    options.width = 4;
    options.heads = options.depth = 1;
    options.preprocess.height = 16 * rows;
    const models::ClipVisionTransformer tower(options);
    nn::StateDict tensors{{"positional_embedding", table}};
    tower.adapt_weights(tensors, "file");
    CHECK(test::relative_error(tensors.at("positional_embedding"), reference) < 1e-10);
    CHECK(tensors.at("positional_embedding").sizes() == reference.sizes());
    CHECK(tensors.at("positional_embedding")[0].equal(table[0]));
  }
}
