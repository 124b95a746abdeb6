// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "reid/ops/distance.hpp"

namespace reid::metrics {

/// What is removed from the gallery for one query, besides junk.
enum class Removal {
  none,
  same_id_same_camera,
  same_id_same_camera_or_clothes,  ///< LTCC, cloth-changing
};

/// How a query and its gallery are scored: data, not code paths.
struct Protocol {
  std::string name;
  std::string summary;
  Removal removal = Removal::same_id_same_camera;
  bool junk = false;                 ///< identity -1 in the gallery is dropped for all
  bool positive_query_ids = false;   ///< a query with id <= 0 is an input error
  bool single_gallery_shot = false;  ///< CUHK03 classic: one random image per gallery id, 10 draws a query
  bool several_splits = false;
  bool multi_query = false;
  ops::Metric metric = ops::Metric::cosine;
  std::string warning;               ///< printed with every result
};

/// All protocols by name. @throws RegistryError for an unknown one, with the nearest name and the list.
const Protocol& protocol(const std::string& name);
const std::vector<Protocol>& protocols();

}  // namespace reid::metrics
