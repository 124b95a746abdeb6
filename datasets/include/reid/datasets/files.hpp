// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace reid::datasets {

/// The pictures below one folder.
struct PictureList {
  std::vector<std::string> names;  ///< relative to the folder, '/' between steps, in byte order
  int64_t skipped = 0;             ///< files that are no pictures
};

/// True for the extensions of JPEG, PNG, BMP, WebP and TIFF files, in any case; false for hidden files.
bool is_picture_name(const std::string& name);

/// Lists the pictures of one folder. The contents are not looked at. Half a million files take about a second.
/// @param recursive  also those in folders below it (hidden folders are left out).
/// @throws DatasetError if the folder is missing, not a folder or not readable.
PictureList list_pictures(const std::filesystem::path& folder, bool recursive = false);

}  // namespace reid::datasets
