// SPDX-License-Identifier: Apache-2.0
// TIPCB's convolutions over words, and a bidirectional LSTM.
#include <fmt/format.h>
#include <torch/torch.h>

#include "reid/models/text_encoder.hpp"
#include "text_checks.hpp"

namespace reid::models {

using torch::Tensor;

namespace {

torch::nn::Conv1d convolution(int64_t in, int64_t out, int64_t kernel) {
  return torch::nn::Conv1d(torch::nn::Conv1dOptions(in, out, kernel).padding(kernel / 2).bias(false));
}

/// Convolution and batch norm, as children of the given names.
class ConvNorm : public torch::nn::Module {
 public:
  ConvNorm(int64_t in, int64_t out, int64_t kernel) {
    conv_ = register_module("conv", convolution(in, out, kernel));
    bn_ = register_module("bn", torch::nn::BatchNorm1d(out));
    const torch::NoGradGuard no_grad;
    torch::nn::init::kaiming_normal_(conv_->weight, 0, torch::kFanOut, torch::kReLU);
  }
  Tensor forward(const Tensor& x) { return bn_(conv_(x)); }

 private:
  torch::nn::Conv1d conv_{nullptr};
  torch::nn::BatchNorm1d bn_{nullptr};
};

class Bottleneck : public torch::nn::Module {
 public:
  Bottleneck(int64_t in, int64_t inner, int64_t out) {
    narrow_ = register_module("narrow", std::make_shared<ConvNorm>(in, inner, 1));
    words_ = register_module("words", std::make_shared<ConvNorm>(inner, inner, 3));
    wide_ = register_module("wide", std::make_shared<ConvNorm>(inner, out, 1));
    if (in != out) shortcut_ = register_module("shortcut", std::make_shared<ConvNorm>(in, out, 1));
  }
  /// x [N, C, L], real [N, 1, L] of x's type.
  Tensor forward(const Tensor& x, const Tensor& real) {
    Tensor y = torch::relu(narrow_->forward(x)) * real;
    y = wide_->forward(torch::relu(words_->forward(y)));
    return torch::relu(y + (shortcut_ ? shortcut_->forward(x) : x));
  }

 private:
  std::shared_ptr<ConvNorm> narrow_, words_, wide_, shortcut_;
};

}  // namespace

TextCnn::TextCnn(int64_t input, const TextCnnOptions& options) : input_(input), options_(options) {
  stem_ = register_module("stem", std::make_shared<ConvNorm>(input, options.stem, 1));
  int64_t channels = options.stem;
  for (int64_t i = 0; i < options.blocks; ++i) {
    blocks_.push_back(register_module(fmt::format("block{}", i + 1),
                                      std::make_shared<Bottleneck>(channels, options.inner, options.width)));
    channels = options.width;
  }
}

Tensor TextCnn::forward(const Tensor& features, const Tensor& mask) {
  check_features("text_cnn", features, mask, input_);
  const Tensor real = mask.unsqueeze(1).to(features.scalar_type());
  Tensor x = torch::relu(std::static_pointer_cast<ConvNorm>(stem_)->forward(features.transpose(1, 2)));
  for (const auto& block : blocks_) x = std::static_pointer_cast<Bottleneck>(block)->forward(x, real);
  return pool_tokens(x.transpose(1, 2), mask, TextPooling::max);
}

struct BiLstm::Parts {
  torch::nn::LSTM lstm{nullptr};
};

BiLstm::BiLstm(int64_t input, const BiLstmOptions& options) : options_(options), parts_(std::make_shared<Parts>()) {
  parts_->lstm = register_module(
      "lstm", torch::nn::LSTM(torch::nn::LSTMOptions(input, options.width).bidirectional(true).batch_first(true)));
}

Tensor BiLstm::forward(const Tensor& features, const Tensor& mask) {
  check_features("bi_lstm", features, mask, parts_->lstm->options.input_size());
  check_no_gaps("bi_lstm", mask);
  const auto packed = torch::nn::utils::rnn::pack_padded_sequence(features, mask.sum(1).cpu(), true, false);
  const auto states = std::get<0>(parts_->lstm->forward_with_packed_input(packed));
  const Tensor padded = std::get<0>(torch::nn::utils::rnn::pad_packed_sequence(states, true, 0.0, mask.size(1)));
  const auto both = padded.view({padded.size(0), padded.size(1), 2, options_.width});
  return pool_tokens(both.mean(2), mask, TextPooling::max);
}

}  // namespace reid::models
