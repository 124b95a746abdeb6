// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "layout.hpp"

namespace reid::datasets {

/// A number and where it is documented.
struct Documented {
  std::string what;  ///< "train images", "train identities", the same of query and gallery, or "cameras"
  int64_t expected = 0;
  std::string source;
};

/// A set whose parts are up to three folders of pictures, told apart by nothing but data.
struct ThreeParts {
  std::string name;
  EntryInfo info;
  std::vector<std::string> official;  ///< names of the folder that holds the parts
  std::vector<std::string> train;     ///< folder by its possible names; none: the set has no training part
  std::vector<std::string> query;
  std::vector<std::string> gallery;
  bool recursive = false;
  NameParser parse;
  std::string pattern;
  int64_t lowest_identity = 1;
  std::vector<std::string> protocols;
  std::vector<std::string> notes;     ///< in every result
  std::string terms;
  std::vector<Documented> documented;
};

void add_three_parts(data::DataSetRegistry& registry, ThreeParts set);

}  // namespace reid::datasets
