// SPDX-License-Identifier: Apache-2.0
// Against TransReID's code: same weights by formula, fixtures made by tests/reference/vit.py.
#include <torch/torch.h>

#include "reid/models/registry.hpp"
#include "reid/models/vit.hpp"
#include "support/catch.hpp"
#include "support/formula_weights.hpp"

using namespace reid;

namespace {

test::Fixture fixture(const std::string& name) {
  return test::read_fixture(REID_FIXTURES "/models/" + name + ".json");
}

}  // namespace

TEST_CASE("Features, neck and gradients equal TransReID's code", "[models][parity][vit]") {
  for (const auto* file : {"vit_stride16", "vit_stride12", "vit_jpm", "vit_jpm_odd", "vit_ics"}) {
    const auto expected = fixture(file);
    const auto height = expected.settings.at("height").get<int64_t>();
    const auto width = expected.settings.at("width").get<int64_t>();
    Json part{{"name", "vit_b16"},
              {"stride", expected.settings.at("stride")},
              {"drop_path", 0},
              {"preprocess", {{"height", height}, {"width", width}}}};
    merge_json(part, expected.settings.at("options"));
    const auto cameras = 1 + torch::arange(4) % expected.settings.value("cameras", 1);
    for (const auto type : {torch::kFloat64, torch::kFloat32}) {
      CAPTURE(file, torch::toString(type));
      auto model = nn::make_model(models::registry(), part);
      test::fill_by_formula(*model);
      test::set_momentum_one(*model);
      model->to(type);
      const bool exact = type == torch::kFloat64;
      const auto tolerance = [&](const char* name) { return exact ? 1e-10 : expected.float_tolerance(name); };
      const double amplified = exact ? 3 : 2;  // the neck divides by the spread of four pictures, and processors round differently
      model->train();
      const auto images = test::formula_images("train", 4, height, width).to(type);
      const auto output = model->encode_image_from(images, cameras, nn::want_neck);
      REQUIRE(test::relative_error(output.embedding, expected.tensors.at("train.embedding")) < tolerance("train.embedding"));
      REQUIRE(test::relative_error(output.neck, expected.tensors.at("train.neck")) < amplified * tolerance("train.neck"));
      const auto weight = (2 * test::formula_uniform("weight of the sum", output.neck.sizes().vec()) - 1).to(type);
      ((output.neck * weight).sum() + (output.embedding * weight.flip(1)).sum()).backward();
      std::size_t compared = 0;
      double largest = 0;
      for (const auto& [name, tensor] : expected.tensors) {
        if (name.rfind("gradient of ", 0) == 0) largest = std::max(largest, tensor.abs().max().item<double>());
      }
      for (const auto& parameter : model->named_parameters()) {
        if (!parameter.value().requires_grad()) continue;
        CAPTURE(parameter.key());
        const auto& reference = expected.tensors.at("gradient of " + parameter.key());
        const auto gradient = parameter.value().grad().flatten().to(torch::kFloat64);
        const auto step = std::max<int64_t>(1, gradient.numel() / 64);
        const auto error = (gradient.slice(0, 0, gradient.numel(), step) - reference).abs().max().item<double>();
        const auto own = reference.abs().max().item<double>();
        REQUIRE(error < tolerance("gradients") * (exact ? std::max(own, 1e-2 * largest) : largest));
        ++compared;
      }
      REQUIRE(compared + 4 == expected.tensors.size());
      model->eval();
      const torch::NoGradGuard no_grad;
      const auto of_two = [&, images = test::formula_images("test", 2, height, width).to(type)](uint32_t want) {
        return model->encode_image_from(images, cameras.narrow(0, 0, 2), want);
      };
      const auto tested = of_two(nn::want_neck);
      REQUIRE(test::relative_error(tested.embedding, expected.tensors.at("eval.embedding")) < tolerance("eval.embedding"));
      REQUIRE(test::relative_error(tested.neck, expected.tensors.at("eval.neck")) < amplified * tolerance("eval.neck"));
      const auto tokens = of_two(nn::want_tokens);
      REQUIRE(tokens.tokens.size(1) == expected.settings.at("tokens").get<int64_t>());
      REQUIRE(test::relative_error(tokens.embedding, expected.tensors.at("eval.embedding")) < tolerance("eval.embedding"));
    }
  }
}

TEST_CASE("Position tables are resized as TransReID resizes them", "[models][parity][vit]") {
  const auto expected = fixture("vit_positions");
  REQUIRE(expected.tensors.size() == 4);
  const auto table = 2 * test::formula_uniform("pos_embed", {1, 197, 4}) - 1;
  for (const int64_t height : {256, 384}) {
    for (const int64_t stride : {16, 12}) {
      CAPTURE(height, stride);
      const models::MapSize grid{(height - 16) / stride + 1, (128 - 16) / stride + 1};
      const auto& reference = expected.tensors.at(std::to_string(height) + " " + std::to_string(stride));
      const auto resized = models::resize_positions(table, grid, "file");
      REQUIRE(resized.sizes() == reference.sizes());
      REQUIRE(test::relative_error(resized, reference) < 1e-10);
      REQUIRE(torch::equal(resized.select(1, 0), table.select(1, 0)));
      // A distilled DeiT's second token is left out.
      const auto distilled = torch::cat({table.narrow(1, 0, 1), torch::full({1, 1, 4}, 9.0, torch::kFloat64),
                                         table.narrow(1, 1, 196)}, 1);
      REQUIRE(torch::equal(models::resize_positions(distilled, grid, "file"), resized));
    }
  }
}
