// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

/// Contact sheets: what was asked for and what was found, as a picture for people to look at.
namespace reid::datasets {

/// One query and its matches.
struct SheetRow {
  struct Match {
    std::string path;     ///< of the picture
    std::string caption;  ///< written below it
  };
  std::string text;     ///< the query, written into the first cell, if `picture` is empty
  std::string picture;  ///< the query's path
  std::vector<Match> matches;
};

/// Cells of 96 x 192 pixels and a caption below; ten matches a line, further ones on further lines.
inline constexpr int64_t kSheetColumns = 10;

/// Draws the rows below each other: the query framed in blue at the left, its matches to the right of it. Pictures keep
/// their ratio of sides. Letters are ASCII's; any other character is drawn as '?'.
/// @return  [H, W, 3] uint8, RGB.
/// @throws DatasetError naming a picture that can't be read; InputError for no row, or a sheet beyond 65,000 pixels.
torch::Tensor draw_sheet(const std::vector<SheetRow>& rows);

/// Throws InputError unless `write_picture` could write a sheet of so many rows of so many matches under that name, so that
/// it is known before the work.
void check_sheet(const std::string& path, int64_t rows, int64_t matches);

/// Writes [H, W, 3] uint8, RGB, atomically: JPEG (.jpg, .jpeg; quality 92), PNG (.png) or BMP (.bmp), by the name's extension.
/// @throws InputError for another extension, ShapeError for another tensor, WorkError if the file can't be written.
void write_picture(const std::string& path, const torch::Tensor& picture);

}  // namespace reid::datasets
