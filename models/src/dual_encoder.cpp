// SPDX-License-Identifier: Apache-2.0
#include "reid/models/dual_encoder.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>

#include "entry.hpp"
#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/models/registry.hpp"
#include "reid/ops/matmul.hpp"
#include "text_checks.hpp"
#include "token_cache.hpp"

namespace reid::models {

using torch::Tensor;

namespace {

struct PoolOptions {
  TextPooling pooling = TextPooling::mean;
  template <class V>
  void fields(V&& v) {
    v("pooling", pooling, "how token features become one of the sentence");
  }
};

class PoolHead final : public TextHead {
 public:
  PoolHead(int64_t input, const PoolOptions& options) : input_(input), options_(options) {}
  Tensor forward(const Tensor& features, const Tensor& mask) override { return pool_tokens(features, mask, options_.pooling); }
  int64_t width() const override { return input_; }

 private:
  int64_t input_;
  PoolOptions options_;
};

template <class Head, class Options>
void add_head(TextHeadRegistry& registry, const char* name, EntryInfo info) {
  registry.add_entry({name, std::move(info), write_options(Options{}), describe_options<Options>(),
                      [](const Json& options, const std::string& pointer, int64_t input) -> std::shared_ptr<TextHead> {
                        return std::make_shared<Head>(input, read_options<Options>(options, pointer));
                      }});
}

}  // namespace

TextHeadRegistry& text_heads() {
  static TextHeadRegistry instance = [] {
    TextHeadRegistry registry("text head");
    add_head<TextCnn, TextCnnOptions>(registry, "text_cnn",
                                      {"Convolutions over words and a maximum", "Chen et al., TIPCB, arXiv:2105.11628", "", ""});
    add_head<BiLstm, BiLstmOptions>(registry, "bi_lstm",
                                    {"A bidirectional LSTM and a maximum", "Yan et al., MANet, arXiv:2208.14365", "", ""});
    add_head<PoolHead, PoolOptions>(registry, "pool", {"Mean, maximum or one token; no parameters", "", "", ""});
    return registry;
  }();
  return instance;
}

DualEncoder::Reason::Reason(int64_t width, int64_t inner)
    : norm(register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})))),
      fc1(register_module("fc1", torch::nn::Linear(width, inner))),
      fc2(register_module("fc2", torch::nn::Linear(inner, width))) {}

Tensor DualEncoder::Reason::forward(const Tensor& x) {
  return x + ops::linear(torch::gelu(ops::linear(norm(x), fc1->weight, fc1->bias)), fc2->weight, fc2->bias);
}

DualEncoder::DualEncoder(Options& options, const std::string& pointer)
    : length_(options.text.length), width_(options.width), frozen_(options.text.frozen), cache_file_(options.text.cache) {
  const auto at_text = pointer + "/text";
  image_ = register_module("image", nn::make_model(registry(), options.image, pointer + "/image"));
  REID_CHECK(image_->cameras() == 0, ConfigError,
             fmt::format("{}/image: model must look at pictures alone, got one with side information of {} cameras", pointer,
                         image_->cameras()));
  options.image = image_->spec();
  if (!options.text.tokenizer.vocab.empty()) tokenizer_ = text::make_tokenizer(options.text.tokenizer);

  const auto at_encoder = at_text + "/encoder";
  auto encoder = text_encoders().expand(options.text.encoder, at_encoder);
  const bool given = options.text.encoder.is_object() && options.text.encoder.contains("vocabulary");
  if (!given && tokenizer_ && encoder.contains("vocabulary")) encoder["vocabulary"] = tokenizer_->size();
  options.text.encoder = encoder;
  text_ = register_module("text", text_encoders().create(encoder, at_encoder));
  if (tokenizer_) {
    REID_CHECK(text_->vocabulary() == tokenizer_->size(), ConfigError,
               fmt::format("{}/vocabulary: number of pieces must be that of {} ({}), got {}", at_encoder,
                           options.text.tokenizer.vocab, tokenizer_->size(), text_->vocabulary()));
  }
  REID_CHECK(length_ <= text_->longest(), ConfigError,
             fmt::format("{}/length: tokens of a sentence must be at most the encoder's {}, got {}", at_text, text_->longest(),
                         length_));
  REID_CHECK(cache_file_.empty() || frozen_, ConfigError,
             fmt::format("{}/cache: file must be empty for an encoder that learns, got '{}'", at_text, cache_file_));
  options.text.head = text_heads().expand(options.text.head, at_text + "/head");
  head_ = register_module("head", text_heads().create(options.text.head, at_text + "/head", text_->width()));

  const auto image_width = image_->embedding_size();
  if (width_ == 0) {
    REID_CHECK(image_width == head_->width(), ConfigError,
               fmt::format("{}/width: 0 (no projections) must have sides of one width, got {} for pictures and {} for sentences",
                           pointer, image_width, head_->width()));
    width_ = image_width;
  } else {
    image_projection_ = register_module("image_projection", torch::nn::Linear(image_width, width_));
    text_projection_ = register_module("text_projection", torch::nn::Linear(head_->width(), width_));
  }
  if (options.reason_mlp > 0) {
    image_reason_ = register_module("image_reason", std::make_shared<Reason>(width_, options.reason_mlp));
    text_reason_ = register_module("text_reason", std::make_shared<Reason>(width_, options.reason_mlp));
  }
  if (frozen_) {
    for (auto& parameter : text_->parameters()) parameter.set_requires_grad(false);
  }
}

DualEncoder::~DualEncoder() = default;

void DualEncoder::train(bool on) {
  nn::Model::train(on);
  if (frozen_) text_->eval();
  if (!on) cache_.reset();  // the file is free for an encoder with other weights
}

Tensor DualEncoder::project(const torch::nn::Linear& projection, const std::shared_ptr<Reason>& reason, Tensor x) {
  if (!projection.is_empty()) x = ops::linear(x, projection->weight, projection->bias);
  return reason ? reason->forward(x) : x;
}

nn::ModelOutput DualEncoder::encode_image(const Tensor& images, uint32_t want) {
  auto output = image_->encode_image(images, want & ~static_cast<uint32_t>(nn::want_neck));
  output.neck = Tensor();
  output.embedding = project(image_projection_, image_reason_, output.embedding);
  return output;
}

/// @param longest  no row has a real token behind it: what lies there is never read.
Tensor DualEncoder::token_features(const Tensor& tokens, const Tensor& mask, int64_t longest) {
  const torch::AutoGradMode grad(torch::GradMode::is_enabled() && !frozen_);
  const Tensor features = text_->forward(tokens.slice(1, 0, longest), mask.slice(1, 0, longest));
  return torch::constant_pad_nd(features, {0, 0, 0, tokens.size(1) - longest});
}

nn::ModelOutput DualEncoder::encode_text(const Tensor& tokens, const Tensor& mask, uint32_t want) {
  const auto longest = check_tokens("dual_encoder", tokens, mask, text_->vocabulary(), text_->longest());
  Tensor features;
  const bool may_read = is_training() || (want & nn::want_cached) != 0;
  if (cache_file_.empty() || !may_read || tokens.size(1) != length_) {
    features = token_features(tokens, mask, longest);
  } else {
    if (!cache_) {
      uint64_t weights = 0;
      for (const auto& [name, tensor] : nn::state_of(*text_)) {
        const Tensor values = tensor.to(torch::kCPU).contiguous();
        weights = fingerprint(name, fingerprint({static_cast<const char*>(values.const_data_ptr()), values.nbytes()}, weights));
      }
      cache_ = TokenCache::open(cache_file_, weights, length_, text_->width());
    }
    features = cache_->features(tokens, mask, [&](const Tensor& rows) {
                        const Tensor on_device = rows.to(tokens.device());
                        return token_features(tokens.index_select(0, on_device), mask.index_select(0, on_device), longest);
                      }).to(tokens.device());
  }
  nn::ModelOutput output;
  output.embedding = project(text_projection_, text_reason_, head_->forward(features, mask));
  if ((want & nn::want_tokens) != 0) output.tokens = features;
  return output;
}

std::vector<nn::StateLayout> DualEncoder::layouts() const {
  std::vector<nn::StateLayout> result;
  for (const auto& of_image : image_->layouts()) {
    for (const auto& of_text : text_->layouts()) {
      if (of_image.name != of_text.name) continue;
      result.push_back({of_image.name, [of_image, of_text](const std::string& key) -> std::optional<std::string> {
                          const auto image = of_image.rename(key);
                          if (image && !image->empty()) return "image." + *image;
                          const auto text = of_text.rename(key);
                          if (text && !text->empty()) return "text." + *text;
                          return image ? image : text;
                        }});
    }
  }
  return result;
}

void DualEncoder::adapt_weights(nn::StateDict& tensors, const std::string& source) const {
  const auto* adapter = dynamic_cast<const nn::WeightAdapter*>(image_.get());
  if (adapter == nullptr) return;
  const std::string prefix = "image.";
  nn::StateDict of_image;
  for (const auto& [name, tensor] : tensors) {
    if (name.rfind(prefix, 0) == 0) of_image.emplace(name.substr(prefix.size()), tensor);
  }
  adapter->adapt_weights(of_image, source);
  for (const auto& [name, tensor] : of_image) tensors[prefix + name] = tensor;
}

nn::WeightPart DualEncoder::weight_part(const std::string& name) {
  if (name == "image") return {image_.get(), image_->layouts()};
  if (name == "text") return {text_.get(), text_->layouts()};
  REID_CHECK(name.empty(), ConfigError, fmt::format("weights: part must be image, text or empty (the whole), got '{}'", name));
  return {this, layouts()};
}

void register_dual_encoder(nn::ModelRegistry& registry) {
  add_entry<nn::Model, DualEncoderOptions>(
      registry, "dual_encoder",
      {"Pictures and sentences encoded into one space, to search pictures by sentence.",
       "Yan et al., Learning Comprehensive Representations with Richer Self for Text-to-Image Person Re-Identification, ACM MM "
       "2023, arXiv:2310.11210 (its student and baseline)",
       "none: the authors' repository holds no code",
       "structure from the paper; equations and hyper-parameters ours where marked"},
      {}, [](DualEncoderOptions& options, const std::string& pointer) {
        return std::make_shared<DualEncoder>(options, pointer);
      });
}

}  // namespace reid::models
