// SPDX-License-Identifier: Apache-2.0
// PNG by libpng itself: through OpenCV its messages would go to stderr.
#include <fmt/format.h>
#include <png.h>

#include <csetjmp>
#include <cstring>
#include <string>
#include <vector>

#include "image_io.hpp"

namespace reid::datasets::detail {
namespace {

/// libpng leaves by longjmp: no object with a destructor may live in the functions that call it.
class Png {
 public:
  explicit Png(std::string_view bytes) : bytes_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, fail, ignore);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
  }
  ~Png() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;

  bool read_header() {
    if (png_ == nullptr || info_ == nullptr) return false;
    if (setjmp(leave_) != 0) return false;
    png_set_read_fn(png_, this, read);
    png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_WARN_DISCARD);
    png_read_info(png_, info_);
    const int type = png_get_color_type(png_, info_);
    if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
    if (type == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png_, info_) < 8) png_set_expand_gray_1_2_4_to_8(png_);
    if (png_get_bit_depth(png_, info_) == 16) png_set_strip_16(png_);
    png_set_strip_alpha(png_);  // also the alpha that a palette brings
    if ((type & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  bool decode(png_bytep* rows) {
    if (setjmp(leave_) != 0) return false;
    png_read_image(png_, rows);
    png_read_end(png_, nullptr);
    return true;
  }

  int64_t width() const { return png_get_image_width(png_, info_); }
  int64_t height() const { return png_get_image_height(png_, info_); }
  std::size_t row_bytes() const { return png_get_rowbytes(png_, info_); }
  const char* message() const { return message_; }

 private:
  [[noreturn]] static void fail(png_structp png, png_const_charp message) {
    auto* self = static_cast<Png*>(png_get_error_ptr(png));
    std::strncpy(self->message_, message, sizeof(self->message_) - 1);
    std::longjmp(self->leave_, 1);
  }
  static void ignore(png_structp, png_const_charp) {}
  static void read(png_structp png, png_bytep out, std::size_t count) {
    auto* self = static_cast<Png*>(png_get_io_ptr(png));
    if (self->bytes_.size() - self->at_ < count) png_error(png, "premature end of file");
    std::memcpy(out, self->bytes_.data() + self->at_, count);
    self->at_ += count;
  }

  std::string_view bytes_;
  std::size_t at_ = 0;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::jmp_buf leave_;
  char message_[256] = {};
};

}  // namespace

torch::Tensor decode_png(std::string_view bytes, const std::string& name) {
  Png png(bytes);
  const auto corrupt = [&] {
    refuse(name, "a whole PNG", fmt::format("a file that is cut off or corrupt ({})", png.message()));
  };
  if (!png.read_header()) corrupt();
  check_size(png.width(), png.height(), name);
  if (png.row_bytes() != static_cast<std::size_t>(png.width()) * 3) corrupt();
  torch::Tensor pixels = torch::empty({png.height(), png.width(), 3}, torch::kUInt8);
  std::vector<png_bytep> rows(static_cast<std::size_t>(png.height()));
  for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = pixels.data_ptr<uint8_t>() + y * png.row_bytes();
  if (!png.decode(rows.data())) corrupt();
  return pixels;
}

}  // namespace reid::datasets::detail
