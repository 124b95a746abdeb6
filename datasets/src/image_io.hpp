// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <string>
#include <string_view>

#include "reid/datasets/image_io.hpp"

// One decoder a format; each gives [H, W, 3] uint8 RGB as stored, before the orientation, and throws DatasetError.
namespace reid::datasets::detail {

torch::Tensor decode_jpeg(std::string_view bytes, const std::string& name);
torch::Tensor decode_png(std::string_view bytes, const std::string& name);
torch::Tensor decode_tiff(std::string_view bytes, const PictureHeader& header, const std::string& name);
/// BMP and WebP.
torch::Tensor decode_by_opencv(std::string_view bytes, const PictureHeader& header, const std::string& name);

/// "<name>: picture must be <expectation>, got <actual>"
[[noreturn]] void refuse(const std::string& name, const std::string& expectation, const std::string& actual);

/// Orientation in an EXIF block (a TIFF structure, without "Exif\0\0"), 1 if it has none or makes no sense.
int exif_orientation(std::string_view tiff);

void check_size(int64_t width, int64_t height, const std::string& name);

/// a b / 255, rounded, for bytes.
inline int scaled(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

/// Colours of inks on white paper, 255 for all of an ink: ink c over key k leaves (255 - k) - c (255 - k) / 255.
inline void inks_to_rgb(int cyan, int magenta, int yellow, int key, uint8_t* rgb) {
  const int paper = 255 - key;
  rgb[0] = static_cast<uint8_t>(paper - scaled(cyan, paper));
  rgb[1] = static_cast<uint8_t>(paper - scaled(magenta, paper));
  rgb[2] = static_cast<uint8_t>(paper - scaled(yellow, paper));
}

}  // namespace reid::datasets::detail
