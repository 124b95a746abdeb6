// SPDX-License-Identifier: Apache-2.0
// What a picture says of itself: format, size and orientation, with every length and offset checked.
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <optional>

#include "image_io.hpp"
#include "reid/core/error.hpp"

namespace reid::datasets {
namespace {

/// Bytes with a byte order; reads outside throw.
class Reader {
 public:
  Reader(std::string_view bytes, bool big_endian) : bytes_(bytes), big_endian_(big_endian) {}
  uint64_t number(uint64_t offset, int size) const {
    if (offset > bytes_.size() || bytes_.size() - offset < static_cast<uint64_t>(size)) throw End{};
    uint64_t value = 0;
    for (int i = 0; i < size; ++i) {
      const auto byte = static_cast<uint8_t>(bytes_[offset + static_cast<uint64_t>(big_endian_ ? i : size - 1 - i)]);
      value = value << 8 | byte;
    }
    return value;
  }
  std::string_view text(uint64_t offset, uint64_t size) const {
    if (offset > bytes_.size() || bytes_.size() - offset < size) throw End{};
    return bytes_.substr(offset, size);
  }
  uint64_t size() const { return bytes_.size(); }
  struct End {};

 private:
  std::string_view bytes_;
  bool big_endian_;
};

/// Values of the first image file directory of a TIFF structure that are wanted here.
struct Directory {
  uint64_t width = 0;
  uint64_t height = 0;
  uint64_t orientation = 1;
};

std::optional<Directory> read_directory(std::string_view bytes) {
  if (bytes.size() < 8) return std::nullopt;
  const std::string_view order = bytes.substr(0, 2);
  if (order != "II" && order != "MM") return std::nullopt;
  const Reader reader(bytes, order == "MM");
  if (reader.number(2, 2) != 42) return std::nullopt;
  const uint64_t begin = reader.number(4, 4);
  const uint64_t entries = reader.number(begin, 2);
  Directory directory;
  for (uint64_t i = 0; i < entries; ++i) {
    const uint64_t entry = begin + 2 + i * 12;
    const uint64_t tag = reader.number(entry, 2);
    const uint64_t type = reader.number(entry + 2, 2);
    if (tag != 256 && tag != 257 && tag != 274) continue;
    if ((type != 3 && type != 4) || reader.number(entry + 4, 4) != 1) return std::nullopt;
    const uint64_t value = reader.number(entry + 8, type == 3 ? 2 : 4);
    // Twice: decoders take the first or the last, and the size that is checked must be the one that is decoded.
    if ((tag == 256 && directory.width != 0) || (tag == 257 && directory.height != 0)) return std::nullopt;
    (tag == 256 ? directory.width : tag == 257 ? directory.height : directory.orientation) = value;
  }
  return directory;
}

int valid_orientation(uint64_t value) { return value >= 1 && value <= 8 ? static_cast<int>(value) : 1; }

void read_jpeg(const Reader& reader, PictureHeader& header) {
  uint64_t at = 2;
  bool oriented = false;
  for (;;) {
    while (reader.number(at, 1) != 0xff) ++at;  // stray bytes between segments
    while (reader.number(at, 1) == 0xff) ++at;
    const uint64_t marker = reader.number(at++, 1);
    if (marker == 0x00 || marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8)) continue;
    if (marker == 0xd9) throw Reader::End{};
    const uint64_t length = reader.number(at, 2);
    if (length < 2) throw Reader::End{};
    const bool frame = marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (frame) {
      header.height = static_cast<int64_t>(reader.number(at + 3, 2));
      header.width = static_cast<int64_t>(reader.number(at + 5, 2));
      return;
    }
    if (marker == 0xe1 && length >= 8 && !oriented && reader.text(at + 2, 6) == std::string_view("Exif\0\0", 6)) {
      header.orientation = detail::exif_orientation(reader.text(at + 8, length - 8));
      oriented = true;
    }
    if (marker == 0xda) throw Reader::End{};
    at += length;
  }
}

void read_png(const Reader& reader, PictureHeader& header) {
  if (reader.text(12, 4) != "IHDR") throw Reader::End{};
  header.width = static_cast<int64_t>(reader.number(16, 4));
  header.height = static_cast<int64_t>(reader.number(20, 4));
  for (uint64_t at = 8; at + 12 <= reader.size();) {
    const uint64_t length = reader.number(at, 4);
    const auto kind = reader.text(at + 4, 4);
    if (kind == "eXIf") {
      header.orientation = detail::exif_orientation(reader.text(at + 8, length));
      return;
    }
    at += length + 12;
  }
}

void read_bmp(const Reader& reader, PictureHeader& header) {
  if (reader.number(14, 4) == 12) {
    header.width = static_cast<int64_t>(reader.number(18, 2));
    header.height = static_cast<int64_t>(reader.number(20, 2));
  } else {
    header.width = static_cast<int32_t>(reader.number(18, 4));
    header.height = std::abs(static_cast<int64_t>(static_cast<int32_t>(reader.number(22, 4))));
  }
}

void read_webp(const Reader& reader, PictureHeader& header) {
  const auto kind = reader.text(12, 4);
  if (kind == "VP8 ") {
    header.width = static_cast<int64_t>(reader.number(26, 2) & 0x3fff);
    header.height = static_cast<int64_t>(reader.number(28, 2) & 0x3fff);
  } else if (kind == "VP8L") {
    const uint64_t bits = reader.number(21, 4);
    header.width = static_cast<int64_t>((bits & 0x3fff) + 1);
    header.height = static_cast<int64_t>((bits >> 14 & 0x3fff) + 1);
  } else if (kind == "VP8X") {
    header.width = static_cast<int64_t>(reader.number(24, 3) + 1);
    header.height = static_cast<int64_t>(reader.number(27, 3) + 1);
    for (uint64_t at = 12; at + 8 <= reader.size();) {
      const uint64_t length = reader.number(at + 4, 4);
      if (reader.text(at, 4) == "EXIF" && length <= reader.size() - at - 8) {
        auto exif = reader.text(at + 8, length);
        if (exif.substr(0, 6) == std::string_view("Exif\0\0", 6)) exif.remove_prefix(6);
        header.orientation = detail::exif_orientation(exif);
      }
      at += 8 + length + (length & 1);
    }
  } else {
    throw Reader::End{};
  }
}

void read_tiff(std::string_view bytes, PictureHeader& header) {
  const auto directory = read_directory(bytes);
  if (!directory) throw Reader::End{};
  // Behind a directory is the place of the next; in many files it's the last that is written.
  const Reader reader(bytes, bytes[0] == 'M');
  const uint64_t begin = reader.number(4, 4);
  static_cast<void>(reader.number(begin + 2 + 12 * reader.number(begin, 2), 4));
  header.width = static_cast<int64_t>(directory->width);
  header.height = static_cast<int64_t>(directory->height);
  header.orientation = valid_orientation(directory->orientation);
}

std::optional<PictureFormat> recognise(std::string_view bytes) {
  if (bytes.substr(0, 3) == "\xff\xd8\xff") return PictureFormat::jpeg;
  if (bytes.substr(0, 8) == "\x89PNG\r\n\x1a\n") return PictureFormat::png;
  if (bytes.substr(0, 2) == "BM") return PictureFormat::bmp;
  if (bytes.substr(0, 4) == "RIFF" && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP") return PictureFormat::webp;
  const std::string_view start = bytes.substr(0, 4);
  if (start == std::string_view("II*\0", 4) || start == std::string_view("MM\0*", 4)) return PictureFormat::tiff;
  return std::nullopt;
}

}  // namespace

namespace detail {

void refuse(const std::string& name, const std::string& expectation, const std::string& actual) {
  throw DatasetError(fmt::format("{}: picture must be {}, got {}", name, expectation, actual));
}

int exif_orientation(std::string_view tiff) {
  try {
    const auto directory = read_directory(tiff);
    return directory ? valid_orientation(directory->orientation) : 1;
  } catch (const Reader::End&) {
    return 1;
  }
}

void check_size(int64_t width, int64_t height, const std::string& name) {
  if (width < 1 || height < 1) {
    refuse(name, "at least 1 x 1 pixels", fmt::format("a header that says {} x {}", width, height));
  }
  if (width > kMaxPixels / height) {
    refuse(name, fmt::format("at most {} pixels", kMaxPixels), fmt::format("a header that says {} x {}", width, height));
  }
}

}  // namespace detail

PictureHeader read_picture_header(std::string_view bytes, const std::string& name) {
  if (bytes.empty()) detail::refuse(name, "a JPEG, PNG, BMP, WebP or TIFF file", "an empty file");
  const auto format = recognise(bytes);
  if (!format) detail::refuse(name, "a JPEG, PNG, BMP, WebP or TIFF file", "a file of another kind");
  PictureHeader header;
  header.format = *format;
  try {
    switch (*format) {
      case PictureFormat::jpeg:
        read_jpeg(Reader(bytes, true), header);
        break;
      case PictureFormat::png:
        read_png(Reader(bytes, true), header);
        break;
      case PictureFormat::bmp:
        read_bmp(Reader(bytes, false), header);
        break;
      case PictureFormat::webp:
        read_webp(Reader(bytes, false), header);
        break;
      case PictureFormat::tiff:
        read_tiff(bytes, header);
        break;
    }
  } catch (const Reader::End&) {
    detail::refuse(name, "whole", "a file that is cut off or corrupt within its header");
  }
  detail::check_size(header.width, header.height, name);
  return header;
}

}  // namespace reid::datasets
