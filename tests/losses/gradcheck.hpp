// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/torch.h>

#include <cmath>
#include <functional>

namespace reid::test {

/// Largest difference between the gradient and central differences, relative to the largest gradient; x is double.
inline double gradient_error(const std::function<torch::Tensor(const torch::Tensor&)>& function, const torch::Tensor& x) {
  auto leaf = x.detach().clone().requires_grad_(true);
  function(leaf).backward();
  const auto analytic = leaf.grad().flatten();
  auto numeric = torch::zeros_like(analytic);
  constexpr double kStep = 1e-6;
  const torch::NoGradGuard no_grad;
  for (int64_t i = 0; i < numeric.numel(); ++i) {
    auto moved = x.detach().clone();
    auto flat = moved.view({-1});
    flat[i] += kStep;
    const double up = function(moved).item<double>();
    flat[i] -= 2 * kStep;
    const double down = function(moved).item<double>();
    numeric[i] = (up - down) / (2 * kStep);
  }
  return ((analytic - numeric).abs().max() / analytic.abs().max()).item<double>();
}

}  // namespace reid::test
