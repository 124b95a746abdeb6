// SPDX-License-Identifier: Apache-2.0
#include "reid/losses/cross_entropy.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include "checks.hpp"
#include "reid/losses/losses.hpp"

namespace reid::losses {

torch::Tensor CrossEntropy::forward(const nn::LossInput& input) {
  check_rows_and_labels(input.logits, input.labels, "cross_entropy", "logits", "[N, K] float");
  const auto classes = input.logits.size(1);
  if (input.labels.is_cpu()) {
    const auto low = input.labels.min().item<int64_t>();
    const auto high = input.labels.max().item<int64_t>();
    REID_CHECK(low >= 0 && high < classes, InputError,
               fmt::format("cross_entropy: labels must be in 0..{}, got {}", classes - 1, low < 0 ? low : high));
  }
  const auto log_probability = torch::log_softmax(input.logits, 1);                            // [N, K]
  const auto own = log_probability.gather(1, input.labels.unsqueeze(1)).squeeze(1);            // [N]
  auto loss = -(1.0 - options_.label_smoothing) * own.mean();
  // Summing K * N terms only where they count keeps eps = 0 free of -inf * 0.
  if (options_.label_smoothing > 0) loss = loss - options_.label_smoothing * log_probability.mean();
  return loss;
}

torch::Tensor top1_accuracy(const torch::Tensor& logits, const torch::Tensor& labels) {
  const torch::NoGradGuard no_grad;
  return (logits.argmax(1) == labels).to(torch::kFloat32).mean();
}

void register_cross_entropy(nn::LossRegistry& registry) {
  registry.add<CrossEntropy>(
      "cross_entropy", {.summary = "Cross entropy of identity logits, targets smoothed on request.",
                        .paper = "Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, arXiv:1512.00567",
                        .reference = "KaiyangZhou/deep-person-reid, torchreid/losses/cross_entropy_loss.py",
                        .claim = "faithful to the reference code"});
}

}  // namespace reid::losses
