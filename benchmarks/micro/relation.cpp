// SPDX-License-Identifier: Apache-2.0
// RGA's relation, dense and factored, at the published network's shapes and around the threshold of `relation_path`.
//
//   micro_relation [batch threads repeats]        default: 8, all threads, 5
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>

#include "reid/ops/relation.hpp"

namespace {

using reid::ops::RelationPath;

double best_of(int64_t repeats, bool backward, const torch::Tensor& embeddings, const torch::Tensor& weight,
               RelationPath path) {
  double best = 1e300;
  for (int64_t i = 0; i <= repeats; ++i) {  // the first one warms up
    const auto start = std::chrono::steady_clock::now();
    if (backward) {
      reid::ops::relation(embeddings, weight, path).sum().backward();
    } else {
      const torch::NoGradGuard no_gradient;
      reid::ops::relation(embeddings, weight, path);
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (i > 0) best = std::min(best, seconds);
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t batch = argc > 1 ? std::strtoll(argv[1], nullptr, 10) : 8;
  if (argc > 2) at::set_num_threads(std::atoi(argv[2]));
  const int64_t repeats = argc > 3 ? std::strtoll(argv[3], nullptr, 10) : 5;
  struct Shape {
    const char* name;
    int64_t nodes, rank, outputs;
  };
  std::cout << fmt::format("batch {}, {} threads, best of {}, milliseconds\n", batch, at::get_num_threads(), repeats);
  std::cout << fmt::format("{:<10}{:>6}{:>6}{:>6} {:>10}{:>10}{:>7} {:>10}{:>10}{:>7}  {}\n", "module", "N", "r", "m", "dense",
                           "factored", "gain", "+ grad", "+ grad", "gain", "auto");
  for (const auto& shape : {Shape{"1 spatial", 2048, 32, 256}, Shape{"1 channel", 256, 256, 32},
                            Shape{"2 both", 512, 64, 64}, Shape{"3 spatial", 128, 128, 16},
                            Shape{"3 channel", 1024, 16, 128}, Shape{"4 spatial", 128, 256, 16},
                            Shape{"4 channel", 2048, 16, 256}, Shape{"", 64, 16, 8}, Shape{"", 96, 12, 12},
                            Shape{"", 128, 16, 16}, Shape{"", 160, 20, 20}, Shape{"", 192, 24, 24},
                            Shape{"", 256, 32, 32}, Shape{"", 384, 48, 48}}) {
    const auto options = torch::requires_grad();
    const auto embeddings = torch::rand({batch, 2 * shape.rank, shape.nodes}, options);
    const auto weight = torch::rand({shape.outputs, 2 * shape.nodes}, options);
    const auto time = [&](RelationPath path, bool backward) {
      return 1e3 * best_of(repeats, backward, embeddings, weight, path);
    };
    const double dense = time(RelationPath::dense, false), factored = time(RelationPath::factored, false);
    const double dense_grad = time(RelationPath::dense, true), factored_grad = time(RelationPath::factored, true);
    std::cout << fmt::format("{:<10}{:>6}{:>6}{:>6} {:>10.2f}{:>10.2f}{:>7.2f} {:>10.2f}{:>10.2f}{:>7.2f}  {}\n", shape.name,
                             shape.nodes, shape.rank, shape.outputs, dense, factored, dense / factored, dense_grad,
                             factored_grad, dense_grad / factored_grad,
                             reid::enum_name(reid::ops::relation_path(shape.nodes, shape.rank, shape.outputs)));
  }
  return 0;
}
