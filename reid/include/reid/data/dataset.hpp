// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "reid/core/registry.hpp"
#include "reid/core/types.hpp"

namespace reid::data {

/// Query and gallery of one evaluation; sets with random splits have several.
struct EvaluationSplit {
  std::vector<Sample> query;
  std::vector<Sample> gallery;
};

/// A data set as lists; no pixels. Lists are sorted by path, junk (identity -1) is still in the gallery.
struct DataSet {
  std::string name;
  std::vector<Sample> train;
  std::vector<EvaluationSplit> splits;  ///< one unless the protocol has several
  std::vector<Sample> multi_query;      ///< Market-1501's gt_bbox, where it is there
  std::string default_protocol;         ///< "" if the user must choose
  std::vector<std::string> notes;       ///< printed with every result: a withdrawn set, val trained on, ...
  int64_t skipped_files = 0;            ///< files that are no pictures
};

/// Which parts a caller needs: a part that isn't needed may be missing on disk.
struct Parts {
  bool train = true;
  bool evaluation = true;
};

/// One documented count, asserted by `reid datasets check`.
struct DocumentedCount {
  std::string what;    ///< "train images", "query identities", ...
  int64_t expected = 0;
  int64_t actual = 0;
  std::string source;  ///< where the number is documented; says so if second-hand or unverified
};

/// Reads one kind of data set from its published layout.
class DataSetReader {
 public:
  virtual ~DataSetReader() = default;
  /// @param root  the folder that holds the set's own folders.
  /// @param protocol  name of the protocol it is read for ("" : the default): some sets split differently.
  /// @throws DatasetError naming the missing folder, file or the entry that can't be parsed.
  virtual DataSet read(const std::filesystem::path& root, const Parts& parts, const std::string& protocol) const = 0;
  /// Protocol names this set may be scored under; the first is the default unless `default_protocol` is "".
  virtual std::vector<std::string> protocols() const = 0;
  /// The documented counts beside those of a set read from disk.
  virtual std::vector<DocumentedCount> counts(const std::filesystem::path& root) const = 0;
  /// Research-only terms, withdrawal and so on; shown by `reid datasets info`.
  virtual std::string terms() const = 0;
};

using DataSetRegistry = Registry<DataSetReader>;

}  // namespace reid::data
