// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "reid/metrics/evaluate.hpp"

namespace reid::metrics {

/// Checked inputs of one evaluation, queries pooled. Junk is listed and stays where it is: a gallery need not be copied.
struct Inputs {
  torch::Tensor query, gallery;  // [Q, D], [G, D] float32, contiguous, on the CPU
  std::vector<int64_t> query_ids, gallery_ids, query_cameras, gallery_cameras, query_clothes, gallery_clothes;
  std::vector<int64_t> gallery_rows;  // what isn't junk, in the gallery as given
  std::vector<int32_t> junk;          // rows of `gallery`
  int64_t query_images = 0;           // rows that were pooled to queries
  /// Gallery indices of each identity, ascending.
  std::unordered_map<int64_t, std::vector<int32_t>> by_id;  // without junk

  /// Takes junk out of `gallery`, its labels and `by_id`'s numbering: a copy of what is left.
  void drop_junk();
  void list_identities();
  /// The row of the gallery as given.
  int64_t given_row(int32_t item) const { return dropped ? gallery_rows[static_cast<std::size_t>(item)] : item; }

  bool dropped = false;
};

Inputs check_inputs(const FeatureSet& query, const FeatureSet& gallery, const Protocol& protocol, ops::Metric metric);

/// Labels [N] as numbers. @throws InputError naming `where`.
std::vector<int64_t> labels(const torch::Tensor& tensor, int64_t rows, const std::string& where, const char* name);

/// @throws InputError naming source and row unless every value is finite and no distance can overflow (or, under
/// cosine, vanish).
void check_values(const torch::Tensor& features, ops::Metric metric, const std::string& source);

}  // namespace reid::metrics
