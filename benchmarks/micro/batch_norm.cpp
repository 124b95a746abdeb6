// SPDX-License-Identifier: Apache-2.0
// Batch norm and activation in training, forward and gradient, against LibTorch's three steps and against reading and writing once.
//
//   micro_batch_norm [batch threads repeats]        default: 64, all threads, 7
//
// Maps are those of MobileNetV2 and ResNet-50 at 128x64. "limit" is a copy of the map and of two maps into a third: the least
// that forward (2 passes over memory at best) and gradient (3) can take.
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <iostream>

#include "jobs.hpp"
#include "reid/core/memory.hpp"
#include "reid/ops/batch_norm.hpp"

namespace {

using reid::ops::Activation;
using torch::Tensor;

double milliseconds(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return 1e3 * std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t batch = reid::bench::argument(argc, argv, 1, 64), repeats = reid::bench::argument(argc, argv, 3, 7);
  if (const int64_t threads = reid::bench::argument(argc, argv, 2, 0); threads > 0) at::set_num_threads(static_cast<int>(threads));
  reid::keep_freed_memory();  // as the programs do: maps of 50 MB would be asked of the system at every step
  struct Shape {
    int64_t channels, height, width;
    Activation act;
  };
  std::cout << fmt::format("batch {}, {} threads, best of {}, milliseconds forward and gradient\n", batch, at::get_num_threads(), repeats);
  std::cout << fmt::format("{:<16}{:>10}{:>12}{:>10}{:>10}{:>12}\n", "map", "limit", "LibTorch", "ours", "gain", "of limit");
  for (const auto& [channels, height, width, act] :
       {Shape{96, 64, 32, Activation::relu6}, Shape{144, 32, 16, Activation::relu6}, Shape{384, 8, 4, Activation::relu6},
        Shape{1280, 4, 2, Activation::relu6}, Shape{64, 64, 32, Activation::relu}, Shape{256, 32, 16, Activation::none},
        Shape{512, 8, 4, Activation::relu}}) {
    const auto make = [&, c = channels, h = height, w = width] {
      return torch::randn({batch, c, h, w}).contiguous(torch::MemoryFormat::ChannelsLast);
    };
    const auto x = make().requires_grad_();
    const auto seed = make(), sink = torch::empty_like(x);
    const reid::ops::BatchNormState state{.weight = torch::ones({channels}).requires_grad_(),
                                          .bias = torch::zeros({channels}).requires_grad_(),
                                          .running_mean = torch::zeros({channels}),
                                          .running_var = torch::ones({channels})};
    const std::array<std::function<void()>, 3> ways{
        [&] {
          const torch::NoGradGuard no_gradient;
          sink.copy_(x);
          at::add_out(const_cast<Tensor&>(sink), x, seed);
        },
        [&, a = act] {
          auto y = torch::batch_norm(x, state.weight, state.bias, state.running_mean, state.running_var, true, 0.1, 1e-5, false);
          reid::ops::activate_(y, a).backward(seed);
        },
        [&, a = act] { reid::ops::batch_norm_act(x, state, a).backward(seed); }};
    std::array<double, 3> best{1e300, 1e300, 1e300};
    for (int64_t i = 0; i < repeats; ++i) {
      for (std::size_t way = 0; way < ways.size(); ++way) {
        x.mutable_grad() = Tensor();
        best[way] = std::min(best[way], milliseconds(ways[way]));
      }
    }
    std::cout << fmt::format("{:<16}{:>10.2f}{:>12.2f}{:>10.2f}{:>10.2f}{:>12.2f}\n", fmt::format("{}x{}x{}", channels, height, width),
                             best[0], best[1], best[2], best[1] / best[2], best[2] / best[0]);
  }
  return 0;
}
