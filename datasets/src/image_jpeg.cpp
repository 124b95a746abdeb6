// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <csetjmp>
#include <cstdio>
#include <vector>

#include <jpeglib.h>
// After jpeglib.h, which declares what it uses.
#include <jerror.h>

#include "image_io.hpp"

namespace reid::datasets::detail {
namespace {

struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf leave;
  char message[JMSG_LENGTH_MAX];
};

ErrorManager& manager(j_common_ptr info) { return *reinterpret_cast<ErrorManager*>(info->err); }

[[noreturn]] void fail(j_common_ptr info) {
  auto& errors = manager(info);
  errors.base.format_message(info, errors.message);
  std::longjmp(errors.leave, 1);
}

/// Warnings tell of pictures that are cut off or corrupt; libjpeg would fill up the rest with gray.
void emit(j_common_ptr info, int level) {
  if (level >= 0) return;  // trace messages
  switch (info->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_ADOBE_XFORM:
      return;
    default:
      fail(info);
  }
}

void say_nothing(j_common_ptr) {}

/// libjpeg leaves by longjmp: no object with a destructor may live in the functions that call it.
class Jpeg {
 public:
  explicit Jpeg(std::string_view bytes) : bytes_(bytes) {
    info_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = fail;
    errors_.base.emit_message = emit;
    errors_.base.output_message = say_nothing;
    errors_.message[0] = '\0';
  }
  ~Jpeg() { jpeg_destroy_decompress(&info_); }
  Jpeg(const Jpeg&) = delete;
  Jpeg& operator=(const Jpeg&) = delete;

  bool read_header() {
    if (setjmp(errors_.leave) != 0) return false;
    jpeg_create_decompress(&info_);
    jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(bytes_.data()), bytes_.size());
    jpeg_read_header(&info_, TRUE);
    const bool inks = info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK;
    info_.out_color_space = inks ? JCS_CMYK : JCS_RGB;
    info_.dct_method = JDCT_ISLOW;
    info_.do_fancy_upsampling = TRUE;
    return true;
  }

  /// @param pixels  height x width x (3, or 4 for CMYK) bytes.
  bool decode(uint8_t* pixels) {
    if (setjmp(errors_.leave) != 0) return false;
    jpeg_start_decompress(&info_);
    const std::size_t stride = static_cast<std::size_t>(info_.output_width) * static_cast<std::size_t>(info_.output_components);
    constexpr JDIMENSION kRows = 16;
    JSAMPROW rows[kRows];
    while (info_.output_scanline < info_.output_height) {
      const JDIMENSION left = info_.output_height - info_.output_scanline;
      const JDIMENSION count = left < kRows ? left : kRows;
      for (JDIMENSION i = 0; i < count; ++i) rows[i] = pixels + (info_.output_scanline + i) * stride;
      jpeg_read_scanlines(&info_, rows, count);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }

  int64_t width() const { return info_.image_width; }
  int64_t height() const { return info_.image_height; }
  bool cmyk() const { return info_.out_color_space == JCS_CMYK; }
  const char* message() const { return errors_.message; }

 private:
  std::string_view bytes_;
  jpeg_decompress_struct info_{};
  ErrorManager errors_{};
};

}  // namespace

torch::Tensor decode_jpeg(std::string_view bytes, const std::string& name) {
  Jpeg jpeg(bytes);
  const auto corrupt = [&] {
    refuse(name, "a whole JPEG", fmt::format("a file that is cut off or corrupt ({})", jpeg.message()));
  };
  if (!jpeg.read_header()) corrupt();
  check_size(jpeg.width(), jpeg.height(), name);
  torch::Tensor pixels = torch::empty({jpeg.height(), jpeg.width(), 3}, torch::kUInt8);
  auto* out = pixels.data_ptr<uint8_t>();
  if (!jpeg.cmyk()) {
    if (!jpeg.decode(out)) corrupt();
    return pixels;
  }
  const int64_t count = jpeg.height() * jpeg.width();
  std::vector<uint8_t> inks(static_cast<std::size_t>(count) * 4);
  if (!jpeg.decode(inks.data())) corrupt();
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* ink = inks.data() + 4 * i;  // stored inverted: 255 is no ink
    inks_to_rgb(255 - ink[0], 255 - ink[1], 255 - ink[2], 255 - ink[3], out + 3 * i);
  }
  return pixels;
}

}  // namespace reid::datasets::detail
