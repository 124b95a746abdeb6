// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "reid/core/progress.hpp"

/// Search of a gallery of features by the features of pictures or sentences.
namespace reid::engine {

/// What is searched.
struct Gallery {
  torch::Tensor features;          ///< [M, D] float32 on the CPU, not normalised; a row for each picture
  std::vector<std::string> paths;  ///< of the pictures
  std::string source;              ///< names the features in messages: their file, or the pictures' folder
};

/// Features as `reid embed` writes them, and the paths of their pictures, a line for each row. The features are
/// mapped, not read: opening costs nothing, whatever their number.
/// @throws InputError naming the file: no .npy of features, no row, another number of paths than of rows, an empty path.
Gallery open_gallery(const std::filesystem::path& features, const std::filesystem::path& paths);

/// The best of a gallery for each of N queries.
struct Matches {
  torch::Tensor index;       ///< [N, k] int64: rows of the gallery, best first
  torch::Tensor similarity;  ///< [N, k] float32: cosine, in [-1, 1] up to rounding, descending
};

/// The k rows that are most similar to each query:  s_ij = <q_i, g_j> / (|q_i| |g_j|);  equal ones in the gallery's order, a
/// zero row is at 0. Exact.
/// Lengths are taken in the same pass as the products, so that the gallery is read once for up to 256 queries and nothing
/// of its size is kept beside it but the similarities.
/// @param queries  [N, D] float32, D that of the gallery
/// @param top      k, from 1 to M
/// @throws InputError if `top` is out of its range, widths differ, or a row of the gallery is not finite (it is named).
///   ShapeError if a query isn't finite or not [N, D] float32 on the CPU.
/// Cost: 2 N M D flop; for one query the time of reading M D values. Deterministic: yes, for any number of threads.
Matches search(const torch::Tensor& queries, const Gallery& gallery, int64_t top, const ProgressSink& progress = {});

}  // namespace reid::engine
