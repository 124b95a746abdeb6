// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "reid/ops/distance.hpp"

/// Protocols: how a query and its gallery are scored, by name. Two figures may be compared if their protocol names
/// are equal.
namespace reid::metrics {

/// What is removed from the gallery for one query, besides junk.
enum class Removal {
  none,
  same_id_same_camera,
  same_id_same_camera_or_clothes,  ///< LTCC, cloth-changing: a hit differs in camera and in clothes
};

/// How a query and its gallery are scored: data, not code paths.
struct Protocol {
  std::string name;
  std::string summary;
  Removal removal = Removal::same_id_same_camera;
  bool junk = false;                 ///< identity -1 in the gallery is dropped for all
  bool positive_query_ids = false;   ///< a query with id <= 0 is an input error
  bool single_gallery_shot = false;  ///< CUHK03 classic: one random image per gallery id, 10 draws a query
  bool several_splits = false;       ///< means over splits: score each, then `combine_splits`
  bool multi_query = false;          ///< query rows of one identity and camera are pooled to one query
  ops::Metric metric = ops::Metric::cosine;
  bool query_text = false;           ///< queries are sentences
  bool gallery_text = false;         ///< the gallery holds sentences
  std::string warning;               ///< printed with every result
};

/// One protocol by name. @throws RegistryError for an unknown one, with the nearest name and the list.
const Protocol& protocol(const std::string& name);

/// All protocols, sorted by name.
const std::vector<Protocol>& protocols();

}  // namespace reid::metrics
