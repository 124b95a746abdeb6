// SPDX-License-Identifier: Apache-2.0
#include "reid/losses/lcr2s.hpp"

#include <torch/torch.h>

#include "gradcheck.hpp"
#include "reid/core/error.hpp"
#include "reid/losses/losses.hpp"
#include "support/catch.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using torch::Tensor;

namespace {

constexpr int64_t kWidth = 6, kPixels = 5, kWords = 11, kLength = 4;

/// Pictures [N, 1, 1, kPixels] and sentences to one space; a batch norm, so that there are statistics to spoil.
class PairModel : public nn::Model {
 public:
  PairModel() {
    torch::manual_seed(7);
    image_ = register_module("image", torch::nn::Linear(kPixels, kWidth));
    norm_ = register_module("norm", torch::nn::BatchNorm1d(kWidth));
    words_ = register_module("words", torch::nn::Embedding(kWords, kWidth));
  }
  nn::ModelOutput encode_image(const Tensor& images, uint32_t) override {
    nn::ModelOutput output;
    output.embedding = norm_(image_(images.flatten(1)));
    return output;
  }
  nn::ModelOutput encode_text(const Tensor& tokens, const Tensor& mask, uint32_t) override {
    const Tensor real = mask.unsqueeze(2).to(words_->weight.scalar_type());
    nn::ModelOutput output;
    output.embedding = (words_(tokens) * real).sum(1) / real.sum(1);
    return output;
  }
  const PreprocessOptions& preprocess() const override { return preprocess_; }
  int64_t embedding_size() const override { return kWidth; }
  nn::Feature feature() const override { return nn::Feature::before_neck; }
  std::vector<nn::StateLayout> layouts() const override { return {}; }

 private:
  PreprocessOptions preprocess_;
  torch::nn::Linear image_{nullptr};
  torch::nn::BatchNorm1d norm_{nullptr};
  torch::nn::Embedding words_{nullptr};
};

/// Four samples of two identities with `members` supporting ones.
Batch batch_of(int64_t members, torch::ScalarType type = torch::kFloat32) {
  torch::manual_seed(11);
  Batch batch;
  batch.images = torch::randn({4, 1, 1, kPixels}, type);
  batch.tokens = torch::randint(1, kWords, {4, kLength});
  batch.mask = torch::tensor({1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1}).view({4, kLength}).to(torch::kBool);
  batch.identities = torch::tensor({0, 0, 1, 1}, torch::kInt64);
  batch.index = torch::tensor({3, 1, 0, 2}, torch::kInt64);
  if (members > 0) {
    batch.support_images = torch::randn({4, members, 1, 1, kPixels}, type);
    batch.support_tokens = torch::randint(1, kWords, {4, members, kLength});
    batch.support_mask = torch::ones({4, members, kLength}, torch::kBool);
  }
  return batch;
}

nn::TrainingFacts facts_of(std::function<nn::StageResult()> previous = {}) {
  nn::TrainingFacts facts;
  facts.identities = 2;
  facts.samples = 4;
  facts.previous = std::move(previous);
  return facts;
}

std::shared_ptr<nn::Objective> make(const Json& part, nn::Model& model, const nn::TrainingFacts& facts = facts_of()) {
  torch::manual_seed(13);
  return losses::objectives().create(part, "/objective", model, facts);
}

std::map<std::string, double> parts_of(const nn::ObjectiveResult& result) {
  std::map<std::string, double> parts;
  for (const auto& [name, value] : result.parts) parts[name] = value.item<double>();
  return parts;
}

nn::StageResult teacher(const Json& part = Json{{"name", "lcr2s_teacher"}, {"attention", {{"heads", 2}}}}) {
  nn::StageResult result;
  result.model = std::make_shared<PairModel>();
  result.objective = make(part, *result.model);
  return result;
}

const Json kHeads{{"heads", 2}};

}  // namespace

TEST_CASE("the baseline is the sum of its terms by their weights", "[losses][lcr2s]") {
  PairModel model;
  const Json part{{"name", "image_text"}, {"identity", 0.5}, {"matching", "cmpm"}, {"matching_weight", 2}, {"cmpc", 0.25}};
  const auto objective = make(part, model);
  const auto result = objective->compute(model, batch_of(0), {});
  const auto parts = parts_of(result);
  REQUIRE(parts.count("accuracy") == 1);
  REQUIRE(result.total.item<double>() == Approx(0.5 * parts.at("identity") + 2 * parts.at("cmpm") + 0.25 * parts.at("cmpc")));
  // An almost empty classifier: both sides know nothing of two identities.
  REQUIRE(parts.at("identity") == Approx(2 * std::log(2.0)).epsilon(0.01));
  result.total.backward();
  for (const auto& parameter : model.parameters()) REQUIRE(parameter.grad().defined());
}

TEST_CASE("without support the teacher is the baseline", "[losses][lcr2s]") {
  PairModel model;
  const Json terms{{"matching", "sdm"}, {"temperature", 0.1}};
  Json base{{"name", "image_text"}}, taught{{"name", "lcr2s_teacher"}, {"attention", kHeads}};
  merge_json(base, terms);
  merge_json(taught, terms);
  const auto baseline = make(base, model), fused = make(taught, model);
  for (auto& item : fused->named_parameters()) {
    const torch::NoGradGuard no_grad;
    if (item.key() == "alignment.weight") item.value().copy_(baseline->named_parameters()["alignment.weight"]);
  }
  const auto batch = batch_of(0);
  REQUIRE(baseline->compute(model, batch, {}).total.item<float>() == fused->compute(model, batch, {}).total.item<float>());
}

TEST_CASE("the order of the support is of no matter, its members are", "[losses][lcr2s]") {
  PairModel model;
  const auto objective = make({{"name", "lcr2s_teacher"}, {"attention", kHeads}, {"matching", "cmpm"}}, model);
  auto batch = batch_of(3);
  const double value = objective->compute(model, batch, {}).total.item<double>();
  const Tensor order = torch::tensor({2, 0, 1}, torch::kInt64);
  auto permuted = batch;
  permuted.support_images = batch.support_images.index_select(1, order);
  permuted.support_tokens = batch.support_tokens.index_select(1, order);
  REQUIRE(objective->compute(model, permuted, {}).total.item<double>() == Approx(value).epsilon(1e-6));
  auto other = batch;
  other.support_images = batch.support_images + 1;
  REQUIRE(std::abs(objective->compute(model, other, {}).total.item<double>() - value) > 1e-5);
}

TEST_CASE("mean fusion by hand", "[losses][lcr2s]") {
  PairModel model;
  const auto objective = make({{"name", "lcr2s_teacher"}, {"fusion", "mean"}}, model);
  const Tensor sample = torch::tensor({{1.F, 2.F}}), support = torch::tensor({{{3.F, 4.F}, {5.F, 9.F}}});
  REQUIRE(torch::allclose(objective->fuse_images(sample, support), torch::tensor({{3.F, 5.F}})));
  REQUIRE(torch::allclose(objective->fuse_texts(sample, support), torch::tensor({{3.F, 5.F}})));
  const auto plain = make("classify_and_rank", model);
  REQUIRE_THROWS_WITH(plain->fuse_images(sample, support), Contains("lcr2s_teacher"));
}

TEST_CASE("gradients of teacher and student agree with differences", "[losses][lcr2s]") {
  for (const std::string matching : {"ranking", "cmpm", "sdm"}) {
    CAPTURE(matching);
    const Json terms{{"matching", matching}, {"negative", "hardest"}, {"temperature", 0.2}, {"cmpc", 0.3}, {"classifier_std", 0.5}};
    Json taught{{"name", "lcr2s_teacher"}, {"attention", kHeads}, {"own", 0.4}};
    merge_json(taught, terms);
    auto before = teacher(taught);
    before.model->to(torch::kFloat64);
    before.objective->to(torch::kFloat64);
    auto batch = batch_of(2, torch::kFloat64);
    const auto of_support = [&](const Tensor& x) {
      batch.support_images = x.view({4, 2, 1, 1, kPixels});
      return before.objective->compute(*before.model, batch, {}).total;
    };
    REQUIRE(test::gradient_error(of_support, batch.support_images.clone().flatten()) < 1e-6);

    PairModel model;
    model.to(torch::kFloat64);
    Json learning{{"name", "lcr2s_student"}, {"rel", matching == "sdm" ? "kl" : "frobenius"}, {"feat_norm", matching == "cmpm"}};
    merge_json(learning, terms);
    const auto student = make(learning, model, facts_of([&] { return before; }));
    student->to(torch::kFloat64);
    batch = batch_of(2, torch::kFloat64);
    // The teacher sees the pictures as well: only the student's path has a gradient, so the teacher is given its own.
    const auto weight = model.named_parameters()["image.weight"];
    const auto of_weight = [&](const Tensor& x) {
      Tensor slot = model.named_parameters()["image.weight"];
      slot.set_data(x.detach());
      const auto total = student->compute(model, batch, {}).total;
      if (!x.requires_grad()) return total;
      const auto gradient = torch::autograd::grad({total}, {slot}).front();
      return (x * gradient).sum() - (x * gradient).sum().detach() + total.detach();
    };
    REQUIRE(test::gradient_error(of_weight, weight.detach().clone()) < 1e-6);
  }
}

TEST_CASE("support without gradient gives the same features in evaluation, and no gradient", "[losses][lcr2s]") {
  for (const bool cut : {false, true}) {
    auto before = teacher({{"name", "lcr2s_teacher"}, {"attention", kHeads}, {"support_no_grad", cut}, {"matching", "cmpm"}});
    before.model->eval();
    auto batch = batch_of(2);
    batch.support_images.requires_grad_();
    before.objective->compute(*before.model, batch, {}).total.backward();
    REQUIRE(batch.support_images.grad().defined() == !cut);
  }
}

TEST_CASE("the student teaches itself nothing where it is its teacher", "[losses][lcr2s]") {
  PairModel model;  // equal weights: the same seed
  const auto student = make("lcr2s_student", model, facts_of([] { return teacher(); }));
  model.eval();
  const auto parts = parts_of(student->compute(model, batch_of(0), {}));
  REQUIRE(parts.at("feature") == Approx(0).margin(1e-10));
  REQUIRE(parts.at("relation") == Approx(0).margin(1e-10));
  REQUIRE(parts_of(student->compute(model, batch_of(2), {})).at("feature") > 1e-3);
}

TEST_CASE("training the student moves nothing of its teacher", "[losses][lcr2s]") {
  auto before = teacher({{"name", "lcr2s_teacher"}, {"attention", kHeads}});
  PairModel model;
  const auto student = make("lcr2s_student", model, facts_of([&] { return before; }));
  nn::StateDict old;
  for (const auto& [name, tensor] : nn::state_of(*before.model)) old.emplace("model." + name, tensor.clone());
  for (const auto& [name, tensor] : nn::state_of(*before.objective)) old.emplace("objective." + name, tensor.clone());
  std::vector<Tensor> learning = model.parameters();
  for (const auto& parameter : student->parameters()) {
    if (parameter.requires_grad()) learning.push_back(parameter);
  }
  REQUIRE(learning.size() == model.parameters().size() + 2);  // the student's own classifier
  torch::optim::SGD optimizer(learning, 0.1);
  model.train();
  student->train();
  for (int i = 0; i < 3; ++i) {
    optimizer.zero_grad();
    student->compute(model, batch_of(2), {}).total.backward();
    optimizer.step();
  }
  for (const auto& [name, tensor] : nn::state_of(*before.model)) REQUIRE(torch::equal(tensor, old.at("model." + name)));
  for (const auto& [name, tensor] : nn::state_of(*before.objective)) REQUIRE(torch::equal(tensor, old.at("objective." + name)));
  for (const auto& parameter : before.model->parameters()) REQUIRE_FALSE(parameter.grad().defined());
}

TEST_CASE("the teacher alone may teach, and its features may be kept", "[losses][lcr2s]") {
  auto before = teacher({{"name", "lcr2s_teacher"}, {"attention", kHeads}});
  PairModel model;
  const auto alone = make({{"name", "lcr2s_student"}, {"use_gt_losses", false}}, model, facts_of([&] { return before; }));
  const auto parts = parts_of(alone->compute(model, batch_of(2), {}));
  REQUIRE(parts.size() == 2);
  REQUIRE(parts.count("feature") + parts.count("relation") == 2);

  const auto keeping = make({{"name", "lcr2s_student"}, {"cache_teacher", true}, {"matching", "cmpm"}}, model, facts_of([&] { return before; }));
  model.eval();
  auto batch = batch_of(2);
  const auto first = parts_of(keeping->compute(model, batch, {})).at("feature");
  batch.support_images = batch.support_images + 3;  // another support isn't looked at any more
  REQUIRE(parts_of(keeping->compute(model, batch, {})).at("feature") == first);
  REQUIRE(nn::state_of(*keeping).at("cached").all().item<bool>());
}

TEST_CASE("what LCR2S can't be made of is refused by name", "[losses][lcr2s]") {
  PairModel model;
  REQUIRE_THROWS_WITH(make("lcr2s_student", model), Contains("/objective") && Contains("got the first stage"));
  REQUIRE_THROWS_WITH(make("lcr2s_student", model, facts_of([] { return teacher("image_text"); })), Contains("another objective"));
  REQUIRE_THROWS_WITH(make({{"name", "lcr2s_student"}, {"feature_weight", 0}, {"relation_weight", 0}}, model,
                           facts_of([] { return teacher(); })),
                      Contains("feature_weight"));
  REQUIRE_THROWS_WITH(make({{"name", "image_text"}, {"identity", 0}, {"matching_weight", 0}}, model), Contains("matching_weight"));
  REQUIRE_THROWS_AS(make({{"name", "lcr2s_teacher"}, {"attention", {{"heads", 4}}}}, model), ConfigError);  // 4 doesn't divide 6
  auto batch = batch_of(0);
  batch.tokens = Tensor();
  for (const char* name : {"image_text", "lcr2s_teacher"}) {
    Json part{{"name", name}};
    if (part.at("name") == "lcr2s_teacher") part["attention"] = kHeads;
    REQUIRE_THROWS_WITH(make(part, model)->compute(model, batch, {}), Contains("sentences"));
  }
}
