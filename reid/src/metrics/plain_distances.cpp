// SPDX-License-Identifier: Apache-2.0
#include <torch/torch.h>

#include <algorithm>
#include <limits>

#include "distance_source.hpp"
#include "reid/ops/memory.hpp"

namespace reid::metrics {
namespace {

using torch::Tensor;

constexpr int64_t kTileBytes = int64_t{256} << 20;
constexpr int64_t kFloat = sizeof(float);

/// `most` rows, or fewer until they take at most `bytes`: a power of two up to kRows, or a multiple of kRows. Where blocks of
/// products are cut depends on the gallery's size alone.
int64_t rows_within(int64_t bytes, int64_t columns, int64_t most) {
  constexpr int64_t kRows = ops::DistanceRows::kRows;
  const int64_t fit = bytes / (std::max<int64_t>(1, columns) * kFloat);
  if (fit >= kRows) return std::min(fit, std::max(most, kRows)) / kRows * kRows;
  int64_t rows = kRows;
  while (rows > 1 && rows > fit) rows /= 2;
  return rows;
}

class PlainDistances : public DistanceSource {
 public:
  PlainDistances(const Tensor& query, const Tensor& gallery, ops::Metric metric, ops::Product product)
      : rows_(query, gallery, metric, product), tile_(gallery.size(0)) {}
  std::vector<ops::GalleryPart> compute(int64_t begin, int64_t end) override {
    const auto part = tile_.part(end - begin);
    rows_.compute(begin, end, part.distances.mutable_data_ptr<float>());
    return {part};
  }
  int64_t most_rows() const override { return tile_.most_rows(); }
  ops::Product product() const override { return rows_.product(); }

 private:
  ops::DistanceRows rows_;
  Tile tile_;
};

class PartedDistances : public DistanceSource {
 public:
  PartedDistances(const Tensor& query, const Tensor& gallery, ops::Metric metric, const Placement& placement)
      : gallery_(query, gallery, metric, placement) {}
  std::vector<ops::GalleryPart> compute(int64_t begin, int64_t end) override { return gallery_.distances(begin, end); }
  int64_t most_rows() const override { return gallery_.most_rows(); }
  ops::Product product() const override { return gallery_.product(); }

 private:
  PartedGallery gallery_;
};

}  // namespace

int64_t Tile::most_rows() const { return rows_within(kTileBytes, columns_, ops::DistanceRows::kRows); }

ops::GalleryPart Tile::part(int64_t rows) {
  if (!held_.defined() || held_.size(0) < rows) held_ = at::empty({rows, columns_}, torch::dtype(torch::kFloat32));
  return {held_.narrow(0, 0, rows), 0};
}

PartedGallery::PartedGallery(const Tensor& query, const Tensor& gallery, ops::Metric metric, const Placement& placement)
    : query_(query), gallery_(gallery), metric_(metric), product_(placement.product) {
  constexpr int64_t kColumns = ops::DistanceRows::kColumns;
  const int64_t items = gallery.size(0), width = gallery.size(1) * kFloat;
  const auto count = static_cast<int64_t>(placement.devices.size());
  const int64_t share = ((items + count - 1) / count + kColumns - 1) / kColumns * kColumns;  // cut where products are cut
  most_rows_ = std::numeric_limits<int64_t>::max();
  for (int64_t p = 0; p < count; ++p) {
    Part part{placement.devices[static_cast<std::size_t>(p)], std::min(p * share, items), 0, 0, {}};
    part.count = std::min(share, items - part.first);
    if (part.count == 0) break;
    // Half of the memory for features, an eighth each for rows of distances, for what is added to them and for blocks.
    const int64_t bytes = placement.bytes > 0 ? placement.bytes : ops::free_memory(part.device);
    if (part.count * width <= bytes / 2) part.resident = gallery.narrow(0, part.first, part.count).to(part.device);
    const int64_t rows = rows_within(bytes / 8, part.count, query.size(0));
    const int64_t block = bytes / 8 / (width + 2 * rows * kFloat) / kColumns * kColumns;
    part.block = std::min(std::max(block, kColumns), part.count);
    most_rows_ = std::min(most_rows_, rows);
    parts_.push_back(part);
  }
}

std::vector<ops::GalleryPart> PartedGallery::distances(int64_t begin, int64_t end) const {
  std::vector<ops::GalleryPart> result;
  for (const auto& part : parts_) {
    const Tensor query = query_.narrow(0, begin, end - begin).to(part.device);
    const Tensor out = at::empty({end - begin, part.count}, query.options());
    for (int64_t at = 0; at < part.count; at += part.block) {
      const int64_t count = std::min(part.block, part.count - at);
      const Tensor block = part.resident.defined() ? part.resident.narrow(0, at, count)
                                                   : gallery_.narrow(0, part.first + at, count).to(part.device);
      out.narrow(1, at, count).copy_(ops::pairwise_distance(query, block, metric_, product_));
    }
    result.push_back({out, part.first});
  }
  return result;
}

ops::Product PartedGallery::product() const {
  const bool on_cpu = std::all_of(parts_.begin(), parts_.end(), [](const Part& part) { return part.device.is_cpu(); });
  if (!on_cpu) return ops::Product::aten;  // the only one elsewhere
  return ops::DistanceRows(query_.narrow(0, 0, 1), query_, metric_, product_).product();
}

std::unique_ptr<DistanceSource> plain_distances(const Tensor& query, const Tensor& gallery, ops::Metric metric,
                                                const Placement& placement) {
  if (!placement.devices.empty()) return std::make_unique<PartedDistances>(query, gallery, metric, placement);
  return std::make_unique<PlainDistances>(query, gallery, metric, placement.product);
}

}  // namespace reid::metrics
