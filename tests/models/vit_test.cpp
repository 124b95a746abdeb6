// SPDX-License-Identifier: Apache-2.0
#include <torch/torch.h>

#include "jigsaw.hpp"
#include "reid/core/error.hpp"
#include "reid/models/registry.hpp"
#include "reid/models/vit.hpp"
#include "reid/nn/transformer.hpp"
#include "support/catch.hpp"
#include "support/formula_weights.hpp"

using namespace reid;

namespace {

Json small(const Json& more = Json::object()) {
  Json part{{"name", "vit_tiny"}, {"width", 24}, {"heads", 3}, {"depth", 2}, {"preprocess", {{"height", 64}, {"width", 32}}}};
  merge_json(part, more);
  return part;
}

std::shared_ptr<models::VisionTransformer> make(const Json& part) {
  return std::dynamic_pointer_cast<models::VisionTransformer>(nn::make_model(models::registry(), part, "/model"));
}

nn::TransformerOptions block_options() {
  nn::TransformerOptions options;
  options.width = 12;
  options.heads = 3;
  options.hidden = 20;
  return options;
}

std::shared_ptr<nn::TransformerBlock> formula_block(const nn::TransformerOptions& options) {
  auto block = std::make_shared<nn::TransformerBlock>(options);
  test::fill_by_formula(*block);
  block->to(torch::kFloat64);
  return block;
}

/// State under other names.
nn::StateDict renamed(const nn::StateDict& state, const std::function<std::string(const std::string&)>& name) {
  nn::StateDict result;
  for (const auto& [key, tensor] : state) result[name(key)] = tensor.clone();
  return result;
}

}  // namespace

TEST_CASE("Token counts are 129 at stride 16 and 211 at stride 12", "[models][vit]") {
  const torch::NoGradGuard no_grad;
  for (const auto& [stride, count] : {std::pair<int64_t, int64_t>{16, 129}, {12, 211}}) {
    auto model = make({{"name", "vit_tiny"}, {"depth", 1}, {"stride", stride}});
    model->eval();
    const auto output = model->encode_image(torch::zeros({1, 3, 256, 128}), nn::want_tokens);
    REQUIRE(output.tokens.sizes() == torch::IntArrayRef({1, count, 192}));
    REQUIRE(model->grid().positions() == count - 1);
  }
}

TEST_CASE("The networks hold as many values as the published ones", "[models][vit]") {
  const auto count = [](const torch::nn::Module& module) {
    int64_t values = 0;
    for (const auto& parameter : module.parameters()) values += parameter.numel();
    return values;
  };
  nn::TransformerOptions base;
  REQUIRE(count(nn::TransformerBlock(base)) == 7087872);
  // DeiT-tiny at 224 x 224 has 5,717,416 parameters with its classifier of 193,000, and ours has a neck of 2 x 192.
  const auto tiny = make({{"name", "vit_tiny"}, {"preprocess", {{"height", 224}, {"width", 224}}}});
  REQUIRE(count(*tiny) == 5717416 - 193000 + 2 * 192);
}

TEST_CASE("The first token alone is the first token of all", "[models][vit]") {
  auto block = formula_block(block_options());
  const auto x = 2 * test::formula_uniform("tokens", {3, 7, 12}) - 1;
  torch::Tensor attention;
  const auto all = block->forward(x, &attention);
  REQUIRE(attention.sizes() == torch::IntArrayRef({3, 3, 7, 7}));
  REQUIRE((attention.sum(-1) - 1).abs().max().item<double>() < 1e-12);
  REQUIRE(test::relative_error(block->forward(x), all) < 1e-12);
  REQUIRE(test::relative_error(block->forward_first(x), all.narrow(1, 0, 1)) < 1e-12);
  {
    const torch::NoGradGuard no_grad;  // sums are made in place then
    const auto before = x.clone();
    REQUIRE(test::relative_error(block->forward(x), all) < 1e-12);
    REQUIRE(torch::equal(x, before));
  }
  // Attention to one's own tokens is the block itself.
  REQUIRE(test::relative_error(block->cross(x, block->keys_values(x)), all) < 1e-12);
}

TEST_CASE("Cross attention equals its formula, masks and scale included", "[models][vit]") {
  for (const bool bias : {true, false}) {
    auto options = block_options();
    options.qkv_bias = bias;
    if (!bias) options.attention_scale = 0.3;
    auto block = formula_block(options);
    const auto p = block->named_parameters();
    const auto a = 2 * test::formula_uniform("anchor", {2, 3, 12}) - 1;
    const auto s = 2 * test::formula_uniform("source", {2, 5, 12}) - 1;
    const auto mask = torch::tensor({1, 1, 0, 1, 0, 1, 0, 1, 1, 1}).view({2, 5}).to(torch::kBool);
    torch::Tensor attention;
    const auto got = block->cross(a, block->keys_values(s), mask, &attention);
    const auto norm = [&](const torch::Tensor& x, const std::string& name) {
      const auto centred = x - x.mean(-1, true);
      return centred / (centred.pow(2).mean(-1, true) + 1e-6).sqrt() * p[name + ".weight"] + p[name + ".bias"];
    };
    const auto linear = [&](const torch::Tensor& x, const std::string& name, int64_t begin, int64_t rows) {
      auto y = torch::matmul(x, p[name + ".weight"].narrow(0, begin, rows).t());
      return p.contains(name + ".bias") ? y + p[name + ".bias"].narrow(0, begin, rows) : y;
    };
    const auto q = linear(norm(a, "norm1"), "attn.qkv", 0, 12), k = linear(norm(s, "norm1"), "attn.qkv", 12, 12),
               v = linear(norm(s, "norm1"), "attn.qkv", 24, 12);
    std::vector<torch::Tensor> heads;
    for (int64_t h = 0; h < 3; ++h) {
      const auto part = [&](const torch::Tensor& x) { return x.narrow(2, 4 * h, 4); };
      auto scores = torch::matmul(part(q), part(k).transpose(1, 2)) * (bias ? 0.5 : 0.3);
      const auto e = torch::exp(scores) * mask.unsqueeze(1);
      const auto weights = e / e.sum(-1, true);
      REQUIRE(test::relative_error(attention.select(1, h), weights) < 1e-12);
      heads.push_back(torch::matmul(weights, part(v)));
    }
    const auto x = a + linear(torch::cat(heads, 2), "attn.proj", 0, 12);
    const auto hidden = linear(norm(x, "norm2"), "mlp.fc1", 0, 20);
    const auto expected = x + linear(hidden * 0.5 * (1 + torch::erf(hidden / std::sqrt(2.0))), "mlp.fc2", 0, 12);
    REQUIRE(test::relative_error(got, expected) < 1e-12);
    REQUIRE(test::relative_error(block->cross(a, block->keys_values(s), mask), expected) < 1e-12);
    REQUIRE_THROWS_AS(block->cross(a, s), ShapeError);
    REQUIRE_THROWS_AS(block->cross(a, block->keys_values(s), mask.narrow(1, 0, 4)), ShapeError);
  }
}

TEST_CASE("Stochastic depth keeps the mean, drops whole samples and is off in evaluation", "[models][vit]") {
  torch::manual_seed(4);
  const auto x = torch::ones({4000, 2, 3});
  const auto dropped = nn::drop_path(x, 0.25, true);
  const auto flat = dropped.flatten(1);
  REQUIRE(torch::equal(flat.amax(1), flat.amin(1)));
  REQUIRE(((flat == 0) | ((flat - 4 / 3.0).abs() < 1e-6)).all().item<bool>());
  REQUIRE((flat.select(1, 0) == 0).to(torch::kFloat32).mean().item<double>() == Approx(0.25).margin(0.03));
  REQUIRE(torch::equal(nn::drop_path(x, 0.25, false), x));
  REQUIRE(torch::equal(nn::drop_path(x, 0, true), x));
  auto model = make(small({{"drop_path", 0.9}}));
  const auto images = test::formula_images("drop", 4, 64, 32);
  model->train();
  REQUIRE_FALSE(torch::equal(model->encode_image(images).embedding, model->encode_image(images).embedding));
}

TEST_CASE("Tokens are before the final norm, class token first; roll-out is a map of the places", "[models][vit]") {
  auto model = make(small());
  test::fill_by_formula(*model);
  model->eval();
  const torch::NoGradGuard no_grad;
  const auto images = test::formula_images("tokens", 2, 64, 32);
  const auto output = model->encode_image(images, nn::want_tokens | nn::want_maps);
  REQUIRE(output.tokens.sizes() == torch::IntArrayRef({2, 9, 24}));
  REQUIRE(test::relative_error(model->final_norm()->forward(output.tokens.select(1, 0)), output.embedding) < 1e-6);
  REQUIRE(output.maps.size() == 1);
  REQUIRE(output.maps[0].sizes() == torch::IntArrayRef({2, 1, 4, 2}));
  REQUIRE(output.maps[0].amax(torch::IntArrayRef({1, 2, 3})).min().item<float>() == 1);
  // By hand from the two blocks' attention.
  auto one = make(small({{"depth", 1}}));
  auto state = nn::state_of(*model);
  for (auto it = state.begin(); it != state.end();) it = it->first.rfind("blocks.1.", 0) == 0 ? state.erase(it) : std::next(it);
  nn::load_state(*one, state, {}, "state");
  one->eval();
  torch::Tensor second;
  model->encoder_blocks()[1]->forward(one->encode_image(images, nn::want_tokens).tokens, &second);
  auto first = one->encode_image(images, nn::want_maps).maps[0].flatten(1);
  const auto eye = torch::eye(9);
  const auto a2 = (second.mean(1) + eye) / 2;
  torch::Tensor a1;
  {
    torch::Tensor attention;
    // The first block's input again: tokens of a network without blocks are its embedding of places and positions.
    const auto named = model->named_parameters();
    const auto places = torch::conv2d(images, named["patch_embed.proj.weight"], named["patch_embed.proj.bias"], 16);
    const auto x = torch::cat({named["cls_token"].expand({2, 1, 24}), places.flatten(2).transpose(1, 2)}, 1) + named["pos_embed"];
    model->encoder_blocks()[0]->forward(x, &attention);
    a1 = (attention.mean(1) + eye) / 2;
  }
  REQUIRE(test::relative_error(first, a1.select(1, 0).narrow(1, 1, 8) / a1.select(1, 0).narrow(1, 1, 8).amax(1, true)) < 1e-5);
  const auto r = torch::matmul(a2, a1).select(1, 0).narrow(1, 1, 8);
  REQUIRE(test::relative_error(output.maps[0].flatten(1), r / r.amax(1, true)) < 1e-5);
}

TEST_CASE("Weights are read as they are published", "[models][vit][weights]") {
  auto source = make(small());
  test::fill_by_formula(*source);
  const auto state = nn::state_of(*source);
  const auto check = [&](const nn::StateDict& file, const std::string& layout, const nn::LoadOptions& options = {}) {
    auto target = make(small());
    const auto report = nn::load_state(*target, file, target->layouts(), "file", options);
    REQUIRE(report.layout == layout);
    for (const auto& [name, tensor] : nn::state_of(*target)) {
      if (name.rfind("bottleneck", 0) == 0 && options.allow_missing_neck) continue;
      CAPTURE(name);
      REQUIRE(torch::equal(tensor, state.at(name)));
    }
  };
  nn::LoadOptions no_neck;
  no_neck.allow_missing_neck = true;
  auto bare = state;
  for (auto it = bare.begin(); it != bare.end();) it = it->first.rfind("bottleneck", 0) == 0 ? bare.erase(it) : std::next(it);

  check(state, "reid");
  auto timm = bare;
  timm["head.weight"] = torch::zeros({5, 24});
  timm["head.bias"] = torch::zeros({5});
  timm["patch_embed.proj.weight"] = timm["patch_embed.proj.weight"].reshape({24, -1});  // of the first files
  check(timm, "timm, deit", no_neck);
  auto transreid = renamed(state, [](const std::string& name) {
    return name.rfind("bottleneck", 0) == 0 ? name : "base." + name;
  });
  transreid["base.fc.weight"] = torch::zeros({5, 24});
  transreid["classifier.weight"] = torch::zeros({7, 24});
  check(transreid, "transreid");
  auto jpm = transreid;
  for (const auto& [name, tensor] : state) {
    if (name.rfind("blocks.1.", 0) == 0) {
      jpm["b1.0." + name.substr(9)] = jpm["b2.0." + name.substr(9)] = tensor;
      jpm["base." + name] = tensor + 1;  // unused by the network with parts
    }
    if (name.rfind("norm.", 0) == 0) {
      jpm["b1.1." + name.substr(5)] = jpm["b2.1." + name.substr(5)] = tensor;
      jpm["base." + name] = tensor + 1;
    }
  }
  jpm["bottleneck_1.weight"] = torch::zeros({24});
  jpm["classifier_1.weight"] = torch::zeros({7, 24});
  check(jpm, "transreid with jpm, global branch");
  auto ssl = renamed(bare, [](const std::string& name) { return "module.backbone." + name; });
  ssl["module.head.mlp.0.weight"] = torch::zeros({3, 24});
  check(ssl, "transreid-ssl", no_neck);
}

TEST_CASE("A convolution stem takes TransReID-SSL's weights and nobody else's, and folds its batch norm", "[models][vit][weights]") {
  const auto part = small({{"stem", "ics"}});
  auto source = make(part);
  test::fill_by_formula(*source);
  const auto state = nn::state_of(*source);
  for (const char* name : {"conv.0.weight", "conv.1.IN.weight", "conv.1.BN.running_var", "conv.3.weight", "conv.4.IN.bias",
                           "conv.6.weight", "conv.7.running_mean", "proj.bias"}) {
    REQUIRE(state.count(std::string("patch_embed.") + name) == 1);
  }
  // What a self-supervised teacher leaves, and what fine-tuning makes of it.
  nn::StateDict teacher, tuned;
  for (const auto& [name, tensor] : state) {
    const bool neck = name.rfind("bottleneck", 0) == 0;
    if (!neck) teacher["module.backbone." + name] = tensor;
    tuned[neck ? name : "base." + name] = tensor;
  }
  teacher["module.head.last_layer.weight_g"] = torch::zeros({3, 1});
  tuned["classifier.weight"] = torch::zeros({7, 24});
  for (const auto* file : {&teacher, &tuned}) {
    auto target = make(part);
    nn::LoadOptions options;
    options.allow_missing_neck = file == &teacher;
    REQUIRE(nn::load_state(*target, *file, target->layouts(), "file", options).layout == (file == &teacher ? "transreid-ssl" : "transreid"));
    for (const auto& [name, tensor] : nn::state_of(*target)) {
      if (name.rfind("bottleneck", 0) != 0) REQUIRE(torch::equal(tensor, state.at(name)));
    }
  }
  auto plain = make(small());
  REQUIRE_THROWS_WITH(nn::load_state(*plain, tuned, plain->layouts(), "file"), Catch::Contains("patch_embed.conv.0.weight"));

  // Trained statistics, then folded.
  source->to(torch::kFloat64);
  const auto images = test::formula_images("train", 4, 64, 32).to(torch::kFloat64);
  source->train();
  source->encode_image(images);
  source->eval();
  const torch::NoGradGuard no_grad;
  const auto before = source->encode_image(images, nn::want_neck);
  source->fold_batch_norms();
  const auto after = source->encode_image(images, nn::want_neck);
  REQUIRE(test::relative_error(after.embedding, before.embedding) < 1e-10);
  REQUIRE(nn::state_of(*source).count("patch_embed.conv.7.weight") == 0);
  REQUIRE(nn::state_of(*source).count("patch_embed.conv.4.BN.weight") == 1);
}

TEST_CASE("The jigsaw's order by hand", "[models][vit]") {
  const auto order = [](int64_t parts, int64_t shift, int64_t groups, bool shuffle, int64_t places) {
    return models::jigsaw_order({parts, shift, groups, shuffle}, places, "/jpm");
  };
  REQUIRE(order(4, 5, 2, false, 9) == std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8});
  // 3 4 5 6 7 8 1 2, dealt out: 3 7, 4 8, 5 1, 6 2.
  REQUIRE(order(4, 3, 2, true, 8) == std::vector<int64_t>{3, 7, 4, 8, 5, 1, 6, 2});
  // 2 3 4 5 1 and the last but one again: 2 3 4 5 1 5 in halves: 2 5, 3 1, 4 5, of which two parts of two are taken.
  REQUIRE(order(2, 2, 2, true, 5) == std::vector<int64_t>{2, 5, 3, 1});
  REQUIRE_THROWS_WITH(order(6, 1, 2, true, 5), Catch::Contains("/jpm/parts") && Catch::Contains("got 6"));
  REQUIRE_THROWS_WITH(order(2, 6, 2, true, 5), Catch::Contains("/jpm/shift") && Catch::Contains("got 6"));
  REQUIRE_THROWS_WITH(order(2, 2, 4, true, 5), Catch::Contains("/jpm/groups") && Catch::Contains("got 4"));
}

TEST_CASE("A model with local features joins them and gives them apart", "[models][vit]") {
  auto model = make(small({{"jpm", {{"parts", 2}, {"shift", 3}}}, {"drop_path", 0}}));
  test::fill_by_formula(*model);
  REQUIRE(model->embedding_size() == 72);
  REQUIRE(model->parts() == 3);
  model->eval();
  const auto images = test::formula_images("parts", 3, 64, 32);
  const auto output = model->encode_image(images, nn::want_neck | nn::want_parts);
  REQUIRE(output.parts.size() == 3);
  REQUIRE(torch::equal(output.embedding, torch::cat({output.parts[0], output.parts[1] / 2, output.parts[2] / 2}, 1)));
  REQUIRE(torch::equal(output.neck, torch::cat({output.part_necks[0], output.part_necks[1] / 2, output.part_necks[2] / 2}, 1)));
  REQUIRE_FALSE(torch::allclose(output.parts[1], output.parts[2]));
  // The whole picture's feature is that of the network without parts.
  auto plain = make(small());
  nn::LoadOptions rest;
  rest.skip = {"jigsaw.*"};
  nn::load_state(*plain, nn::state_of(*model), plain->layouts(), "file", rest);
  plain->eval();
  REQUIRE(torch::allclose(plain->embed(images), output.parts[0], 1e-5, 1e-6));
  REQUIRE_THROWS_WITH(make(small({{"depth", 1}, {"jpm", Json::object()}})), Catch::Contains("/depth") && Catch::Contains("jpm"));
}

TEST_CASE("Cameras move the feature, and must be known", "[models][vit]") {
  auto model = make(small({{"sie", {{"cameras", 3}, {"coefficient", 2}}}}));
  test::fill_by_formula(*model);
  model->eval();
  const torch::NoGradGuard no_grad;
  const auto images = test::formula_images("one", 1, 64, 32).expand({3, 3, 64, 32}).contiguous();
  const auto features = model->embed(images, torch::tensor({1, 2, 1}, torch::kInt64));
  REQUIRE(torch::allclose(features[0], features[2], 1e-6, 1e-6));
  REQUIRE_FALSE(torch::allclose(features[0], features[1], 1e-3, 1e-3));
  REQUIRE_THROWS_WITH(model->encode_image(images), Catch::Contains("camera") && Catch::Contains("got none"));
  REQUIRE_THROWS_WITH(model->embed(images, torch::tensor({1, 2, 4}, torch::kInt64)), Catch::Contains("1 to 3") && Catch::Contains("got 4"));
  REQUIRE_THROWS_WITH(model->embed(images, torch::tensor({0, 2, 3}, torch::kInt64)), Catch::Contains("got 0"));
  REQUIRE_THROWS_AS(model->embed(images, torch::tensor({1, 2}, torch::kInt64)), ShapeError);
}

TEST_CASE("TransReID's whole checkpoints and encoders without people load into local features and cameras", "[models][vit][weights]") {
  const Json part = small({{"jpm", {{"parts", 2}, {"shift", 3}}}, {"sie", {{"cameras", 2}}}});
  auto source = make(part);
  test::fill_by_formula(*source);
  const auto state = nn::state_of(*source);
  const auto begins = [](const std::string& name, const std::string& with) { return name.rfind(with, 0) == 0; };
  auto file = renamed(state, [&](const std::string& name) {
    for (const auto& [ours, theirs] : {std::pair<std::string, std::string>{"blocks.1.", "b1.0."}, {"norm.", "b1.1."},
                                       {"jigsaw.block.", "b2.0."}, {"jigsaw.norm.", "b2.1."}, {"jigsaw.bottleneck_", "bottleneck_"},
                                       {"bottleneck.", "bottleneck."}}) {
      if (begins(name, ours)) return theirs + name.substr(ours.size());
    }
    return "base." + name;
  });
  for (const auto& [name, tensor] : state) {
    if (begins(name, "blocks.1.") || begins(name, "norm.")) file["base." + name] = tensor + 1;  // where the copies came from
  }
  file["base.fc.weight"] = file["classifier.weight"] = file["classifier_2.weight"] = torch::zeros({5, 24});
  auto target = make(part);
  REQUIRE(nn::load_state(*target, file, target->layouts(), "file").layout == "transreid with jpm");
  for (const auto& [name, tensor] : nn::state_of(*target)) {
    CAPTURE(name);
    REQUIRE(torch::equal(tensor, state.at(name)));
  }
  // Trained without cameras: refused.
  auto blind = file;
  blind.erase("base.sie_embed");
  REQUIRE_THROWS_WITH(nn::load_state(*target, blind, target->layouts(), "file"), Catch::Contains("sie_embed"));

  // ImageNet's encoder: the jigsaw's block is the last one again, necks and cameras start afresh.
  auto encoder = nn::state_of(*make(small()));
  std::erase_if(encoder, [&](const auto& entry) { return begins(entry.first, "bottleneck"); });
  encoder["head.weight"] = torch::zeros({5, 24});
  const auto cameras = nn::state_of(*target).at("sie_embed").clone();
  nn::LoadOptions options;
  options.allow_missing_neck = true;
  nn::load_state(*target, encoder, target->layouts(), "file", options);
  const auto loaded = nn::state_of(*target);
  REQUIRE(torch::equal(loaded.at("jigsaw.block.mlp.fc1.weight"), encoder.at("blocks.1.mlp.fc1.weight")));
  REQUIRE(torch::equal(loaded.at("jigsaw.norm.bias"), encoder.at("norm.bias")));
  REQUIRE(torch::equal(loaded.at("sie_embed"), cameras));
  REQUIRE_THROWS_AS(nn::load_state(*target, encoder, target->layouts(), "file"), CheckpointError);  // no necks
}

TEST_CASE("A position table of another grid is resized on loading, or refused with its size", "[models][vit][weights]") {
  auto target = make(small());
  auto file = nn::state_of(*target);
  const auto table = test::formula_uniform("table", {1, 197, 24}).to(torch::kFloat32);
  file["pos_embed"] = table;
  nn::load_state(*target, file, target->layouts(), "file");
  const auto loaded = target->named_parameters()["pos_embed"];
  REQUIRE(torch::equal(loaded, models::resize_positions(table, {4, 2}, "file")));
  REQUIRE(torch::equal(loaded.select(1, 0), table.select(1, 0)));
  // Twice as high as wide: 16 x 8, TransReID's own checkpoints.
  file["pos_embed"] = test::formula_uniform("table", {1, 129, 24}).to(torch::kFloat32);
  nn::load_state(*target, file, target->layouts(), "file");
  file["pos_embed"] = torch::zeros({1, 212, 24});
  REQUIRE_THROWS_WITH(nn::load_state(*target, file, target->layouts(), "weights.pth"),
                      Catch::Contains("weights.pth") && Catch::Contains("4 x 2") && Catch::Contains("212"));
  // Of another architecture: named, and nothing is changed.
  const auto before = target->named_parameters()["cls_token"].clone();
  auto other = nn::state_of(*make(small({{"width", 48}})));
  REQUIRE_THROWS_AS(nn::load_state(*target, other, target->layouts(), "file"), CheckpointError);
  auto resnet = nn::make_model(models::registry(), "resnet18");
  REQUIRE_THROWS_AS(nn::load_state(*target, nn::state_of(*resnet), target->layouts(), "file"), CheckpointError);
  REQUIRE(torch::equal(target->named_parameters()["cls_token"], before));
}

TEST_CASE("The hybrid takes a body's published weights and folds its batch norms", "[models][vit][weights]") {
  const Json part{{"name", "vit_hybrid"}, {"width", 24}, {"depth", 2}, {"heads", 3},
                  {"preprocess", {{"height", 64}, {"width", 32}}}};
  auto model = make(part);
  REQUIRE(model->grid().height == 4);
  REQUIRE(model->grid().width == 2);
  auto body = models::bodies().create("mobilenet_v2", "");
  test::fill_by_formula(*body);
  auto file = nn::state_of(*body);
  file["classifier.1.weight"] = torch::zeros({5, 1280});
  nn::LoadOptions options;
  options.allow_missing_neck = true;
  REQUIRE_THROWS_AS(nn::load_state(*model, file, model->layouts(), "file", options), CheckpointError);
  options.skip = {"cls_token", "pos_embed", "patch_embed.proj.*", "blocks.*", "norm.*"};
  const auto report = nn::load_state(*model, file, model->layouts(), "file", options);
  const auto state = nn::state_of(*model);
  for (const auto& [name, tensor] : nn::state_of(*body)) REQUIRE(torch::equal(state.at("patch_embed.backbone." + name), tensor));
  REQUIRE(report.loaded == static_cast<int64_t>(nn::state_of(*body).size()));
  // Its own state fits, too.
  nn::load_state(*make(part), state, model->layouts(), "file");
  REQUIRE(model->spec().at("body") == Json{{"name", "mobilenet_v2"}, {"last_stride", 1}});
}

TEST_CASE("Wrong options of a vision transformer are refused", "[models][vit]") {
  REQUIRE_THROWS_WITH(make(small({{"heads", 5}})), Catch::Contains("/model/width") && Catch::Contains("24"));
  REQUIRE_THROWS_WITH(make(small({{"preprocess", {{"height", 8}, {"width", 32}}}})), Catch::Contains("patch (16)"));
  REQUIRE_THROWS_AS(make(small({{"drop_path", 1.5}})), ConfigError);
  REQUIRE_THROWS_AS(make(small({{"stride", 0}})), ConfigError);
  REQUIRE_THROWS_WITH(make(small({{"stem", "ics"}, {"stride", 12}})), Catch::Contains("/model/stem") && Catch::Contains("stride 12"));
  REQUIRE_THROWS_WITH(make(small({{"stem", "ics"}, {"patch", 15}, {"stride", 15}})), Catch::Contains("odd side"));
}
