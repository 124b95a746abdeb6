// SPDX-License-Identifier: Apache-2.0
// BERT's encoder. Devlin et al., NAACL 2019; huggingface/transformers models/bert/modeling_bert.py.
#include <fmt/format.h>
#include <torch/torch.h>

#include <cmath>

#include "reid/core/error.hpp"
#include "reid/models/text_encoder.hpp"
#include "text_checks.hpp"

namespace reid::models {
namespace {

using torch::Tensor;
using Part = torch::nn::Module;

constexpr double kInitialDeviation = 0.02;

std::shared_ptr<Part> add_part(Part& owner, const char* name) {
  return owner.register_module(name, std::make_shared<Part>(name));
}

torch::nn::LayerNorm layer_norm(int64_t width, double eps) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}).eps(eps));
}

class BertLayer : public Part {
 public:
  explicit BertLayer(const BertOptions& options) : options_(options) {
    const auto width = options.width;
    const auto attention = add_part(*this, "attention");
    const auto self = add_part(*attention, "self");
    query_ = self->register_module("query", torch::nn::Linear(width, width));
    key_ = self->register_module("key", torch::nn::Linear(width, width));
    value_ = self->register_module("value", torch::nn::Linear(width, width));
    const auto attended = add_part(*attention, "output");
    attended_ = attended->register_module("dense", torch::nn::Linear(width, width));
    attended_norm_ = attended->register_module("LayerNorm", layer_norm(width, options.norm_eps));
    const auto intermediate = add_part(*this, "intermediate");
    intermediate_ = intermediate->register_module("dense", torch::nn::Linear(width, options.hidden));
    const auto output = add_part(*this, "output");
    output_ = output->register_module("dense", torch::nn::Linear(options.hidden, width));
    output_norm_ = output->register_module("LayerNorm", layer_norm(width, options.norm_eps));
  }

  /// x [N, L, D], keys [N, 1, 1, L] bool.
  Tensor forward(const Tensor& x, const Tensor& keys) {
    const auto n = x.size(0), length = x.size(1), heads = options_.heads;
    const auto split = [&](const Tensor& t) { return t.view({n, length, heads, -1}).transpose(1, 2); };
    const double dropout = is_training() ? options_.dropout : 0;
    const Tensor context = at::scaled_dot_product_attention(split(query_(x)), split(key_(x)), split(value_(x)), keys, dropout);
    const auto drop = [&](const Tensor& t) { return torch::dropout(t, options_.dropout, is_training()); };
    const Tensor a = attended_norm_(drop(attended_(context.transpose(1, 2).reshape({n, length, -1}))) + x);
    return output_norm_(drop(output_(torch::gelu(intermediate_(a)))) + a);
  }

 private:
  BertOptions options_;
  torch::nn::Linear query_{nullptr}, key_{nullptr}, value_{nullptr}, attended_{nullptr}, intermediate_{nullptr}, output_{nullptr};
  torch::nn::LayerNorm attended_norm_{nullptr}, output_norm_{nullptr};
};

class Bert final : public TextEncoder {
 public:
  explicit Bert(const BertOptions& options) : options_(options) {
    REID_CHECK(options.width % options.heads == 0, ConfigError,
               fmt::format("bert: width must be a multiple of heads, got {} and {}", options.width, options.heads));
    const auto embeddings = add_part(*this, "embeddings");
    words_ = embeddings->register_module("word_embeddings", torch::nn::Embedding(options.vocabulary, options.width));
    positions_ = embeddings->register_module("position_embeddings", torch::nn::Embedding(options.positions, options.width));
    types_ = embeddings->register_module("token_type_embeddings", torch::nn::Embedding(2, options.width));
    norm_ = embeddings->register_module("LayerNorm", layer_norm(options.width, options.norm_eps));
    const auto list = add_part(*add_part(*this, "encoder"), "layer");
    for (int64_t i = 0; i < options.layers; ++i) {
      layers_.push_back(list->register_module(std::to_string(i), std::make_shared<BertLayer>(options)));
    }
    const torch::NoGradGuard no_grad;
    for (const auto& item : named_parameters()) {
      if (item.value().dim() > 1) item.value().normal_(0, kInitialDeviation);
      if (item.key().size() > 5 && item.key().compare(item.key().size() - 5, 5, ".bias") == 0) item.value().zero_();
    }
    words_->weight[0].zero_();
  }

  Tensor forward(const Tensor& tokens, const Tensor& mask) override {
    check_tokens("bert", tokens, mask, options_.vocabulary, options_.positions);
    const auto places = torch::arange(tokens.size(1), tokens.options());
    const Tensor sum = words_(tokens) + types_->weight[0] + positions_(places);
    Tensor x = torch::dropout(norm_(sum), options_.dropout, is_training());
    const Tensor keys = mask.view({mask.size(0), 1, 1, mask.size(1)});
    for (const auto& layer : layers_) x = layer->forward(x, keys);
    return x;
  }

  int64_t width() const override { return options_.width; }
  int64_t vocabulary() const override { return options_.vocabulary; }
  int64_t longest() const override { return options_.positions; }

  std::vector<nn::StateLayout> layouts() const override {
    const auto layout = [](const char* name, std::string prefix) {
      return nn::StateLayout{name, [prefix = std::move(prefix)](const std::string& key) -> std::optional<std::string> {
                               if (key.compare(0, 4, "cls.") == 0) return "";  // heads of the pre-training
                               if (key.compare(0, prefix.size(), prefix) != 0) return std::nullopt;
                               std::string own = key.substr(prefix.size());
                               if (own.compare(0, 7, "pooler.") == 0 || own == "embeddings.position_ids") return "";
                               for (const auto& [old, now] : {std::pair{".gamma", ".weight"}, std::pair{".beta", ".bias"}}) {
                                 const std::string end = old;
                                 if (own.size() > end.size() && own.compare(own.size() - end.size(), end.size(), end) == 0) {
                                   own.replace(own.size() - end.size(), end.size(), now);
                                 }
                               }
                               return own;
                             }};
    };
    return {layout("transformers", ""), layout("transformers with bert.", "bert.")};
  }

 private:
  BertOptions options_;
  torch::nn::Embedding words_{nullptr}, positions_{nullptr}, types_{nullptr};
  torch::nn::LayerNorm norm_{nullptr};
  std::vector<std::shared_ptr<BertLayer>> layers_;
};

}  // namespace

std::shared_ptr<TextEncoder> make_bert(const BertOptions& options) { return std::make_shared<Bert>(options); }

}  // namespace reid::models
