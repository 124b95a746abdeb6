// SPDX-License-Identifier: Apache-2.0
#include "inputs.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "reid/core/error.hpp"
#include "reid/ops/check.hpp"
#include "reid/ops/parallel.hpp"
#include "reid/ops/wide_sum.hpp"

namespace reid::metrics {
namespace {

using torch::Tensor;

/// How features and labels of one set are called in messages.
struct Names {
  Names(const FeatureSet& set, const char* fallback)
      : features(set.source.empty() ? fallback : set.source),
        ids(own(set.ids, set.ids_source)),
        cameras(own(set.cameras, set.cameras_source)),
        clothes(own(set.clothes, set.clothes_source)) {}

  std::string features, ids, cameras, clothes;

 private:
  std::string own(const Tensor& labels, const std::string& source) const {
    return labels.defined() && !source.empty() ? source : features;
  }
};

Tensor checked_features(const FeatureSet& set, const std::string& source) {
  const Tensor& features = set.features;
  const bool fits = features.defined() && features.dim() == 2 && features.is_floating_point() && features.size(1) > 0;
  REID_CHECK(fits, InputError, fmt::format("{}: features must be [N, D] float, got {}", source, ops::describe(features)));
  REID_CHECK(features.size(0) > 0, InputError, fmt::format("{}: features must have at least one row, got none", source));
  REID_CHECK(features.size(0) < std::numeric_limits<int32_t>::max(), InputError,
             fmt::format("{}: features must have fewer than 2^31 rows, got {}", source, features.size(0)));
  return features.detach().to(torch::kCPU, torch::kFloat32).contiguous();
}

std::vector<int64_t> optional_labels(const Tensor& tensor, int64_t rows, const std::string& where, const char* name,
                                     bool needed, const Protocol& protocol) {
  if (tensor.defined()) return labels(tensor, rows, where, name);
  REID_CHECK(!needed, InputError,
             fmt::format("{}: {} must be known under protocol {}, got none", where, name, protocol.name));
  return {};
}

template <class T>
std::vector<T> chosen(const std::vector<T>& values, const std::vector<int64_t>& rows) {
  std::vector<T> kept;
  if (values.empty()) return kept;
  kept.reserve(rows.size());
  for (const int64_t row : rows) kept.push_back(values[static_cast<std::size_t>(row)]);
  return kept;
}

}  // namespace

std::vector<int64_t> labels(const Tensor& tensor, int64_t rows, const std::string& where, const char* name) {
  const bool integer = tensor.defined() && tensor.dim() == 1 &&
                       (tensor.scalar_type() == torch::kInt64 || tensor.scalar_type() == torch::kInt32);
  REID_CHECK(integer && tensor.size(0) == rows, InputError,
             fmt::format("{}: {} must be [{}] int64, one for each row of features, got {}", where, name, rows,
                         ops::describe(tensor)));
  const Tensor wide = tensor.to(torch::kCPU, torch::kInt64).contiguous();
  const int64_t* data = wide.const_data_ptr<int64_t>();
  return {data, data + rows};
}

void check_values(const Tensor& features, ops::Metric metric, const std::string& source) {
  const int64_t rows = features.size(0), columns = features.size(1);
  const float* data = features.const_data_ptr<float>();
  std::atomic<int64_t> first_bad = rows;
  // A sum of squares that is a number, neither 0 nor too large, clears the row; only the others are looked at closely.
  constexpr double kLargest = static_cast<double>(std::numeric_limits<float>::max()) / 8;
  const auto squares_of = [&](int64_t row) { return ops::wide_dot(data + row * columns, data + row * columns, columns); };
  const auto good = [&](double squares) {
    return metric == ops::Metric::cosine ? std::isfinite(squares) && squares > 0 : squares < kLargest;
  };
  ops::parallel_for(0, rows, 256, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      if (good(squares_of(row))) continue;
      int64_t seen = first_bad.load();
      while (row < seen && !first_bad.compare_exchange_weak(seen, row)) {
      }
      return;
    }
  });
  const int64_t row = first_bad;
  if (row == rows) return;
  for (int64_t k = 0; k < columns; ++k) {
    const float value = data[row * columns + k];
    REID_CHECK(std::isfinite(value), InputError,
               fmt::format("{}: features must be finite, got {} in row {}, column {}", source, value, row, k));
  }
  if (squares_of(row) == 0) {
    throw InputError(fmt::format("{}: features must not be zero vectors under cosine, got one in row {}", source, row));
  }
  throw InputError(fmt::format("{}: features must have squared norms below {:.1e}, got {:.1e} in row {}", source,
                               kLargest, squares_of(row), row));
}

FeatureSet pool_queries(const FeatureSet& images) {
  const Names names(images, "query");
  const Tensor features = checked_features(images, names.features);
  check_values(features, ops::Metric::cosine, names.features);
  const auto ids = labels(images.ids, features.size(0), names.ids, "ids");
  const auto cameras = labels(images.cameras, features.size(0), names.cameras, "cameras");
  std::map<std::pair<int64_t, int64_t>, int64_t> groups;
  std::vector<int64_t> group_of, group_ids, group_cameras;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto [group, is_new] = groups.emplace(std::pair{ids[i], cameras[i]}, static_cast<int64_t>(groups.size()));
    group_of.push_back(group->second);
    if (!is_new) continue;
    group_ids.push_back(ids[i]);
    group_cameras.push_back(cameras[i]);
  }
  const Tensor wide = features.to(torch::kFloat64);
  const Tensor unit = wide / wide.square().sum(1, true).sqrt();
  Tensor sums = torch::zeros({static_cast<int64_t>(groups.size()), features.size(1)}, torch::kFloat64);
  sums.index_add_(0, torch::tensor(group_of), unit);
  const Tensor lengths = sums.square().sum(1, true).sqrt();
  for (std::size_t group = 0; group < group_ids.size(); ++group) {
    REID_CHECK(lengths.const_data_ptr<double>()[group] > 0, InputError,
               fmt::format("{}: mean of the unit features of identity {} in camera {} must not be a zero vector, got one", names.features,
                           group_ids[group], group_cameras[group]));
  }
  FeatureSet pooled;
  pooled.features = (sums / lengths).to(torch::kFloat32);
  pooled.ids = torch::tensor(group_ids);
  pooled.cameras = torch::tensor(group_cameras);
  pooled.source = images.source;
  pooled.ids_source = images.ids_source;
  pooled.cameras_source = images.cameras_source;
  return pooled;
}

Inputs check_inputs(const FeatureSet& query_given, const FeatureSet& gallery, const Protocol& protocol,
                    ops::Metric metric) {
  const FeatureSet query = protocol.multi_query ? pool_queries(query_given) : query_given;
  const Names query_names(query, "query"), gallery_names(gallery, "gallery");
  const bool needs_cameras = protocol.removal != Removal::none;
  const bool needs_clothes = protocol.removal == Removal::same_id_same_camera_or_clothes;
  Inputs in;
  in.query = checked_features(query, query_names.features);
  in.query_images = query_given.features.size(0);
  in.gallery = checked_features(gallery, gallery_names.features);
  REID_CHECK(in.query.size(1) == in.gallery.size(1), InputError,
             fmt::format("{}: features must have {} columns like {}, got {}", gallery_names.features, in.query.size(1),
                         query_names.features, in.gallery.size(1)));
  const int64_t q = in.query.size(0), g = in.gallery.size(0);
  in.query_ids = labels(query.ids, q, query_names.ids, "ids");
  in.gallery_ids = labels(gallery.ids, g, gallery_names.ids, "ids");
  in.query_cameras = optional_labels(query.cameras, q, query_names.cameras, "cameras", needs_cameras, protocol);
  in.gallery_cameras = optional_labels(gallery.cameras, g, gallery_names.cameras, "cameras", needs_cameras, protocol);
  in.query_clothes = optional_labels(query.clothes, q, query_names.clothes, "clothes", needs_clothes, protocol);
  in.gallery_clothes = optional_labels(gallery.clothes, g, gallery_names.clothes, "clothes", needs_clothes, protocol);
  if (protocol.positive_query_ids) {
    const auto ids = labels(query_given.ids, in.query_images, query_names.ids, "ids");  // of rows as given, not as pooled
    for (std::size_t i = 0; i < ids.size(); ++i) {
      REID_CHECK(ids[i] > 0, InputError,
                 fmt::format("{}: query ids must be positive under protocol {}, got {} in row {}", query_names.ids,
                             protocol.name, ids[i], i));
    }
  }
  check_values(in.query, metric, query_names.features);
  for (int64_t row = 0; row < g; ++row) {
    if (protocol.junk && in.gallery_ids[static_cast<std::size_t>(row)] == -1) {
      in.junk.push_back(static_cast<int32_t>(row));
    } else {
      in.gallery_rows.push_back(row);
    }
  }
  REID_CHECK(!in.gallery_rows.empty(), InputError,
             fmt::format("{}: gallery must hold more than junk (id -1), got {} junk rows", gallery_names.ids, g));
  check_values(in.gallery, metric, gallery_names.features);
  in.list_identities();
  return in;
}

void Inputs::list_identities() {
  by_id.clear();
  std::size_t next = 0;
  for (std::size_t j = 0; j < gallery_ids.size(); ++j) {
    if (next < junk.size() && static_cast<std::size_t>(junk[next]) == j) {
      ++next;
      continue;
    }
    by_id[gallery_ids[j]].push_back(static_cast<int32_t>(j));
  }
}

void Inputs::drop_junk() {
  if (junk.empty()) return;
  gallery = gallery.index_select(0, torch::tensor(gallery_rows));
  gallery_ids = chosen(gallery_ids, gallery_rows);
  gallery_cameras = chosen(gallery_cameras, gallery_rows);
  gallery_clothes = chosen(gallery_clothes, gallery_rows);
  junk.clear();
  dropped = true;
  list_identities();
}

}  // namespace reid::metrics
