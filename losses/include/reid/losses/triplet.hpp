// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "reid/nn/loss.hpp"

namespace reid::losses {

/// The loss of `Triplet` between anchors x [N, D] and targets t [N, D], row i of both of label i:
///   p_a = max_{j: y_j = y_a} d(x_a, t_j)     n_a = min_{j: y_j != y_a} d(x_a, t_j)
/// @param margin  none: the soft form. @throws as `Triplet`; ShapeError if the targets aren't like the anchors.
torch::Tensor batch_hard_triplet(const torch::Tensor& anchors, const torch::Tensor& targets, const torch::Tensor& labels,
                                 std::optional<double> margin);

/// Batch-hard triplet loss. For each anchor the farthest picture of its identity and the nearest of another:
///   d(x, y) = sqrt(max(|x - y|^2, 1e-12))
///   p_a = max_{j: y_j = y_a} d(x_a, x_j)     n_a = min_{j: y_j != y_a} d(x_a, x_j)
///   margin form  L = mean_a max(0, p_a - n_a + m)        soft form  L = mean_a log(1 + exp(p_a - n_a))
/// The anchor itself is among its positives, as in the references, which matters only for an identity with one
/// picture (p_a = 1e-6 then). The indices found carry no gradient, the distances do.
/// Paper: Hermans et al., "In Defense of the Triplet Loss", arXiv:1703.07737, eq. 5.
/// Reference: KaiyangZhou/deep-person-reid, torchreid/losses/hard_mine_triplet_loss.py (margin form);
///            damo-cv/TransReID, loss/triplet_loss.py (both forms).
/// Differs from them: an error where no anchor has a negative (they fail inside min()); identities may have
///   different numbers of pictures (TransReID needs equal ones); no loop over anchors.
/// Parity: tests/losses/parity_test.cpp, fixture losses_v1, rel. 1e-6 (f32), gradient too.
/// Input: embeddings [N, D] float, not normalised here; labels [N] int64, any values.
/// Returns a scalar of the embeddings' type, computed in float32 at least; 0 when every anchor clears the margin.
/// @throws ShapeError if ranks or N differ; InputError if all labels are equal (on CUDA, where a look would stop
///         the device, the result is NaN then, which the trainer reports).
/// Cost: O(N^2 D) time, O(N^2) memory. Differentiable: yes. Deterministic: yes. Devices: cpu, cuda.
class Triplet : public nn::Loss {
 public:
  struct Options {
    std::optional<double> margin = 0.3;
    template <class V>
    void fields(V&& v) {
      v("margin", margin, "distance by which a negative must be farther; null: the soft margin log(1 + exp(.))",
        Range{0, 1e6});
    }
  };
  explicit Triplet(const Options& options) : options_(options) {}
  torch::Tensor forward(const nn::LossInput& input) override;

 private:
  Options options_;
};

}  // namespace reid::losses
