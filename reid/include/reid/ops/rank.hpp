// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <span>

#include "reid/core/options.hpp"

/// Where given items of a list stand by distance, without sorting the list.
namespace reid::ops {

/// Who comes first where distances are equal.
///   stable  the lower index
///   worst   hits come last: what a model whose features collapsed deserves
///   best    hits come first
enum class Ties { stable, worst, best };

/// The 1-based places of a query's hits among what is kept of the gallery, in the order of (distance, index): the place of hit i is
///   1 + #{ kept j : d_j < d_i, or d_j = d_i and j stands first under `ties` }.
/// Average precision, rank-k and mINP are functions of these places alone.
/// @param distances    [Q, G] float32; any strides. +infinity stands for an item that no hit is behind
/// @param offsets      [Q + 1] int64, ascending from 0: query q has the items offsets[q] to offsets[q + 1]
/// @param items        [M] int32, gallery indices, ascending and without repeats within a query
/// @param removed      [M] bool: the item is left out for its query; every other one is a hit
/// @return             [M] int64: the place of each hit, 0 where removed
/// @throws ShapeError  naming the tensor, if a rank, a type, a device, an offset or an index doesn't fit
/// Cost: O(G) comparisons for each hit, eight at a time; O(G log hits) from 256 hits of a query on. Memory: the result.
/// Not differentiable. Deterministic: yes. Devices: cpu; cuda (the current
/// stream, so offsets and items can't be read for a check there: they are taken as they are).
torch::Tensor rank_hits(const torch::Tensor& distances, const torch::Tensor& offsets, const torch::Tensor& items,
                        const torch::Tensor& removed, Ties ties = Ties::stable);

/// A part of a gallery: the distances [Q, G'] to its items first ... first + G' - 1, float32 on any device.
struct GalleryPart {
  torch::Tensor distances;
  int64_t first = 0;
};

/// The same for a gallery that lies in parts, in order, each on a device of its own: what stands before a hit is counted where it
/// lies, and the counts add up.
/// @param offsets, items, removed  as above, on the CPU
/// @return                         [M] int64 on the CPU, the same places as for the whole
/// @throws ShapeError  as above, and if the parts don't follow one another from item 0
/// Cost: as above, twice the items' number of values through each device's connection, and O(hits^2) for each query.
torch::Tensor rank_hits(std::span<const GalleryPart> parts, const torch::Tensor& offsets, const torch::Tensor& items,
                        const torch::Tensor& removed, Ties ties = Ties::stable);

/// One query: `places` takes the places of `items`, as above.
void rank_hits(std::span<const float> distances, std::span<const int32_t> items, std::span<const uint8_t> removed,
               Ties ties, std::span<int64_t> places);

}  // namespace reid::ops

template <>
struct reid::EnumNames<reid::ops::Ties> {
  static constexpr std::array<std::pair<reid::ops::Ties, const char*>, 3> values{
      {{reid::ops::Ties::stable, "stable"}, {reid::ops::Ties::worst, "worst"}, {reid::ops::Ties::best, "best"}}};
};
