// SPDX-License-Identifier: Apache-2.0
#include "reid/losses/x_reid.hpp"

#include <torch/torch.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>
#include <string>

#include "gradcheck.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/losses/losses.hpp"
#include "reid/models/registry.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"
#include "support/tiny_model.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using losses::XReid;

namespace {

constexpr int64_t kWidth = 12;
constexpr int64_t kTokens = 5;

/// A network whose pictures are its tokens, [N, 1, L, D], so that gradients can be looked at right there.
class TokenModel : public nn::Model, public nn::TransformerEncoder {
 public:
  explicit TokenModel(int64_t blocks = 2) {
    nn::TransformerOptions options;
    options.width = kWidth;
    options.heads = 3;
    options.hidden = 16;
    for (int64_t i = 0; i < blocks; ++i) {
      blocks_.push_back(register_module("block" + std::to_string(i), std::make_shared<nn::TransformerBlock>(options)));
      // Larger than at the start of a training, so that attention says something.
      const torch::NoGradGuard no_grad;
      for (auto& parameter : blocks_.back()->parameters()) {
        if (parameter.dim() == 2) parameter.mul_(15);
      }
    }
    norm_ = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({kWidth})));
    bottleneck_ = register_module("bottleneck", torch::nn::BatchNorm1d(kWidth));
  }
  nn::ModelOutput encode_image(const torch::Tensor& images, uint32_t want) override {
    nn::ModelOutput output;
    const auto tokens = images.squeeze(1) * scale_;
    output.embedding = norm_(tokens.select(1, 0));
    if ((want & nn::want_neck) != 0) output.neck = bottleneck_(output.embedding);
    if ((want & nn::want_tokens) != 0) output.tokens = tokens;
    return output;
  }
  const PreprocessOptions& preprocess() const override { return preprocess_; }
  int64_t embedding_size() const override { return kWidth; }
  nn::Feature feature() const override { return nn::Feature::before_neck; }
  std::vector<nn::StateLayout> layouts() const override { return {}; }
  const std::vector<std::shared_ptr<nn::TransformerBlock>>& encoder_blocks() const override { return blocks_; }
  torch::nn::LayerNorm final_norm() const override { return norm_; }

 private:
  PreprocessOptions preprocess_;
  torch::Tensor scale_ = register_parameter("scale", torch::ones({1}));
  std::vector<std::shared_ptr<nn::TransformerBlock>> blocks_;
  torch::nn::LayerNorm norm_{nullptr};
  torch::nn::BatchNorm1d bottleneck_{nullptr};
};

Batch batch_of(const std::vector<int64_t>& identities) {
  Batch batch;
  const auto n = static_cast<int64_t>(identities.size());
  batch.images = torch::randn({n, 1, kTokens, kWidth}, torch::kFloat64);
  batch.identities = torch::tensor(identities, torch::kInt64);
  batch.index = torch::arange(n);
  return batch;
}

Progress full_ramp() {
  Progress progress;
  progress.steps_per_epoch = 1;
  progress.step = 1000;
  return progress;
}

std::shared_ptr<nn::Objective> make(Json part, nn::Model& model, int64_t identities = 4) {
  part["name"] = "x_reid";
  if (!part.contains("classifier_std")) part["classifier_std"] = 0.5;
  auto objective = losses::objectives().create(part, "/objective", model, nn::TrainingFacts{identities, 0});
  objective->to(torch::kFloat64);
  return objective;
}

std::map<std::string, double> values(const nn::ObjectiveResult& result) {
  std::map<std::string, double> named{{"total", result.total.item<double>()}};
  for (const auto& [name, value] : result.parts) named[name] = value.item<double>();
  return named;
}

const std::vector<int64_t> kLabels{0, 0, 0, 1, 1, 1};

/// The values of a new TokenModel in double with fixed weights.
struct Scene {
  Scene() { model.to(torch::kFloat64); }
  bool seeded = (torch::manual_seed(5), true);  // before anything else is drawn
  TokenModel model;
  Batch batch = batch_of(kLabels);
};

}  // namespace

TEST_CASE("mining takes the farthest of the identity and the nearest of another", "[losses][x_reid]") {
  // On a line: identity 0 at 0, 1, 5; identity 1 at 2, 9.
  const auto features = torch::tensor({0.0, 1.0, 5.0, 2.0, 9.0}).unsqueeze(1);
  const auto labels = torch::tensor({0, 0, 0, 1, 1}, torch::kInt64);
  const auto got = losses::find_extremes(features, labels);
  REQUIRE(torch::equal(got.positive, torch::tensor({2, 2, 0, 4, 3}, torch::kInt64)));
  REQUIRE(torch::equal(got.negative, torch::tensor({3, 3, 3, 1, 2}, torch::kInt64)));
  // Equal features: still never oneself, never of the same label.
  const auto same = losses::find_extremes(torch::ones({5, 3}), labels);
  for (int64_t i = 0; i < 5; ++i) {
    const auto p = same.positive[i].item<int64_t>(), n = same.negative[i].item<int64_t>();
    REQUIRE(p != i);
    REQUIRE(labels[p].item<int64_t>() == labels[i].item<int64_t>());
    REQUIRE(labels[n].item<int64_t>() != labels[i].item<int64_t>());
  }
}

TEST_CASE("attention rows sum to 1 and are one half each for equal images", "[losses][x_reid]") {
  Scene scene;
  for (const int64_t depth : {1, 2}) {
    losses::CrossBlock block(scene.model, losses::CrossStart::last_blocks, depth);
    block.to(torch::kFloat64);
    const auto tokens = scene.batch.images.squeeze(1);
    const auto anchors = torch::tensor({0, 4}, torch::kInt64);
    const auto images = torch::tensor({{1, 3}, {5, 2}}, torch::kInt64);
    for (const auto kind : {losses::CrossBlock::Attention::cls, losses::CrossBlock::Attention::all}) {
      const auto out = block.forward(tokens, block.project(tokens), anchors, images, {}, kind);
      REQUIRE(out.response.sizes() == torch::IntArrayRef({2, 2}));
      REQUIRE((out.response.sum(1) - 1).abs().max().item<double>() < 1e-12);
      REQUIRE((out.response - 0.5).abs().max().item<double>() > 1e-3);
      REQUIRE((out.map.sum({2, 3}) - 1).abs().max().item<double>() < 1e-12);
      auto twins = tokens.clone();
      twins[3] = twins[1];
      const auto half = block.forward(twins, block.project(twins), anchors.narrow(0, 0, 1), images.narrow(0, 0, 1), {}, kind);
      REQUIRE((half.response == 0.5).all().item<bool>());
      // What isn't asked for isn't computed, and the feature is the same.
      const auto bare = block.forward(tokens, block.project(tokens), anchors, images);
      REQUIRE_FALSE(bare.response.defined());
      REQUIRE((bare.feature - out.feature).abs().max().item<double>() < 1e-12);
    }
  }
}

TEST_CASE("masked images are as if they weren't there", "[losses][x_reid]") {
  Scene scene;
  losses::CrossBlock block(scene.model, losses::CrossStart::last_blocks, 2);
  block.to(torch::kFloat64);
  const auto tokens = scene.batch.images.squeeze(1);
  const auto anchors = torch::tensor({0}, torch::kInt64);
  const auto mask = torch::tensor({{true, false, true}});
  const auto masked = block.forward(tokens, block.project(tokens), anchors, torch::tensor({{1, 0, 2}}, torch::kInt64), mask,
                                    losses::CrossBlock::Attention::cls);
  const auto without = block.forward(tokens, block.project(tokens), anchors, torch::tensor({{1, 2}}, torch::kInt64));
  REQUIRE((masked.feature - without.feature).abs().max().item<double>() < 1e-12);
  REQUIRE(masked.response[0][1].item<double>() == 0);
}

TEST_CASE("the cross block begins as the encoder's last block and has its size", "[losses][x_reid]") {
  Scene scene;
  const auto objective = make(Json::object(), scene.model);
  const auto own = objective->named_parameters();
  for (const auto& parameter : scene.model.encoder_blocks().back()->named_parameters()) {
    REQUIRE(torch::equal(own["cross.blocks.0." + parameter.key()], parameter.value()));
  }
  REQUIRE(torch::equal(own["cross.norm.weight"], scene.model.final_norm()->weight));
  const auto two = make({{"depth", 2}}, scene.model)->named_parameters();
  REQUIRE(torch::equal(two["cross.blocks.0.attn.qkv.weight"],
                       scene.model.encoder_blocks()[0]->named_parameters()["attn.qkv.weight"]));
  REQUIRE_FALSE(torch::equal(make({{"start", "random"}}, scene.model)->named_parameters()["cross.blocks.0.attn.qkv.weight"],
                             own["cross.blocks.0.attn.qkv.weight"]));
  // Shared with the encoder: no weights of its own, so that the optimizer sees each once.
  for (const auto& parameter : make({{"start", "encoder"}}, scene.model)->named_parameters()) {
    REQUIRE(parameter.key().rfind("cross.", 0) != 0);
  }
}

TEST_CASE("a cross block that begins as the mean adds it", "[losses][x_reid]") {
  Scene scene;
  for (auto& parameter : scene.model.encoder_blocks().back()->parameters()) {
    const torch::NoGradGuard no_grad;
    parameter.add_(torch::randn_like(parameter) * 0.1);  // biases and norms too
  }
  for (const int64_t depth : {1, 2}) {
    losses::CrossBlock block(scene.model, losses::CrossStart::mean, depth);
    block.to(torch::kFloat64);
    const auto tokens = scene.batch.images.squeeze(1);
    const auto anchors = torch::tensor({0, 4}, torch::kInt64);
    const auto images = torch::tensor({1, 2, 3, 5}, torch::kInt64).view({2, 2});
    const auto feature = block.forward(tokens, block.project(tokens), anchors, images).feature;
    const auto normed = (tokens - tokens.mean(-1, true)) / (tokens.var(-1, false, true) + 1e-6).sqrt();
    const auto mean = normed.index_select(0, images.flatten()).view({2, 2 * kTokens, kWidth}).mean(1);
    const auto expected = scene.model.final_norm()(tokens.select(1, 0).index_select(0, anchors) + depth * mean);
    REQUIRE((feature - expected).abs().max().item<double>() < 1e-9);
  }
}

TEST_CASE("the total is the sum of its parts with weights and ramp", "[losses][x_reid]") {
  Scene scene;
  const auto objective = make({{"lambda_intra", 0.5}, {"lambda_inter", 2}, {"ramp_epochs", 4}, {"triplet_weight", 0.25}}, scene.model);
  for (const auto& [step, share] : std::map<int64_t, double>{{0, 0.0}, {10, 0.25}, {40, 1.0}, {90, 1.0}}) {
    Progress progress;
    progress.steps_per_epoch = 10;
    progress.step = step;
    const auto v = values(objective->compute(scene.model, scene.batch, progress));
    const double intra = v.at("intra_cross_entropy") + 0.25 * v.at("intra_triplet") + v.at("intra_kl") + v.at("intra_feature");
    const double inter = v.at("inter_attention") + v.at("inter_cross_entropy");
    REQUIRE(v.at("total") == Approx(v.at("cross_entropy") + 0.25 * v.at("triplet") + share * (0.5 * intra + 2 * inter)));
    REQUIRE(v.at("anchors") == 1);
    REQUIRE(v.at("r_pos") > 0);
    REQUIRE(v.at("r_pos") < 1);
  }
}

TEST_CASE("before its epoch a warm start is the baseline, then the blocks are the encoder's of that moment", "[losses][x_reid]") {
  Scene scene;
  const auto objective = make({{"ramp_from", 3}, {"ramp_epochs", 2}, {"inter_block", "own"}, {"teacher_ema", 0.5}}, scene.model);
  Progress progress;
  progress.steps_per_epoch = 10;
  progress.epoch = 2;
  progress.step = 27;  // samplers give fewer batches than was reckoned
  const auto before = values(objective->compute(scene.model, scene.batch, progress));
  CHECK(before.size() == 5);
  CHECK(before.at("total") == Approx(before.at("cross_entropy") + before.at("triplet")));
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : scene.model.encoder_blocks().back()->parameters()) parameter.add_(0.01);
  }
  const auto equal = [&](const std::string& block) {
    bool same = true;
    const auto copies = objective->named_parameters();
    for (const auto& item : scene.model.encoder_blocks().back()->named_parameters()) {
      same = same && copies[block + ".blocks.0." + item.key()].equal(item.value());
    }
    return same;
  };
  CHECK_FALSE(equal("cross"));
  progress.epoch = 3;
  progress.step = 28;
  const auto first = values(objective->compute(scene.model, scene.batch, progress));
  CHECK(equal("cross"));
  CHECK(equal("cross_inter"));
  CHECK(first.contains("r_pos"));
  CHECK(first.at("total") == Approx(first.at("cross_entropy") + first.at("triplet")));
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : scene.model.encoder_blocks().back()->parameters()) parameter.add_(0.01);
  }
  progress.epoch = 4;
  progress.step = 38;  // halfway up
  const auto half = values(objective->compute(scene.model, scene.batch, progress));
  CHECK_FALSE(equal("cross"));
  REQUIRE(objective->named_buffers()["begun"].item<int64_t>() == 28);
  const double intra = half.at("intra_cross_entropy") + half.at("intra_triplet") + half.at("intra_kl") + half.at("intra_feature");
  const double inter = half.at("inter_attention") + half.at("inter_cross_entropy");
  CHECK(half.at("total") == Approx(half.at("cross_entropy") + half.at("triplet") + 0.5 * (intra + inter)));
}

TEST_CASE("IntraX and InterX equal their formulas written out", "[losses][x_reid]") {
  Scene scene;
  for (const bool self : {false, true}) {
    const auto objective = make({{"kv_includes_self", self}}, scene.model);
    const auto p = objective->named_parameters();
    const auto v = values(objective->compute(scene.model, scene.batch, full_ramp()));
    const auto tokens = scene.batch.images.squeeze(1);
    auto block = scene.model.encoder_blocks().back();  // the cross block is its copy
    const auto f = scene.model.final_norm()->forward(tokens.select(1, 0));
    const auto norm = [&](const torch::Tensor& x) {
      return (x - x.mean(0)) / (x.var(0, false) + 1e-5).sqrt();
    };
    const auto logits = [&](const torch::Tensor& x) { return torch::matmul(norm(x), p["classifier"].t()); };
    const auto cross = [&](int64_t anchor, const std::vector<int64_t>& others, torch::Tensor* attention) {
      const auto source = tokens.index_select(0, torch::tensor(others, torch::kInt64)).reshape({1, -1, kWidth});
      const auto a = block->cross(tokens.narrow(0, anchor, 1), block->keys_values(source), {}, attention);
      return scene.model.final_norm()->forward(a.select(1, 0));
    };
    std::vector<torch::Tensor> g, o;
    double attention_loss = 0, response = 0;
    for (int64_t i = 0; i < 6; ++i) {
      std::vector<int64_t> others;
      if (self) others.push_back(i);
      for (int64_t j = 3 * (i / 3); j < 3 * (i / 3) + 3; ++j) {
        if (j != i) others.push_back(j);
      }
      g.push_back(cross(i, others, nullptr));
      int64_t far = -1, near = -1;
      for (int64_t j = 0; j < 6; ++j) {
        const auto distance = [&](int64_t k) { return (f[i] - f[k]).norm().item<double>(); };
        if (j / 3 == i / 3 && j != i && (far < 0 || distance(j) > distance(far))) far = j;
        if (j / 3 != i / 3 && (near < 0 || distance(j) < distance(near))) near = j;
      }
      torch::Tensor attention;
      o.push_back(cross(i, self ? std::vector<int64_t>{far, near, i} : std::vector<int64_t>{far, near}, &attention));
      const auto mass = attention.select(2, 0).mean(1).view({-1, kTokens}).sum(1);  // by image
      const double share = mass[0].item<double>() / (mass[0] + mass[1]).item<double>();
      response += share / 6;
      attention_loss -= std::log(share + 1e-6) / 6;
    }
    const auto gs = torch::cat(g), os = torch::cat(o);
    const auto entropy = [&](const torch::Tensor& z) {
      return torch::nn::functional::cross_entropy(z, scene.batch.identities).item<double>();
    };
    REQUIRE(v.at("cross_entropy") == Approx(entropy(logits(f))).epsilon(1e-9));
    double similarity = 0;
    for (int64_t i = 0; i < 3; ++i) {
      for (int64_t j = 3; j < 6; ++j) similarity += (f[i] * f[j]).sum().item<double>() / (f[i].norm() * f[j].norm()).item<double>() / 9;
    }
    REQUIRE(v.at("similarity") == Approx(similarity).epsilon(1e-9));
    REQUIRE(v.at("intra_cross_entropy") == Approx(entropy(logits(gs))).epsilon(1e-9));
    REQUIRE(v.at("inter_cross_entropy") == Approx(entropy(logits(os))).epsilon(1e-9));
    REQUIRE(v.at("inter_attention") == Approx(attention_loss).epsilon(1e-9));
    REQUIRE(v.at("r_pos") == Approx(response).epsilon(1e-9));
    const auto pg = torch::softmax(logits(gs) / 2, 1), pf = torch::softmax(logits(f) / 2, 1);
    REQUIRE(v.at("intra_kl") == Approx(4 * (pg * (pg.log() - pf.log())).sum(1).mean().item<double>()).epsilon(1e-9));
    const auto cosine = (f * gs).sum(1) / (f.norm(2, 1) * gs.norm(2, 1));
    REQUIRE(v.at("intra_feature") == Approx((1 - cosine).mean().item<double>()).epsilon(1e-9));
  }
}

TEST_CASE("gradients of both modules are those of their values", "[losses][x_reid]") {
  for (const auto& part : std::vector<Json>{
           {{"intra", "supervision"}, {"inter", "off"}},
           {{"intra", "supervision"}, {"inter", "off"}, {"depth", 2}, {"kv_includes_self", true}, {"tokens", "after_norm"}},
           {{"intra", "off"}, {"inter", "full"}},
           {{"intra", "off"}, {"inter", "attention"}, {"queries", "all"}, {"depth", 2}},
           {{"intra", "off"}, {"inter", "attention"}, {"response", "hinge"}, {"margin", 0.9}, {"kv_includes_self", true}}}) {
    CAPTURE(part.dump());
    Scene scene;
    const auto objective = make(part, scene.model);
    const auto loss = [&](const torch::Tensor& images) {
      auto batch = scene.batch;
      batch.images = images;
      return objective->compute(scene.model, batch, full_ramp()).total;
    };
    REQUIRE(test::gradient_error(loss, scene.batch.images) < 1e-6);
  }
  // The transfer, towards the student.
  torch::manual_seed(8);
  const auto teacher = torch::randn({4, 5}, torch::kFloat64);
  const auto student = torch::randn({4, 5}, torch::kFloat64);
  REQUIRE(test::gradient_error([&](const torch::Tensor& x) { return losses::transfer_kl(x, teacher, 2); }, student) < 1e-6);
  REQUIRE(test::gradient_error([&](const torch::Tensor& x) { return losses::transfer_cosine(x, teacher); }, student) < 1e-6);
  REQUIRE(losses::transfer_kl(teacher, teacher, 2).item<double>() == Approx(0).margin(1e-14));
}

TEST_CASE("the transfer gives no gradient to the branch that teaches", "[losses][x_reid]") {
  torch::manual_seed(9);
  auto student = torch::randn({4, 5}, torch::kFloat64).requires_grad_();
  auto teacher = torch::randn({4, 5}, torch::kFloat64).requires_grad_();
  (losses::transfer_kl(student, teacher, 2) + losses::transfer_cosine(student, teacher)).backward();
  REQUIRE(student.grad().abs().max().item<double>() > 0);
  REQUIRE_FALSE(teacher.grad().defined());
  // In the whole objective: with the transfer and without it, the cross block's gradients are the same.
  std::map<std::string, std::vector<torch::Tensor>> gradients;
  for (const auto* transfer : {"none", "kl_cos", "kl_triplet", "mse"}) {
    Scene scene;
    torch::manual_seed(10);
    const auto objective = make({{"transfer", transfer}, {"inter", "off"}, {"classifier", "own"}}, scene.model);
    objective->compute(scene.model, scene.batch, full_ramp()).total.backward();
    for (const auto& parameter : objective->named_parameters()) {
      if (parameter.key() == "classifier" || !parameter.value().requires_grad()) continue;
      CAPTURE(parameter.key());
      REQUIRE(parameter.value().grad().defined());
      gradients[transfer].push_back(parameter.value().grad());
    }
  }
  REQUIRE(gradients["none"].size() == 16);  // block 12, norm 2, the own classifier and the neck
  for (std::size_t i = 0; i < gradients["none"].size(); ++i) {
    for (const auto* transfer : {"kl_cos", "kl_triplet", "mse"}) {
      // Sums of the same terms, perhaps in another order.
      const auto error = (gradients["none"][i] - gradients[transfer][i]).abs().max().item<double>();
      REQUIRE(error < 1e-12 * std::max(1.0, gradients["none"][i].abs().max().item<double>()));
    }
  }
}

TEST_CASE("detached keys leave queries as the only way to the encoder", "[losses][x_reid]") {
  std::map<bool, torch::Tensor> gradient;
  for (const bool detach : {false, true}) {
    Scene scene;
    const auto objective = make({{"detach_kv", detach}, {"inter", "attention"}, {"intra", "off"}}, scene.model);
    auto images = scene.batch.images.clone().requires_grad_();
    auto batch = scene.batch;
    batch.images = images;
    objective->compute(scene.model, batch, full_ramp()).total.backward();
    gradient[detach] = images.grad().squeeze(1);
    // Keys' weights still learn.
    REQUIRE(objective->named_parameters()["cross.blocks.0.attn.qkv.weight"].grad().narrow(0, kWidth, kWidth).abs().max().item<double>() > 0);
  }
  REQUIRE(gradient[true].narrow(1, 1, kTokens - 1).abs().max().item<double>() == 0);
  REQUIRE(gradient[true].select(1, 0).abs().max().item<double>() > 0);
  REQUIRE(gradient[false].narrow(1, 1, kTokens - 1).abs().max().item<double>() > 0);
}

TEST_CASE("with detached keys and anchors the encoder learns from the base and the transfer alone", "[losses][x_reid]") {
  const auto gradient = [](const Json& options) {
    Scene scene;
    const auto objective = make(options, scene.model);
    auto batch = scene.batch;
    batch.images = scene.batch.images.clone().requires_grad_();
    objective->compute(scene.model, batch, full_ramp()).total.backward();
    if (options.contains("detach_anchor")) {  // the block learns all the same
      REQUIRE(objective->named_parameters()["cross.blocks.0.attn.qkv.weight"].grad().abs().max().item<double>() > 0);
    }
    return batch.images.grad();
  };
  const auto base = gradient({{"intra", "off"}, {"inter", "off"}});
  const auto silent = gradient({{"detach_kv", true}, {"detach_anchor", true}, {"transfer", "none"}});
  REQUIRE((silent - base).abs().max().item<double>() < 1e-12 * base.abs().max().item<double>());
  const auto taught = gradient({{"detach_kv", true}, {"detach_anchor", true}});
  REQUIRE((taught - base).abs().max().item<double>() > 1e-6 * base.abs().max().item<double>());
}

TEST_CASE("every switch changes what is computed", "[losses][x_reid]") {
  std::set<std::string> seen;
  for (const auto& part : std::vector<Json>{Json::object(),
                                            {{"partners", "one"}},
                                            {{"depth", 2}},
                                            {{"start", "random"}},
                                            {{"kv_includes_self", true}},
                                            {{"tokens", "after_norm"}},
                                            {{"transfer", "kl"}},
                                            {{"transfer", "kl_triplet"}},
                                            {{"transfer", "mse"}},
                                            {{"transfer", "none"}},
                                            {{"temperature", 1}},
                                            {{"compact_center", true}},
                                            {{"response", "hinge"}},
                                            {{"response", "hinge"}, {"margin", 0.8}},
                                            {{"queries", "all"}},
                                            {{"intra", "off"}},
                                            {{"intra", "supervision"}, {"temperature", 3}},
                                            {{"inter", "off"}},
                                            {{"inter", "attention"}},
                                            {{"lambda_intra", 2}},
                                            {{"lambda_inter", 2}},
                                            {{"label_smoothing", 0.1}},
                                            {{"triplet_margin", 0.3}},
                                            {{"triplet_weight", 2}},
                                            {{"classifier", "own"}}}) {
    CAPTURE(part.dump());
    Scene scene;
    torch::manual_seed(11);
    const auto objective = make(part, scene.model);
    const auto result = objective->compute(scene.model, scene.batch, full_ramp());
    REQUIRE(std::isfinite(result.total.item<double>()));
    const bool repeated = part.value("intra", "") == "supervision";  // the same as no transfer, whatever its temperature
    REQUIRE(seen.insert(std::to_string(result.total.item<double>())).second != repeated);
    result.total.backward();
    for (const auto& parameter : objective->named_parameters()) {
      CAPTURE(parameter.key());
      if (!parameter.value().requires_grad()) continue;
      // The attention alone reaches neither values' head nor MLP.
      REQUIRE((parameter.value().grad().defined() || part.value("inter", "") == "attention"));
    }
  }
  Scene scene;
  const auto own = make({{"inter_block", "own"}}, scene.model);
  REQUIRE(own->named_parameters().contains("cross_inter.blocks.0.attn.qkv.weight"));
  own->compute(scene.model, scene.batch, full_ramp()).total.backward();
  REQUIRE(own->named_parameters()["cross_inter.blocks.0.attn.qkv.weight"].grad().abs().max().item<double>() > 0);
}

TEST_CASE("compact centres are the means of an identity", "[losses][x_reid]") {
  // All three g of an identity being equal to their mean is the case of equal images.
  Scene scene;
  auto batch = scene.batch;
  batch.images = torch::cat({batch.images.narrow(0, 0, 1).repeat({3, 1, 1, 1}), batch.images.narrow(0, 3, 1).repeat({3, 1, 1, 1})});
  const auto v = [&](bool centre, const Batch& b) {
    torch::manual_seed(3);
    return values(make({{"compact_center", centre}}, scene.model)->compute(scene.model, b, full_ramp()));
  };
  REQUIRE(v(true, batch).at("intra_feature") == Approx(v(false, batch).at("intra_feature")).epsilon(1e-9));
  REQUIRE(v(true, scene.batch).at("intra_feature") != Approx(v(false, scene.batch).at("intra_feature")).epsilon(1e-3));
}

TEST_CASE("an image alone of its identity is skipped and said once", "[losses][x_reid]") {
  Scene scene;
  auto batch = scene.batch;
  batch.identities = torch::tensor({0, 0, 0, 1, 1, 2}, torch::kInt64);
  const auto objective = make(Json::object(), scene.model);
  test::TempDir folder;
  const auto path = (folder / "log").string();
  std::fflush(stderr);
  const int kept = ::dup(STDERR_FILENO);
  FILE* file = std::fopen(path.c_str(), "w");
  ::dup2(::fileno(file), STDERR_FILENO);
  const auto first = objective->compute(scene.model, batch, full_ramp());
  objective->compute(scene.model, batch, full_ramp());
  std::fflush(stderr);
  ::dup2(kept, STDERR_FILENO);
  ::close(kept);
  std::fclose(file);
  const auto text = read_file(path);
  REQUIRE_THAT(text, Contains("1 of 6 images are alone"));
  REQUIRE(text.find("alone") == text.rfind("alone"));
  const auto v = values(first);
  REQUIRE(v.at("anchors") == Approx(5 / 6.0));
  REQUIRE(std::isfinite(v.at("total")));
  // Its picture changes nothing of IntraX: it neither attends nor is attended to.
  auto moved = batch;
  moved.images = batch.images.clone();
  moved.images[5] = torch::randn({1, kTokens, kWidth}, torch::kFloat64);
  const auto w = values(objective->compute(scene.model, moved, full_ramp()));
  REQUIRE(w.at("intra_cross_entropy") == v.at("intra_cross_entropy"));
  REQUIRE(w.at("cross_entropy") != v.at("cross_entropy"));
  // Without the triplet loss of g its term is gone and the others stay.
  const auto with_options = [&](const Json& options) {
    torch::manual_seed(5);
    return values(make(options, scene.model)->compute(scene.model, batch, full_ramp()));
  };
  auto whole = with_options(Json::object());
  const auto without = with_options({{"intra_triplet", false}});
  REQUIRE(without.at("total") == Approx(whole.at("total") - whole.at("intra_triplet")));
  whole.erase("intra_triplet");
  whole["total"] = without.at("total");
  REQUIRE(without == whole);
  // Where all who take part are of one identity there is no negative among them.
  batch.identities = torch::tensor({0, 0, 0, 1, 2, 3}, torch::kInt64);
  REQUIRE(values(objective->compute(scene.model, batch, full_ramp())).at("intra_triplet") == 0);
}

TEST_CASE("batches and models that can't be used are refused", "[losses][x_reid]") {
  Scene scene;
  const auto objective = make(Json::object(), scene.model, 6);
  auto batch = scene.batch;
  batch.identities = torch::arange(6);
  REQUIRE_THROWS_WITH(objective->compute(scene.model, batch, full_ramp()),
                      Contains("at least two images of an identity") && Contains("6 images of 6 identities"));
  batch.identities = torch::zeros({6}, torch::kInt64);
  REQUIRE_THROWS_AS(objective->compute(scene.model, batch, full_ramp()), InputError);
  test::TinyModel tiny({});
  REQUIRE_THROWS_WITH(make(Json::object(), tiny), Contains("/objective") && Contains("vit_*"));
  REQUIRE_THROWS_WITH(make({{"depth", 3}}, scene.model), Contains("/objective/depth") && Contains("(2)"));
  REQUIRE_THROWS_AS(make({{"temperature", 0}}, scene.model), ConfigError);
}

TEST_CASE("partners at random repeat with the step", "[losses][x_reid]") {
  Scene scene;
  const auto objective = make({{"partners", "one"}, {"inter", "off"}}, scene.model);
  auto progress = full_ramp();
  std::set<double> seen;
  for (int64_t step = 1000; step < 1006; ++step) {
    progress.step = step;
    const auto once = values(objective->compute(scene.model, scene.batch, progress)).at("intra_cross_entropy");
    REQUIRE(once == values(objective->compute(scene.model, scene.batch, progress)).at("intra_cross_entropy"));
    seen.insert(once);
  }
  REQUIRE(seen.size() > 2);
}

TEST_CASE("an averaged encoder teaches and follows", "[losses][x_reid]") {
  torch::manual_seed(21);
  const Json part{{"name", "vit_tiny"}, {"width", 24}, {"heads", 3}, {"depth", 2}, {"preprocess", {{"height", 64}, {"width", 32}}}};
  auto model = nn::make_model(models::registry(), part);
  auto objective = losses::objectives().create(Json{{"name", "x_reid"}, {"teacher_ema", 0.75}}, "", *model, nn::TrainingFacts{4, 0});
  Batch batch;
  batch.images = torch::randn({6, 3, 64, 32});
  batch.identities = torch::tensor(kLabels, torch::kInt64);
  batch.index = torch::arange(6);
  model->train();
  const auto before = nn::state_of(*model);
  nn::StateDict copy;
  for (const auto& [name, tensor] : before) copy[name] = tensor.clone();
  objective->compute(*model, batch, full_ramp()).total.backward();
  REQUIRE(model->is_training());
  for (const auto& [name, tensor] : nn::state_of(*model)) {
    CAPTURE(name);
    // The live weights are back in their place; the neck's statistics are those of one pass.
    REQUIRE(tensor.data_ptr() == before.at(name).data_ptr());
    if (name.rfind("bottleneck.running", 0) != 0 && name != "bottleneck.num_batches_tracked") {
      REQUIRE(torch::equal(tensor, copy.at(name)));
    }
  }
  REQUIRE(nn::state_of(*model).at("bottleneck.num_batches_tracked").item<int64_t>() == 1);
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.add_(1);
  }
  objective->after_step(*model, full_ramp());
  const auto teacher = nn::state_of(*objective).at("teacher.blocks.0.attn.qkv.weight");
  REQUIRE((teacher - copy.at("blocks.0.attn.qkv.weight") - 0.25).abs().max().item<double>() < 1e-5);
  for (const auto& parameter : objective->named_parameters()) REQUIRE(parameter.key().rfind("teacher", 0) != 0);
}

TEST_CASE("what is deployed is the plain vision transformer, bit for bit", "[losses][x_reid]") {
  torch::manual_seed(31);
  const Json part{{"name", "vit_tiny"}, {"width", 24}, {"heads", 3}, {"depth", 2}, {"preprocess", {{"height", 64}, {"width", 32}}}};
  auto model = nn::make_model(models::registry(), part);
  auto objective = losses::objectives().create("x_reid", "", *model, nn::TrainingFacts{4, 0});
  auto parameters = model->parameters();
  for (const auto& parameter : objective->parameters()) parameters.push_back(parameter);
  torch::optim::SGD optimizer(parameters, 0.05);
  Batch batch;
  batch.images = torch::randn({6, 3, 64, 32});
  batch.identities = torch::tensor(kLabels, torch::kInt64);
  batch.index = torch::arange(6);
  model->train();
  double first = 0, last = 0;
  for (int64_t step = 0; step < 12; ++step) {
    optimizer.zero_grad();
    auto progress = full_ramp();
    const auto total = objective->compute(*model, batch, progress).total;
    total.backward();
    optimizer.step();
    (step == 0 ? first : last) = total.item<double>();
  }
  REQUIRE(last < first);
  model->eval();
  auto plain = nn::make_model(models::registry(), part);
  std::set<std::string> names;
  for (const auto& [name, tensor] : nn::state_of(*plain)) names.insert(name);
  for (const auto& [name, tensor] : nn::state_of(*model)) REQUIRE(names.erase(name) == 1);
  REQUIRE(names.empty());
  nn::load_state(*plain, nn::state_of(*model), plain->layouts(), "state");
  plain->eval();
  const torch::NoGradGuard no_grad;
  REQUIRE(torch::equal(model->embed(batch.images), plain->embed(batch.images)));
}

TEST_CASE("what is said of the method is honest", "[losses][x_reid]") {
  const auto& info = losses::objectives().at("x_reid").info;
  REQUIRE_THAT(info.claim, Contains("in the spirit of X-ReID") && Contains("are ours"));
  REQUIRE_THAT(info.paper, Contains("2302.02075"));
}
