// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "reid/data/dataset.hpp"

/// Readers of published data sets. They make lists (see reid/data/dataset.hpp) and touch no pixels; the counts
/// that the sets' authors document are asserted by `check` (reid/datasets/check.hpp).
///
/// What holds for every reader:
/// - `root` is the folder that holds the set's own folders (`query`, `bounding_box_test`, ...). Its parent is
///   accepted too where it holds the folder under its official name (`Market-1501-v15.09.15`); a note says so.
/// - Lists are sorted by file name, or by path below the part's folder, in byte order. The order of a directory
///   is never used.
/// - Identities and cameras are the set's own numbers; junk (-1) and distractors (0) stay in the gallery.
/// - Files that are no pictures by their extension (`Thumbs.db`), and hidden files, are skipped and counted.
/// - A picture whose name doesn't fit the set's pattern is a DatasetError naming the file and the pattern.
/// - `counts("")` gives the documented numbers alone, the actual ones 0.
/// - A part that isn't asked for may be missing or empty; one that is asked for may not.
namespace reid::datasets {

/// All readers by name, filled from the list in datasets/CMakeLists.txt. Users add their own with
/// `registry().add<MyReader>("my_set")`.
data::DataSetRegistry& registry();

/// A registry without entries, for programs that want to choose.
data::DataSetRegistry empty_registry();

}  // namespace reid::datasets
