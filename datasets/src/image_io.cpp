// SPDX-License-Identifier: Apache-2.0
#include "image_io.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iostream>
#include <mutex>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgcodecs.hpp>

#include "reid/core/error.hpp"
#include "reid/core/file_descriptor.hpp"

namespace reid::datasets {
namespace {

/// The whole file, in memory that the thread keeps.
std::string_view read_whole(const std::string& path) {
  static thread_local std::string contents;
  const auto unreadable = [&](int reason) {
    throw DatasetError(fmt::format("{}: picture must be a readable file, got the error '{}'", path, std::strerror(reason)));
  };
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a pipe would wait for a writer
  if (file.get() < 0) unreadable(errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) unreadable(errno);
  if (S_ISDIR(status.st_mode)) unreadable(EISDIR);
  if (!S_ISREG(status.st_mode)) {
    throw DatasetError(fmt::format("{}: picture must be a regular file, got something else", path));
  }
  contents.resize(static_cast<std::size_t>(status.st_size));
  std::size_t have = 0;
  while (have < contents.size()) {
    const ssize_t got = ::read(file.get(), contents.data() + have, contents.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) unreadable(errno);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  return std::string_view(contents).substr(0, have);
}

/// The picture turned upright, by EXIF's table.
torch::Tensor upright(const torch::Tensor& pixels, int orientation) {
  if (orientation == 1) return pixels;
  const int64_t height = pixels.size(0);
  const int64_t width = pixels.size(1);
  const bool transposed = orientation >= 5;
  const bool down = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  const bool across = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const int64_t rows = transposed ? width : height;
  const int64_t columns = transposed ? height : width;
  torch::Tensor turned = torch::empty({rows, columns, 3}, torch::kUInt8);
  const auto* in = pixels.data_ptr<uint8_t>();
  auto* out = turned.data_ptr<uint8_t>();
  for (int64_t y = 0; y < rows; ++y) {
    const int64_t v = down ? rows - 1 - y : y;
    for (int64_t x = 0; x < columns; ++x, out += 3) {
      const int64_t u = across ? columns - 1 - x : x;
      std::memcpy(out, in + 3 * (transposed ? u * width + v : v * width + u), 3);
    }
  }
  return turned;
}

/// OpenCV tells of unreadable files on std::cerr and in its own log. Both are silenced while one such file is read;
/// formats that go this way are rare in data sets, so that one at a time is no loss.
class Silence {
 public:
  Silence() : lock_(mutex()), level_(cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT)),
              cerr_(std::cerr.rdbuf(nullptr)) {}
  ~Silence() {
    std::cerr.rdbuf(cerr_);
    std::cerr.clear();
    cv::utils::logging::setLogLevel(level_);
  }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  static std::mutex& mutex() {
    static std::mutex instance;
    return instance;
  }
  std::scoped_lock<std::mutex> lock_;
  cv::utils::logging::LogLevel level_;
  std::streambuf* cerr_;
};

template <class T>
void copy_rgb(const cv::Mat& from, uint8_t* out) {
  constexpr int kShift = sizeof(T) == 2 ? 8 : 0;
  const int channels = from.channels();
  for (int y = 0; y < from.rows; ++y) {
    const T* pixel = from.ptr<T>(y);
    for (int x = 0; x < from.cols; ++x, pixel += channels, out += 3) {
      // OpenCV's order is blue, green, red.
      const bool gray = channels < 3;
      out[0] = static_cast<uint8_t>((gray ? pixel[0] : pixel[2]) >> kShift);
      out[1] = static_cast<uint8_t>((gray ? pixel[0] : pixel[1]) >> kShift);
      out[2] = static_cast<uint8_t>(pixel[0] >> kShift);
    }
  }
}

}  // namespace

torch::Tensor detail::decode_by_opencv(std::string_view bytes, const PictureHeader& header, const std::string& name) {
  static constexpr const char* kNames[] = {"JPEG", "PNG", "BMP", "WebP", "TIFF"};
  const std::string kind = kNames[static_cast<int>(header.format)];
  cv::Mat picture;
  try {
    const Silence silence;
    // cv::Mat doesn't write to what it wraps here.
    const cv::Mat buffer(1, static_cast<int>(bytes.size()), CV_8U, const_cast<char*>(bytes.data()));
    picture = cv::imdecode(buffer, cv::IMREAD_UNCHANGED);
  } catch (const cv::Exception&) {
    picture.release();
  }
  if (picture.empty()) refuse(name, "a whole " + kind, "a file that is cut off, corrupt or of an unknown variant");
  if (picture.depth() != CV_8U && picture.depth() != CV_16U) {
    refuse(name, "of 1 to 16 bits a channel", fmt::format("a {} of another kind of numbers", kind));
  }
  if (int64_t{picture.rows} * picture.cols != header.width * header.height) {
    refuse(name, "of the size that its header says", fmt::format("{} x {} pixels", picture.cols, picture.rows));
  }
  torch::Tensor pixels = torch::empty({picture.rows, picture.cols, 3}, torch::kUInt8);
  if (picture.depth() == CV_8U) {
    copy_rgb<uint8_t>(picture, pixels.data_ptr<uint8_t>());
  } else {
    copy_rgb<uint16_t>(picture, pixels.data_ptr<uint8_t>());
  }
  return pixels;
}

torch::Tensor decode_image_bytes(std::string_view bytes, const std::string& name) {
  const PictureHeader header = read_picture_header(bytes, name);
  switch (header.format) {
    case PictureFormat::jpeg:
      return upright(detail::decode_jpeg(bytes, name), header.orientation);
    case PictureFormat::png:
      return upright(detail::decode_png(bytes, name), header.orientation);
    case PictureFormat::tiff:
      return upright(detail::decode_tiff(bytes, header, name), header.orientation);
    default:
      return upright(detail::decode_by_opencv(bytes, header, name), header.orientation);
  }
}

torch::Tensor decode_image(const std::string& path) { return decode_image_bytes(read_whole(path), path); }

}  // namespace reid::datasets
