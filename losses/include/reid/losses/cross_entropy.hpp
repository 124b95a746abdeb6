// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "reid/nn/loss.hpp"

namespace reid::losses {

/// Cross entropy of identity logits with smoothed targets.
///   t_k = (1 - eps) [k = y] + eps / K        L = -(1/N) sum_n sum_k t_nk log softmax(z_n)_k
/// Paper: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, arXiv:1512.00567, section 7.
/// Reference: KaiyangZhou/deep-person-reid, torchreid/losses/cross_entropy_loss.py
/// Differs from it: nothing known; eps = 0 is the plain cross entropy (torchreid's default is 0.1).
/// Parity: tests/losses/parity_test.cpp, fixture losses_v1, rel. 1e-6 (f32), gradient too.
/// Input: logits [N, K] float, labels [N] int64 in 0..K-1.
/// Returns a scalar of the logits' type.
/// @throws ShapeError if logits are missing, ranks or N differ or N is 0; InputError for a label outside 0..K-1
///         (on the CPU; on CUDA, where a look would stop the device, such a label is an error of the next
///         synchronisation).
/// Cost: O(N K). Differentiable: yes. Deterministic: yes. Devices: cpu, cuda.
class CrossEntropy : public nn::Loss {
 public:
  struct Options {
    double label_smoothing = 0.0;
    template <class V>
    void fields(V&& v) {
      v("label_smoothing", label_smoothing, "share eps of the target spread over all classes", Range{0, 1});
    }
  };
  explicit CrossEntropy(const Options& options) : options_(options) {}
  torch::Tensor forward(const nn::LossInput& input) override;
  bool needs_logits() const override { return true; }

 private:
  Options options_;
};

/// Share of the rows whose largest logit is their label's, a float32 scalar, without gradient.
/// @param logits [N, K], labels [N] int64.
torch::Tensor top1_accuracy(const torch::Tensor& logits, const torch::Tensor& labels);

}  // namespace reid::losses
