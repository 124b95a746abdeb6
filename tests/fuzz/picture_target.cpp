// SPDX-License-Identifier: Apache-2.0
#include <torch/types.h>

#include "fuzz/targets.hpp"
#include "reid/core/error.hpp"
#include "reid/datasets/image_io.hpp"

namespace reid::fuzz {
namespace {

/// Larger pictures are right but slow; their headers are read all the same.
constexpr int64_t kMaxDecoded = 1 << 20;

}  // namespace

void picture(std::string_view bytes) {
  const std::string name = "fuzz.jpg";
  const std::string copy(bytes);
  datasets::PictureHeader header;
  try {
    header = datasets::read_picture_header(copy, name);
    require(header.width > 0 && header.height > 0, "sizes must be positive");
    require(header.height <= datasets::kMaxPixels / header.width, "sizes must be within the limit");
    require(header.orientation >= 1 && header.orientation <= 8, "orientation must be 1..8");
  } catch (const DatasetError& error) {
    require_sentence(error.what(), name);
    header.width = 0;
  }
  if (header.width * header.height > kMaxDecoded) return;
  try {
    const auto image = datasets::decode_image_bytes(copy, name);
    require(header.width > 0, "what has no header must not be decoded");
    require(image.dim() == 3 && image.size(2) == 3 && image.scalar_type() == torch::kUInt8,
            "a picture must be [H, W, 3] uint8");
    require(image.size(0) * image.size(1) == header.width * header.height, "size must be the header's");
  } catch (const DatasetError& error) {
    require_sentence(error.what(), name);
  }
}

}  // namespace reid::fuzz
