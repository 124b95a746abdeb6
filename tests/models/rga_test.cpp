// SPDX-License-Identifier: Apache-2.0
#include <torch/torch.h>

#include <algorithm>

#include "reid/core/error.hpp"
#include "reid/models/registry.hpp"
#include "reid/models/rga.hpp"
#include "support/catch.hpp"
#include "support/formula_weights.hpp"

using namespace reid;
using models::RgaModule;
using models::RgaModuleOptions;

namespace {

int64_t parameter_count(const torch::nn::Module& module) {
  int64_t count = 0;
  for (const auto& parameter : module.parameters()) count += parameter.numel();
  return count;
}

RgaModuleOptions only(bool spatial, bool channel) {
  RgaModuleOptions options;
  options.spatial = spatial;
  options.channel = channel;
  return options;
}

torch::Tensor parameter(torch::nn::Module& module, const std::string& name) {
  return module.named_parameters()[name];
}

}  // namespace

TEST_CASE("RGA modules have the published number of parameters", "[models][rga]") {
  struct Stage {
    int64_t channels, height, width, spatial, channel;
  };
  for (const auto& stage : {Stage{256, 64, 32, 1082178, 1590994}, Stage{512, 32, 16, 164898, 164898},
                            Stage{1024, 16, 8, 398154, 270754}, Stage{2048, 16, 8, 1578570, 1063650}}) {
    const models::MapSize size{stage.height, stage.width};
    CAPTURE(stage.channels);
    CHECK(parameter_count(RgaModule(stage.channels, size, only(true, false))) == stage.spatial);
    CHECK(parameter_count(RgaModule(stage.channels, size, only(false, true))) == stage.channel);
    CHECK(parameter_count(RgaModule(stage.channels, size, only(true, true))) == stage.spatial + stage.channel);
  }
}

TEST_CASE("RGA-SC on ResNet-50 has 31.40 M parameters with 767 classes", "[models][rga]") {
  const auto model = nn::make_model(models::registry(), "rga_sc");
  const auto plain = nn::make_model(models::registry(), "resnet50");
  REQUIRE(parameter_count(*plain) == 23508032 + 2 * 2048);
  REQUIRE(parameter_count(*model) - parameter_count(*plain) == 6314096);
  REQUIRE(std::llround(static_cast<double>(parameter_count(*model) + 767 * 2048) / 1e4) == 3140);
}

TEST_CASE("A last batch norm of gamma and beta 0 halves the input, once per attention", "[models][rga]") {
  const auto x = test::formula_uniform("x", {2, 16, 4, 4}).to(torch::kFloat32);
  for (const bool joint : {false, true}) {
    RgaModule module(16, {4, 4}, only(true, joint));
    const torch::NoGradGuard no_grad;
    for (const auto* suffix : {"spatial", "channel"}) {
      if (!joint && suffix == std::string("channel")) continue;
      parameter(module, std::string("W_") + suffix + ".4.weight").zero_();
      parameter(module, std::string("W_") + suffix + ".4.bias").zero_();
    }
    REQUIRE(torch::equal(module.forward(x), x / (joint ? 4 : 2)));
  }
}

TEST_CASE("start identity begins as the exact identity, in every order", "[models][rga]") {
  const auto x = test::formula_uniform("x", {2, 16, 4, 4}).to(torch::kFloat32);
  for (const auto order : {models::RgaOrder::sc, models::RgaOrder::cs, models::RgaOrder::parallel}) {
    auto options = only(true, true);
    options.order = order;
    options.start = models::RgaStart::identity;
    options.bn_gamma_uniform = true;
    RgaModule module(16, {4, 4}, options);
    REQUIRE(torch::equal(module.forward(x), x));
    module.eval();
    REQUIRE(torch::equal(module.forward(x), x));
    module.fold_batch_norms();
    REQUIRE(torch::equal(module.forward(x), x));
  }
}

TEST_CASE("bn_gamma_uniform draws the gammas of the modules' batch norms from (0, 1)", "[models][rga]") {
  auto options = only(true, true);
  options.bn_gamma_uniform = true;
  torch::manual_seed(1);
  RgaModule drawn(64, {8, 8}, options);
  RgaModule ones(64, {8, 8}, only(true, true));
  const auto gamma = parameter(drawn, "gx_spatial.1.weight");
  REQUIRE(gamma.min().item<float>() >= 0);
  REQUIRE(gamma.max().item<float>() < 1);
  REQUIRE(gamma.std().item<float>() > 0.05);
  REQUIRE(parameter(ones, "gx_spatial.1.weight").eq(1).all().item<bool>());
}

TEST_CASE("The attention of a 2x2 map with one channel, by hand", "[models][rga]") {
  // S = 4, C = 1, Ci = Si = 1, evaluation mode with running mean 0, variance 1 - eps and gamma 1: batch norms do nothing.
  //   theta_p = x_p, phi_p = 2 x_p, u_p = x_p;  channel q of block 1 at p is theta_p phi_q, of block 2 theta_q phi_p
  //   w_in = (1, 0, 0, 0), w_out = (0, 0, 0, 1):  R_p = theta_p phi_0 + theta_3 phi_p = 2 x_p (x_0 + x_3)
  // With x = (1, 2, 3, 4): R = (10, 20, 30, 40). Head: hidden = 0.1 u + 0.01 R, logit = hidden - 0.5.
  auto options = only(true, false);
  options.relation = GENERATE(ops::RelationPath::dense, ops::RelationPath::factored);
  RgaModule module(1, {2, 2}, options);
  module.to(torch::kFloat64);
  const torch::NoGradGuard no_grad;
  for (auto& buffer : module.named_buffers()) {
    if (buffer.key().find("running_var") != std::string::npos) buffer.value().fill_(1 - 1e-5);
  }
  const auto set = [&](const std::string& name, const std::vector<double>& values) {
    auto tensor = parameter(module, name);
    tensor.copy_(torch::tensor(values, torch::kFloat64).view(tensor.sizes()));
  };
  set("theta_spatial.0.weight", {1});
  set("phi_spatial.0.weight", {2});
  set("gx_spatial.0.weight", {1});
  set("gg_spatial.0.weight", {1, 0, 0, 0, 0, 0, 0, 1});
  set("W_spatial.0.weight", {0.1, 0.01});
  set("W_spatial.3.weight", {1});
  set("W_spatial.4.bias", {-0.5});
  module.eval();
  const auto x = torch::tensor({1., 2., 3., 4.}, torch::kFloat64).view({1, 1, 2, 2});
  torch::Tensor map;
  const auto y = module.forward(x, &map);
  const auto logits = torch::tensor({0.1 + 0.1, 0.2 + 0.2, 0.3 + 0.3, 0.4 + 0.4}, torch::kFloat64) - 0.5;
  REQUIRE(test::relative_error(map.flatten(), logits.sigmoid()) < 1e-12);
  REQUIRE(test::relative_error(y.flatten(), logits.sigmoid() * x.flatten()) < 1e-12);
}

TEST_CASE("Directions and own feature change the parameters and the result as they say", "[models][rga]") {
  const int64_t channels = 16;
  const models::MapSize size{4, 6};
  const auto x = test::formula_uniform("x", {2, channels, 4, 6});
  for (const bool spatial : {true, false}) {
    const std::string suffix = spatial ? "_spatial" : "_channel";
    const int64_t nodes = spatial ? 24 : channels;
    const auto make = [&](models::RgaDirections directions, ops::RelationPath path) {
      auto options = only(spatial, !spatial);
      options.directions = directions;
      options.relation = path;
      options.channel_ratio = options.spatial_ratio = 4;
      options.head_ratio = 2;
      auto module = std::make_unique<RgaModule>(channels, size, options);
      module->to(torch::kFloat64);
      test::fill_by_formula(*module);
      return module;
    };
    auto both = make(models::RgaDirections::both, ops::RelationPath::dense);
    const torch::NoGradGuard no_grad;
    const auto weight = parameter(*both, "gg" + suffix + ".0.weight");
    for (const auto directions : {models::RgaDirections::in, models::RgaDirections::out}) {
      const int64_t first = directions == models::RgaDirections::in ? 0 : nodes;
      // A module of both directions whose other half is zero must agree.
      auto reference = make(models::RgaDirections::both, ops::RelationPath::dense);
      auto masked = torch::zeros_like(weight);
      masked.narrow(1, first, nodes).copy_(weight.narrow(1, first, nodes));
      parameter(*reference, "gg" + suffix + ".0.weight").copy_(masked);
      for (const auto path : {ops::RelationPath::dense, ops::RelationPath::factored, ops::RelationPath::automatic}) {
        auto one = make(directions, path);
        auto half = parameter(*one, "gg" + suffix + ".0.weight");
        REQUIRE(half.size(1) == nodes);
        half.copy_(weight.narrow(1, first, nodes));
        REQUIRE(test::relative_error(one->forward(x), reference->forward(x)) < 1e-10);
      }
      REQUIRE(test::relative_error(reference->forward(x), both->forward(x)) > 1e-6);
    }
    auto options = only(spatial, !spatial);
    options.own_feature = false;
    RgaModule without(channels, size, options);
    REQUIRE_FALSE(without.named_parameters().contains("gx" + suffix + ".0.weight"));
    REQUIRE(without.forward(x.to(torch::kFloat32)).sizes() == x.sizes());
  }
}

TEST_CASE("Orders: parallel uses the input for both attentions, cs swaps them", "[models][rga]") {
  const auto x = test::formula_uniform("x", {2, 16, 4, 4});
  const auto make = [&](bool spatial, bool channel, models::RgaOrder order) {
    auto options = only(spatial, channel);
    options.order = order;
    auto module = std::make_shared<RgaModule>(16, models::MapSize{4, 4}, options);
    module->to(torch::kFloat64);
    test::fill_by_formula(*module);
    module->eval();
    return module;
  };
  const torch::NoGradGuard no_grad;
  auto s = make(true, false, models::RgaOrder::sc), c = make(false, true, models::RgaOrder::sc);
  const auto sc = make(true, true, models::RgaOrder::sc)->forward(x);
  const auto cs = make(true, true, models::RgaOrder::cs)->forward(x);
  const auto parallel = make(true, true, models::RgaOrder::parallel)->forward(x);
  REQUIRE(test::relative_error(sc, c->forward(s->forward(x))) < 1e-12);
  REQUIRE(test::relative_error(cs, s->forward(c->forward(x))) < 1e-12);
  REQUIRE(test::relative_error(parallel, s->forward(x) * c->forward(x) / x) < 1e-10);
  REQUIRE(test::relative_error(sc, cs) > 1e-6);
}

TEST_CASE("Memory order of the map and the relation's path change nothing but rounding", "[models][rga]") {
  const auto x = test::formula_uniform("map", {3, 32, 16, 8});  // float64
  const auto outer = test::formula_uniform("outer", {3, 32, 16, 8});
  struct Outcome {
    torch::Tensor y, x_gradient, theta_gradient, relation_gradient, running, evaluated, folded;
  };
  const auto run = [&](torch::ScalarType type, torch::MemoryFormat format, ops::RelationPath path) {
    RgaModuleOptions options;
    options.relation = path;
    RgaModule module(32, models::MapSize{16, 8}, options);
    module.to(torch::kFloat64);
    test::fill_by_formula(module);
    module.to(type);
    module.train();
    const auto own = x.to(type).contiguous(format).clone().requires_grad_();
    Outcome result;
    result.y = module.forward(own);
    result.y.backward(outer.to(type).contiguous(format));
    result.x_gradient = own.grad();
    result.theta_gradient = parameter(module, "theta_channel.0.weight").grad();
    result.relation_gradient = parameter(module, "gg_spatial.0.weight").grad();
    result.running = module.named_buffers()["phi_channel.1.running_var"].clone();
    const torch::NoGradGuard no_grad;
    module.eval();
    result.evaluated = module.forward(own);
    module.fold_batch_norms();
    result.folded = module.forward(own);
    return result;
  };
  const auto expected = run(torch::kFloat64, torch::MemoryFormat::Contiguous, ops::RelationPath::dense);
  for (const auto type : {torch::kFloat64, torch::kFloat32}) {
    for (const auto format : {torch::MemoryFormat::Contiguous, torch::MemoryFormat::ChannelsLast}) {
      for (const auto path : {ops::RelationPath::dense, ops::RelationPath::factored}) {
        CAPTURE(c10::toString(type), static_cast<int>(format), enum_name(path));
        const auto got = run(type, format, path);
        const double limit = type == torch::kFloat64 ? 1e-10 : 2e-4;
        REQUIRE(got.y.is_contiguous(format));
        if (path == ops::RelationPath::factored) REQUIRE(got.x_gradient.is_contiguous(format));
        REQUIRE(test::relative_error(got.y, expected.y) < limit);
        REQUIRE(test::relative_error(got.x_gradient, expected.x_gradient) < limit);
        REQUIRE(test::relative_error(got.theta_gradient, expected.theta_gradient) < limit);
        REQUIRE(test::relative_error(got.relation_gradient, expected.relation_gradient) < limit);
        REQUIRE(test::relative_error(got.running, expected.running) < limit);
        REQUIRE(test::relative_error(got.evaluated, expected.evaluated) < limit);
        REQUIRE(test::relative_error(got.folded, expected.evaluated) < std::max(limit, 1e-4));
      }
    }
  }
}

TEST_CASE("Modules check their input and stand only where stages says", "[models][rga]") {
  RgaModule module(16, {4, 4}, only(true, true));
  REQUIRE_THROWS_WITH(module.forward(torch::zeros({1, 16, 4, 8})),
                      Catch::Contains("[B, 16, 4, 4]") && Catch::Contains("[1, 16, 4, 8]"));
  const Json part{{"name", "rga_s"},
                  {"body", {{"name", "mobilenet_v2"}, {"last_stride", 2}}},
                  {"stages", {false, true, false, true}},
                  {"preprocess", {{"height", 72}, {"width", 40}}}};
  auto model = nn::make_model(models::registry(), part);
  const auto names = model->named_children();
  REQUIRE_FALSE(names.contains("rga_att1"));
  REQUIRE(names.contains("rga_att2"));
  REQUIRE_FALSE(names.contains("rga_att3"));
  REQUIRE(names.contains("rga_att4"));
  model->eval();
  const auto output = model->encode_image(torch::zeros({1, 3, 72, 40}), nn::want_maps);
  REQUIRE(output.maps.size() == 2);
  REQUIRE(output.maps[0].sizes() == torch::IntArrayRef({1, 1, 9, 5}));
  REQUIRE(output.maps[1].sizes() == torch::IntArrayRef({1, 1, 3, 2}));
  REQUIRE(model->spec().at("body") == Json{{"name", "mobilenet_v2"}, {"last_stride", 2}});
  REQUIRE_THROWS_WITH(nn::make_model(models::registry(), {{"name", "rga_s"}, {"body", "vgg"}}, "/model"),
                      Catch::Contains("/model/body") && Catch::Contains("resnet50"));
  REQUIRE_THROWS_AS(nn::make_model(models::registry(), {{"name", "rga_s"}, {"stages", {false, false, false, false}}}),
                    ConfigError);
}

TEST_CASE("Maps are the attention that multiplied the features", "[models][rga]") {
  auto options = only(true, false);
  RgaModule module(16, {4, 4}, options);
  module.eval();
  const auto x = test::formula_uniform("x", {3, 16, 4, 4}).to(torch::kFloat32);
  torch::Tensor map;
  const auto y = module.forward(x, &map);
  REQUIRE(torch::equal(y, x * map));
}

TEST_CASE("A large batch is attended to in parts, whose results are the pictures' own", "[models][rga]") {
  const auto x = test::formula_uniform("x", {6, 256, 64, 32}).contiguous(torch::MemoryFormat::ChannelsLast);
  const auto large = torch::cat({x, x.flip(0)});  // 12 pictures of 2^19 values: 8 and 4
  for (const auto& options : {only(true, true), only(true, false), only(false, true)}) {
    for (const auto order : {models::RgaOrder::sc, models::RgaOrder::cs, models::RgaOrder::parallel}) {
      if (order != models::RgaOrder::sc && !(options.spatial && options.channel)) continue;
      auto ordered = options;
      ordered.order = order;
      RgaModule module(256, {64, 32}, ordered);
      module.to(torch::kFloat64);
      test::fill_by_formula(module);
      module.eval();
      CAPTURE(options.spatial, options.channel, static_cast<int>(order));
      torch::Tensor map, own;
      const auto before = large.clone();
      const auto whole = module.forward(large, &map);  // at once: its gradient may be asked for
      const torch::NoGradGuard no_grad;
      const auto y = module.forward(large, &own);
      REQUIRE(torch::equal(large, before));
      REQUIRE(y.is_contiguous(torch::MemoryFormat::ChannelsLast));
      REQUIRE(test::relative_error(y, whole) < 1e-12);
      REQUIRE(own.defined() == options.spatial);
      if (options.spatial) REQUIRE(test::relative_error(own, map) < 1e-12);
      REQUIRE(test::relative_error(y.narrow(0, 9, 1), module.forward(x.narrow(0, 2, 1))) < 1e-12);
    }
  }
}
