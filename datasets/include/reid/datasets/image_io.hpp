// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <string_view>

/// Pictures from files: the only place of the library that reads them.
namespace reid::datasets {

/// Most pixels a picture may claim: Pillow's limit, beyond which it calls a picture a decompression bomb. The claim is
/// checked in the header, before memory is asked for.
inline constexpr int64_t kMaxPixels = 178'956'970;

enum class PictureFormat { jpeg, png, bmp, webp, tiff };

/// What a file says of itself, read without decoding.
struct PictureHeader {
  PictureFormat format = PictureFormat::jpeg;
  int64_t width = 0;    ///< as stored, before the orientation is applied
  int64_t height = 0;
  int orientation = 1;  ///< EXIF's 1..8
};

/// Reads size and orientation. Every length and offset of the file is checked.
/// @param name  names the bytes in messages: the file's path.
/// @throws DatasetError if the bytes are empty, of no known format, cut off within the header, or claim no pixel or
///   more than kMaxPixels.
PictureHeader read_picture_header(std::string_view bytes, const std::string& name);

/// Decodes a picture to [H, W, 3] uint8, RGB, upright. Equal to what Pillow gives for
/// `ImageOps.exif_transpose(Image.open(path)).convert("RGB")`, byte for byte, for pictures that Pillow reads:
///   - JPEG by libjpeg-turbo, PNG by libpng, TIFF by libtiff, BMP and WebP by OpenCV.
///   - EXIF orientation 1..8 is applied (JPEG, PNG, WebP, TIFF); an unknown value counts as 1.
///   - Gray gives three equal channels, palettes their colours, 1 bit 0 and 255; alpha is dropped.
///   - CMYK: R = (255 - K) (255 - C) / 255, rounded; JPEG (YCCK too) inverted first, as Adobe writes it.
///   - 16 bits a channel: the high byte.
///   - Several frames or pages: the first.
///   - TIFF with colours multiplied by alpha: divided by it.
/// Differs from Pillow: 16-bit gray keeps its high byte, where Pillow's conversion cuts at 255 and leaves white; a TIFF
///   of 32-bit numbers or of CIE L*a*b* and an animated WebP are refused; uncompressed YCbCr TIFF is off by 1 at most;
///   a picture that is cut off or corrupt is an error even where Pillow fills up the rest. In a JPEG, stray bytes between
///   segments, the JFIF version and Adobe's transform code are no corruption.
/// Parity: tests/datasets/image_io_test.cpp, fixtures of pictures_v1.
///
/// Safe to call from many threads; starts none and prints nothing.
/// @throws DatasetError naming the file: missing, unreadable, empty, no picture, too large, cut off, corrupt.
torch::Tensor decode_image(const std::string& path);

/// The same from memory. @param name  names the bytes in messages.
torch::Tensor decode_image_bytes(std::string_view bytes, const std::string& name);

}  // namespace reid::datasets
