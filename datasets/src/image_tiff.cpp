// SPDX-License-Identifier: Apache-2.0
// TIFF by libtiff itself: OpenCV multiplies colours by their alpha and has rules of its own for CMYK.
#include <fmt/format.h>
#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "image_io.hpp"

namespace reid::datasets::detail {
namespace {

/// Most bytes of a row or a tile, and most that libtiff may ask for at once.
constexpr uint64_t kMostRow = uint64_t{1} << 28;
constexpr tmsize_t kMostMemory = tmsize_t{1} << 29;
constexpr uint16_t kMostSamples = 16;

class Tiff {
 public:
  explicit Tiff(std::string_view bytes) : bytes_(bytes) {
    TIFFOpenOptions* options = TIFFOpenOptionsAlloc();
    if (options == nullptr) return;
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, kMostMemory);
    TIFFOpenOptionsSetErrorHandlerExtR(options, note_error, this);
    TIFFOpenOptionsSetWarningHandlerExtR(options, note_warning, this);
    // m: not mapped, read through `read`.
    file_ = TIFFClientOpenExt("picture", "rm", this, read, write, seek, close, size, map, unmap, options);
    TIFFOpenOptionsFree(options);
  }
  ~Tiff() {
    if (file_ != nullptr) TIFFClose(file_);
  }
  Tiff(const Tiff&) = delete;
  Tiff& operator=(const Tiff&) = delete;

  TIFF* get() const { return file_; }
  const std::string& message() const { return message_; }
  bool warned() const { return warned_; }
  void forget_warnings() { warned_ = false; }

  template <class T>
  T field(uint32_t tag, T absent) const {
    T value{};
    return TIFFGetFieldDefaulted(file_, tag, &value) == 1 ? value : absent;
  }

 private:
  static Tiff& self(thandle_t handle) { return *static_cast<Tiff*>(handle); }
  static tmsize_t read(thandle_t handle, void* out, tmsize_t count) {
    Tiff& tiff = self(handle);
    if (tiff.at_ >= tiff.bytes_.size() || count <= 0) return 0;
    const std::size_t taken = std::min(static_cast<std::size_t>(count), tiff.bytes_.size() - tiff.at_);
    std::memcpy(out, tiff.bytes_.data() + tiff.at_, taken);
    tiff.at_ += taken;
    return static_cast<tmsize_t>(taken);
  }
  static tmsize_t write(thandle_t, void*, tmsize_t) { return 0; }
  static toff_t seek(thandle_t handle, toff_t offset, int from) {
    Tiff& tiff = self(handle);
    tiff.at_ = offset + (from == SEEK_CUR ? tiff.at_ : from == SEEK_END ? tiff.bytes_.size() : 0);
    return tiff.at_;
  }
  static int close(thandle_t) { return 0; }
  static toff_t size(thandle_t handle) { return self(handle).bytes_.size(); }
  static int map(thandle_t, void**, toff_t*) { return 0; }
  static void unmap(thandle_t, void*, toff_t) {}

  /// 1: libtiff prints nothing.
  static int note_error(TIFF*, void* user, const char*, const char* format, va_list arguments) {
    auto& message = static_cast<Tiff*>(user)->message_;
    char text[256];
    std::vsnprintf(text, sizeof(text), format, arguments);
    if (message.empty()) message = text;
    for (char& c : message) {
      if (static_cast<unsigned char>(c) < 0x20) c = ' ';
    }
    return 1;
  }
  static int note_warning(TIFF*, void* user, const char*, const char*, va_list) {
    static_cast<Tiff*>(user)->warned_ = true;
    return 1;
  }

  std::string_view bytes_;
  uint64_t at_ = 0;
  TIFF* file_ = nullptr;
  std::string message_;
  bool warned_ = false;
};

/// What a picture is made of.
struct Layout {
  uint32_t width = 0, height = 0;
  uint16_t bits = 1, samples = 1, photometric = 0, compression = 1;
  bool planes = false;  ///< each sample in a plane of its own
  int used = 1;         ///< samples that are kept, the first ones
  bool scale = true;    ///< fewer than 8 bits: to 0..255; a palette's indices stay as they are
  bool multiplied = false;  ///< by alpha, which is sample 3
};

uint32_t sample_of(const uint8_t* row, std::size_t index, int bits) {
  if (bits == 8) return row[index];
  if (bits == 16) {
    uint16_t value = 0;
    std::memcpy(&value, row + 2 * index, 2);
    return value >> 8;
  }
  const std::size_t at = index * static_cast<std::size_t>(bits);
  return static_cast<uint32_t>(row[at / 8] >> (8 - bits - static_cast<int>(at % 8))) & ((1U << bits) - 1);
}

class Decoder {
 public:
  Decoder(Tiff& tiff, const std::string& name) : tiff_(tiff), name_(name) {}

  torch::Tensor decode(const PictureHeader& header) {
    read_layout(header);
    torch::Tensor pixels = torch::empty({header.height, header.width, 3}, torch::kUInt8);
    auto* out = pixels.data_ptr<uint8_t>();
    tiff_.forget_warnings();
    if (layout_.photometric == PHOTOMETRIC_YCBCR) {
      decode_ycbcr(out);
      return pixels;
    }
    const std::size_t count = static_cast<std::size_t>(layout_.width) * layout_.height;
    samples_.resize(count * static_cast<std::size_t>(layout_.used));
    TIFFIsTiled(tiff_.get()) ? read_tiles() : read_rows();
    // What decoders fill up is a warning to libtiff; of LZW's only an old order of bits is.
    if (tiff_.warned() && layout_.compression != COMPRESSION_LZW) corrupt();
    to_rgb(count, out);
    return pixels;
  }

 private:
  [[noreturn]] void corrupt() const {
    refuse(name_, "a whole TIFF", tiff_.message().empty()
                                      ? "a file that is cut off or corrupt"
                                      : fmt::format("a file that is cut off or corrupt ({})", tiff_.message()));
  }

  void read_layout(const PictureHeader& header) {
    if (tiff_.get() == nullptr) corrupt();
    layout_.width = tiff_.field<uint32_t>(TIFFTAG_IMAGEWIDTH, 0);
    layout_.height = tiff_.field<uint32_t>(TIFFTAG_IMAGELENGTH, 0);
    if (layout_.width != header.width || layout_.height != header.height) {
      refuse(name_, "of the size that its header says", fmt::format("{} x {} pixels", layout_.width, layout_.height));
    }
    layout_.bits = tiff_.field<uint16_t>(TIFFTAG_BITSPERSAMPLE, 1);
    layout_.samples = tiff_.field<uint16_t>(TIFFTAG_SAMPLESPERPIXEL, 1);
    layout_.compression = tiff_.field<uint16_t>(TIFFTAG_COMPRESSION, COMPRESSION_NONE);
    layout_.planes = tiff_.field<uint16_t>(TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) == PLANARCONFIG_SEPARATE;
    const bool has_photometric = TIFFGetField(tiff_.get(), TIFFTAG_PHOTOMETRIC, &layout_.photometric) == 1;
    const auto numbers = tiff_.field<uint16_t>(TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_UINT);
    const int bits = layout_.bits;
    const bool known = bits == 1 || bits == 2 || bits == 4 || bits == 8 || bits == 16;
    if (!known || (numbers != SAMPLEFORMAT_UINT && numbers != SAMPLEFORMAT_VOID)) {
      refuse(name_, "of 1 to 16 bits a channel", "a TIFF of another kind of numbers");
    }
    if (!has_photometric) refuse(name_, "a whole TIFF", "one that doesn't say how its colours are meant");
    if (layout_.samples > kMostSamples) {
      refuse(name_, fmt::format("of at most {} channels", kMostSamples), std::to_string(layout_.samples));
    }
    uint16_t extras = 0;
    const uint16_t* extra = nullptr;
    TIFFGetFieldDefaulted(tiff_.get(), TIFFTAG_EXTRASAMPLES, &extras, &extra);
    bool fits = true;
    switch (layout_.photometric) {
      case PHOTOMETRIC_MINISWHITE:
      case PHOTOMETRIC_MINISBLACK:
        break;
      case PHOTOMETRIC_PALETTE:
        layout_.scale = false;
        fits = bits <= 8;
        break;
      case PHOTOMETRIC_RGB:
        layout_.multiplied = layout_.samples >= 4 && extras > 0 && extra[0] == EXTRASAMPLE_ASSOCALPHA;
        layout_.used = layout_.multiplied ? 4 : 3;
        fits = bits >= 8;
        break;
      case PHOTOMETRIC_SEPARATED:
        layout_.used = 4;
        fits = bits >= 8 && tiff_.field<uint16_t>(TIFFTAG_INKSET, INKSET_CMYK) == INKSET_CMYK;
        break;
      case PHOTOMETRIC_YCBCR:
        layout_.used = 3;
        fits = bits == 8 && !layout_.planes;
        if (fits && layout_.compression == COMPRESSION_JPEG) {
          TIFFSetField(tiff_.get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
          layout_.photometric = PHOTOMETRIC_RGB;
        }
        break;
      default:
        fits = false;
    }
    if (!fits || layout_.samples < layout_.used) {
      refuse(name_, "gray, RGB, CMYK, YCbCr or of a palette",
             fmt::format("a TIFF of another kind of colours (photometric {}, {} channels of {} bits)", layout_.photometric,
                         layout_.samples, layout_.bits));
    }
  }

  /// Keeps the samples of `count` pixels from column `x` of row `y`; `plane` -1: all, side by side.
  void keep(const uint8_t* row, uint32_t y, uint32_t x, uint32_t count, int plane) {
    const int bits = layout_.bits;
    const uint32_t factor = layout_.scale && bits < 8 ? 255 / ((1U << bits) - 1) : 1;
    const auto used = static_cast<std::size_t>(layout_.used);
    uint8_t* out = samples_.data() + (static_cast<std::size_t>(y) * layout_.width + x) * used;
    for (uint32_t i = 0; i < count; ++i, out += used) {
      if (plane >= 0) {
        out[plane] = static_cast<uint8_t>(factor * sample_of(row, i, bits));
        continue;
      }
      for (std::size_t k = 0; k < used; ++k) {
        out[k] = static_cast<uint8_t>(factor * sample_of(row, static_cast<std::size_t>(i) * layout_.samples + k, bits));
      }
    }
  }

  std::vector<uint8_t> buffer(uint64_t size) const {
    if (size == 0) corrupt();
    if (size > kMostRow) refuse(name_, fmt::format("of rows and tiles of at most {} bytes", kMostRow), fmt::format("a TIFF with {}", size));
    return std::vector<uint8_t>(static_cast<std::size_t>(size));
  }

  void read_rows() {
    std::vector<uint8_t> row = buffer(TIFFScanlineSize64(tiff_.get()));
    check_row(row.size(), layout_.width);
    for (int plane = 0; plane < (layout_.planes ? layout_.used : 1); ++plane) {
      for (uint32_t y = 0; y < layout_.height; ++y) {
        if (TIFFReadScanline(tiff_.get(), row.data(), y, static_cast<uint16_t>(plane)) != 1) corrupt();
        keep(row.data(), y, 0, layout_.width, layout_.planes ? plane : -1);
      }
    }
  }

  void read_tiles() {
    const auto wide = tiff_.field<uint32_t>(TIFFTAG_TILEWIDTH, 0), high = tiff_.field<uint32_t>(TIFFTAG_TILELENGTH, 0);
    std::vector<uint8_t> tile = buffer(TIFFTileSize64(tiff_.get()));
    const auto stride = static_cast<std::size_t>(TIFFTileRowSize64(tiff_.get()));
    if (wide == 0 || high == 0 || stride == 0 || tile.size() / stride < high) corrupt();
    check_row(stride, wide);
    for (int plane = 0; plane < (layout_.planes ? layout_.used : 1); ++plane) {
      for (uint64_t y = 0; y < layout_.height; y += high) {
        for (uint64_t x = 0; x < layout_.width; x += wide) {
          const auto left = static_cast<uint32_t>(x), top = static_cast<uint32_t>(y);
          if (TIFFReadTile(tiff_.get(), tile.data(), left, top, 0, static_cast<uint16_t>(plane)) < 0) corrupt();
          const uint32_t rows = std::min(high, layout_.height - top), count = std::min(wide, layout_.width - left);
          for (uint32_t r = 0; r < rows; ++r) keep(tile.data() + r * stride, top + r, left, count, layout_.planes ? plane : -1);
        }
      }
    }
  }

  /// A row of `width` pixels must hold the bits that `keep` takes from it.
  void check_row(std::size_t size, uint32_t width) const {
    const uint64_t bits = uint64_t{width} * layout_.bits * (layout_.planes ? 1U : layout_.samples);
    if (size < (bits + 7) / 8) corrupt();
  }

  /// As libtiff itself converts, by the file's own coefficients.
  void decode_ycbcr(uint8_t* out) {
    const std::size_t count = static_cast<std::size_t>(layout_.width) * layout_.height;
    std::vector<uint32_t> raster(count);
    const int orientation = tiff_.field<uint16_t>(TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT);
    if (TIFFReadRGBAImageOriented(tiff_.get(), layout_.width, layout_.height, raster.data(), orientation, 1) != 1) corrupt();
    for (std::size_t i = 0; i < count; ++i) {
      out[3 * i] = static_cast<uint8_t>(TIFFGetR(raster[i]));
      out[3 * i + 1] = static_cast<uint8_t>(TIFFGetG(raster[i]));
      out[3 * i + 2] = static_cast<uint8_t>(TIFFGetB(raster[i]));
    }
  }

  void to_rgb(std::size_t count, uint8_t* out) const {
    uint16_t *red = nullptr, *green = nullptr, *blue = nullptr;
    if (layout_.photometric == PHOTOMETRIC_PALETTE &&
        TIFFGetField(tiff_.get(), TIFFTAG_COLORMAP, &red, &green, &blue) != 1) {
      corrupt();
    }
    const auto used = static_cast<std::size_t>(layout_.used);
    for (std::size_t i = 0; i < count; ++i, out += 3) {
      const uint8_t* in = samples_.data() + i * used;
      switch (layout_.photometric) {
        case PHOTOMETRIC_MINISWHITE: std::memset(out, 255 - in[0], 3); break;
        case PHOTOMETRIC_MINISBLACK: std::memset(out, in[0], 3); break;
        case PHOTOMETRIC_PALETTE:
          out[0] = static_cast<uint8_t>(red[in[0]] >> 8);
          out[1] = static_cast<uint8_t>(green[in[0]] >> 8);
          out[2] = static_cast<uint8_t>(blue[in[0]] >> 8);
          break;
        case PHOTOMETRIC_SEPARATED: inks_to_rgb(in[0], in[1], in[2], in[3], out); break;
        default:
          for (int c = 0; c < 3; ++c) out[c] = layout_.multiplied ? divided(in[c], in[3]) : in[c];
      }
    }
  }

  /// A colour without the alpha that it was multiplied by; black where nothing of it is left.
  static uint8_t divided(int colour, int alpha) {
    return static_cast<uint8_t>(alpha == 0 ? 0 : std::min(255, colour * 255 / alpha));
  }

  Tiff& tiff_;
  const std::string& name_;
  Layout layout_;
  std::vector<uint8_t> samples_;
};

}  // namespace

torch::Tensor decode_tiff(std::string_view bytes, const PictureHeader& header, const std::string& name) {
  Tiff tiff(bytes);
  return Decoder(tiff, name).decode(header);
}

}  // namespace reid::datasets::detail
