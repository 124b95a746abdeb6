// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "reid/core/json.hpp"
#include "reid/core/progress.hpp"
#include "reid/data/dataset.hpp"

namespace reid::datasets {

/// One thing that is off in a data set.
struct CheckProblem {
  std::string kind;     ///< "count", "missing", "misnamed", "corrupt" or "duplicate"
  std::string path;     ///< "" for a count
  std::string message;  ///< one sentence
};

/// What `check` found.
struct CheckReport {
  std::string name;
  std::string root;
  std::vector<data::DocumentedCount> counts;
  std::vector<CheckProblem> problems;  ///< in the order of kinds above, then of paths
  std::vector<std::string> notes;
  int64_t pictures = 0;                ///< different files named by the set's lists
  int64_t decoded = 0;                 ///< of these, decoded whole
  int64_t bytes = 0;
  int64_t skipped_files = 0;
  bool ok() const { return problems.empty(); }
  int64_t count(const std::string& kind) const;
  Json to_json() const;
};

/// Reads a data set whole: every part and protocol that is there, every picture decoded.
/// - count: a documented number differs from the actual one (a drawn set documents its own, see synthetic.hpp)
/// - missing: a folder, list or listed picture isn't there, or a part is empty
/// - misnamed: a picture whose name or list entry doesn't fit the set's pattern
/// - corrupt: a picture that can't be decoded whole, an empty file among them
/// - duplicate: two pictures with the same bytes. Exempt: a box of Market-1501's gt_bbox that is a query, under the
///   same file name, as the release has 1,831 of them.
/// A reader of a user's own that isn't one of ours is read by `read` and `counts`: its first problem ends the listing.
/// @param threads  0: all cores.
/// @throws DatasetError if the root itself is wrong: nothing can be checked then.
/// Cost: one pass over all bytes; about 3,000 pictures of 64x128 a second and core.
CheckReport check(const data::DataSetReader& reader, const std::string& name, const std::filesystem::path& root,
                  int64_t threads = 0, const ProgressSink& progress = {});

}  // namespace reid::datasets
