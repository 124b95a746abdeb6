// SPDX-License-Identifier: Apache-2.0
// BERT against huggingface/transformers (tests/reference/text_encoders.py), and the heads on token features.
#include "reid/models/text_encoder.hpp"

#include <torch/torch.h>

#include <cmath>

#include "losses/gradcheck.hpp"
#include "reid/core/error.hpp"
#include "reid/nn/state_dict.hpp"
#include "reid/text/wordpiece.hpp"
#include "support/catch.hpp"
#include "support/formula_weights.hpp"

using namespace reid;
using Catch::Matchers::Contains;
using torch::Tensor;

namespace {

test::Fixture fixture(const std::string& name) { return test::read_fixture(REID_FIXTURES "/models/" + name + ".json"); }

std::shared_ptr<models::TextEncoder> small_bert(const test::Fixture& expected) {
  Json part{{"name", "bert_base"}};
  for (const auto& [key, value] : expected.settings.at("options").items()) part[key] = value;
  auto encoder = models::text_encoders().create(part, "");
  test::fill_by_formula(*encoder);
  encoder->eval();
  return encoder;
}

Tensor first_tokens(std::vector<int64_t> lengths, int64_t longest) {
  return torch::arange(longest).unsqueeze(0).lt(torch::tensor(lengths).unsqueeze(1));
}

}  // namespace

TEST_CASE("BERT's hidden states equal the reference's", "[models][text][parity]") {
  const auto expected = fixture("bert");
  const auto encoder = small_bert(expected);
  const torch::NoGradGuard no_grad;
  const auto tokens = expected.tensors.at("tokens").to(torch::kInt64);
  const auto mask = expected.tensors.at("mask").to(torch::kBool);
  CHECK(test::relative_error(encoder->forward(tokens, mask), expected.tensors.at("hidden")) < 1e-5);
  encoder->to(torch::kFloat64);
  CHECK(test::relative_error(encoder->forward(tokens, mask), expected.tensors.at("hidden")) < 1e-8);
}

TEST_CASE("padding changes no real token", "[models][text]") {
  const auto encoder = small_bert(fixture("bert"));
  encoder->to(torch::kFloat64);
  const torch::NoGradGuard no_grad;
  const auto tokens = torch::randint(1, 60, {2, 9}, torch::kInt64);
  const auto mask = first_tokens({5, 5}, 9);
  const auto whole = encoder->forward(tokens, mask).narrow(1, 0, 5);
  const auto cut = encoder->forward(tokens.narrow(1, 0, 5), mask.narrow(1, 0, 5));
  CHECK(test::relative_error(whole, cut) < 1e-12);
}

TEST_CASE("published names load: bare, with bert., old layer norms, heads left out", "[models][text]") {
  const auto encoder = small_bert(fixture("bert"));
  const auto own = nn::state_of(*encoder);
  CHECK(own.count("embeddings.word_embeddings.weight") == 1);
  CHECK(own.count("encoder.layer.2.attention.output.LayerNorm.bias") == 1);
  nn::StateDict old;
  for (const auto& [name, tensor] : own) {
    std::string key = "bert." + name;
    if (const auto at = key.find("LayerNorm.weight"); at != std::string::npos) key.replace(at + 10, 6, "gamma");
    if (const auto at = key.find("LayerNorm.bias"); at != std::string::npos) key.replace(at + 10, 4, "beta");
    old[key] = tensor.clone();
  }
  old["bert.pooler.dense.weight"] = torch::zeros({48, 48});
  old["bert.embeddings.position_ids"] = torch::arange(32);
  old["cls.predictions.bias"] = torch::zeros({60});
  Json part{{"name", "bert_base"}, {"layers", 3}, {"width", 48}, {"heads", 4}, {"hidden", 96}, {"vocabulary", 60}, {"positions", 32}};
  const auto fresh = models::text_encoders().create(part, "");
  const auto report = nn::load_state(*fresh, old, fresh->layouts(), "old.bin");
  CHECK(report.loaded == static_cast<int64_t>(own.size()));
  for (const auto& [name, tensor] : nn::state_of(*fresh)) CHECK(tensor.equal(own.at(name)));
  old.erase("bert.encoder.layer.0.output.dense.bias");
  CHECK_THROWS_AS(nn::load_state(*fresh, old, fresh->layouts(), "old.bin"), CheckpointError);
}

TEST_CASE("sizes by name, and what an encoder can't take", "[models][text]") {
  const auto count = [](const std::string& name) {
    int64_t values = 0;
    for (const auto& parameter : models::text_encoders().create(Json(name), "")->parameters()) values += parameter.numel();
    return values;
  };
  CHECK(count("minilm_l6") == 22565376);  // with position and type tables, without the pooler
  const auto encoder = small_bert(fixture("bert"));
  const auto tokens = torch::ones({2, 4}, torch::kInt64);
  const auto mask = torch::ones({2, 4}, torch::kBool);
  CHECK_THROWS_WITH(encoder->forward(tokens.to(torch::kInt32), mask), Contains("tokens must be [N, L] int64, got [2, 4] int32"));
  CHECK_THROWS_WITH(encoder->forward(tokens, mask.to(torch::kInt64)), Contains("mask must be [2, 4] bool"));
  CHECK_THROWS_WITH(encoder->forward(tokens, first_tokens({4, 0}, 4)), Contains("got none in row 1"));
  CHECK_THROWS_WITH(encoder->forward(tokens * 60, mask), Contains("token ids must be 0 to 59, got 60"));
  CHECK_THROWS_AS(encoder->forward(-tokens, mask), ShapeError);
  const auto longer = torch::ones({1, 33}, torch::kInt64);
  CHECK_THROWS_WITH(encoder->forward(longer, longer.to(torch::kBool)), Contains("at most 32 tokens, got 33"));
  CHECK_THROWS_AS(models::text_encoders().create(Json{{"name", "bert_base"}, {"heads", 5}}, ""), ConfigError);
}

TEST_CASE("pooling by hand", "[models][text]") {
  const auto features = torch::tensor({{{1.0, 8.0}, {3.0, 4.0}, {100.0, 100.0}}, {{5.0, -6.0}, {0.0, 0.0}, {0.0, 0.0}}}, torch::kFloat64);
  const auto mask = first_tokens({2, 1}, 3);
  const auto pool = [&](models::TextPooling pooling) { return models::pool_tokens(features, mask, pooling); };
  CHECK(pool(models::TextPooling::mean).equal(torch::tensor({{2.0, 6.0}, {5.0, -6.0}}, torch::kFloat64)));
  CHECK(pool(models::TextPooling::cls).equal(torch::tensor({{1.0, 8.0}, {5.0, -6.0}}, torch::kFloat64)));
  CHECK(pool(models::TextPooling::max).equal(torch::tensor({{3.0, 8.0}, {5.0, -6.0}}, torch::kFloat64)));
}

TEST_CASE("TextCNN: shape, padding, a hand-worked case, gradients", "[models][text]") {
  models::TextCnnOptions options;
  {
    const models::TextCnnOptions paper;
    models::TextCnn cnn(768, paper);
    cnn.eval();
    const torch::NoGradGuard no_grad;
    CHECK(cnn.forward(torch::rand({2, 64, 768}), torch::ones({2, 64}, torch::kBool)).sizes() == torch::IntArrayRef({2, 2048}));
  }
  options.width = 6;
  options.stem = 5;
  options.inner = 4;
  options.blocks = 2;
  models::TextCnn cnn(3, options);
  test::fill_by_formula(cnn);
  cnn.to(torch::kFloat64);
  cnn.eval();
  const auto features = torch::rand({2, 7, 3}, torch::kFloat64);
  const auto mask = first_tokens({4, 7}, 7);
  const auto whole = cnn.forward(features, mask);
  CHECK(test::relative_error(whole.narrow(0, 0, 1), cnn.forward(features.narrow(0, 0, 1).narrow(1, 0, 4), torch::ones({1, 4}, torch::kBool))) < 1e-12);
  const auto weights = torch::rand({2, 6}, torch::kFloat64);
  CHECK(test::gradient_error([&](const Tensor& x) { return (cnn.forward(x, mask) * weights).sum(); }, features) < 1e-6);
  CHECK_THROWS_AS(cnn.forward(torch::rand({2, 7, 4}, torch::kFloat64), mask), ShapeError);

  // One channel everywhere, all weights 1, batch norms the identity but for epsilon: word x > 0 becomes stem x; the 1x3
  // sums neighbours, the residual adds the word: max over (x[i-1] + 2 x[i] + x[i+1]).
  options.width = options.stem = options.inner = options.blocks = 1;
  models::TextCnn one(1, options);
  one.to(torch::kFloat64);
  one.eval();
  {
    const torch::NoGradGuard no_grad;
    for (auto& item : one.named_parameters()) item.value().fill_(item.key().find("bias") != std::string::npos ? 0 : 1);
  }
  const auto words = torch::tensor({1.0, 2.0, 5.0, 9.0}, torch::kFloat64).view({1, 4, 1});
  const auto got = one.forward(words, first_tokens({3}, 4)).item<double>();
  CHECK(std::abs(got - 12.0) < 1e-3);  // 2 + 2 * 5; the 9 is padding
}

TEST_CASE("Bi-LSTM: padding isn't read, reversal swaps directions, gradients", "[models][text]") {
  models::BiLstmOptions options;
  options.width = 3;
  models::BiLstm lstm(2, options);
  lstm.to(torch::kFloat64);
  const auto features = torch::rand({2, 5, 2}, torch::kFloat64);
  const auto mask = first_tokens({3, 5}, 5);
  const auto whole = lstm.forward(features, mask);
  CHECK(whole.sizes() == torch::IntArrayRef({2, 3}));
  const auto alone = lstm.forward(features.narrow(0, 0, 1).narrow(1, 0, 3), torch::ones({1, 3}, torch::kBool));
  CHECK(test::relative_error(whole.narrow(0, 0, 1), alone) < 1e-12);
  CHECK(test::gradient_error([&](const Tensor& x) { return lstm.forward(x, mask).square().sum(); }, features) < 1e-6);
  // One word: h = o tanh(i g) with the gates of Hochreiter's cell, from the module's own weights.
  const auto word = features.narrow(0, 0, 1).narrow(1, 0, 1);
  Tensor sum = torch::zeros({3}, torch::kFloat64);
  const auto state = nn::state_of(lstm);
  for (const char* end : {"", "_reverse"}) {
    const auto get = [&](const char* name) { return state.at(std::string("lstm.") + name + "_l0" + end); };
    const auto gates = get("weight_ih").mv(word.view({2})) + get("bias_ih") + get("bias_hh");
    const auto part = [&](int64_t k) { return gates.narrow(0, 3 * k, 3); };
    sum = sum + part(3).sigmoid() * (part(0).sigmoid() * part(2).tanh()).tanh();
  }
  CHECK(test::relative_error(lstm.forward(word, torch::ones({1, 1}, torch::kBool)).view({3}), sum / 2) < 1e-12);
  const auto gap = torch::tensor({{1, 0, 1, 0, 0}, {1, 1, 1, 1, 1}}).to(torch::kBool);
  CHECK_THROWS_WITH(lstm.forward(features, gap), Contains("mask with gaps"));
}

// scripts/get_weights.sh minilm_l6 brings the weights.
TEST_CASE("minilm_l6 with its published weights gives the reference's sentence vectors", "[.nightly][models][text][parity]") {
  const auto expected = fixture("minilm_l6");
  const std::string folder = REID_SOURCE_DIR "/weights/minilm_l6/";
  const text::WordPiece tokenizer(folder + "vocab.txt", {});
  const auto encoder = models::text_encoders().create(Json("minilm_l6"), "");
  nn::load_state(*encoder, nn::read_weights(folder + "model.safetensors").tensors, encoder->layouts(), "model.safetensors");
  encoder->eval();
  const torch::NoGradGuard no_grad;
  const auto sentences = expected.settings.at("sentences").get<std::vector<std::string>>();
  REQUIRE(sentences.size() == 50);
  constexpr int64_t kLength = 64;
  const auto tokens = torch::zeros({50, kLength}, torch::kInt64);
  const auto mask = torch::zeros({50, kLength}, torch::kBool);
  for (int64_t i = 0; i < 50; ++i) {
    tokenizer.encode_padded(sentences[static_cast<std::size_t>(i)], kLength, tokens[i].data_ptr<int64_t>(), mask[i].data_ptr<bool>());
  }
  const auto got = models::pool_tokens(encoder->forward(tokens, mask), mask, models::TextPooling::mean).to(torch::kFloat64);
  const auto& wanted = expected.tensors.at("vectors");
  CHECK(torch::cosine_similarity(got, wanted, 1).min().item<double>() > 0.99999);
  CHECK(test::relative_error(got, wanted) < 1e-4);
}
