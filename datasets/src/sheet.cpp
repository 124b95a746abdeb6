// SPDX-License-Identifier: Apache-2.0
#include "reid/datasets/sheet.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/datasets/image_io.hpp"

namespace reid::datasets {
namespace {

constexpr int kCellWidth = 96, kCellHeight = 192, kCaption = 16, kGap = 4;
constexpr int kQueryWidth = 160;  // a sentence needs room
constexpr int64_t kMostPixels = 65'000;  // JPEG's own limit is 65,535
constexpr int kFont = cv::FONT_HERSHEY_SIMPLEX;
constexpr double kTextScale = 0.4, kCaptionScale = 0.35;
constexpr int kLine = 15;
constexpr int kQuality = 92;

const cv::Scalar kInk(0, 0, 0), kFrame(30, 80, 200), kEmpty(230, 230, 230);  // RGB

int64_t lines_of(int64_t matches) { return std::max<int64_t>(1, (matches + kSheetColumns - 1) / kSheetColumns); }

std::string extension_of(const std::string& path) {
  auto extension = std::filesystem::path(path).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return std::tolower(c); });
  return extension;
}

void check_extension(const std::string& path) {
  constexpr std::array<const char*, 4> kKnown{".jpg", ".jpeg", ".png", ".bmp"};
  const auto extension = extension_of(path);
  REID_CHECK(std::any_of(kKnown.begin(), kKnown.end(), [&](const char* known) { return extension == known; }), InputError,
             fmt::format("{}: name of a picture must end with .jpg, .png or .bmp, got '{}'", path, extension));
}

/// UTF-8 with one '?' for every character that the font doesn't have.
std::string drawable(const std::string& text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) result += c;
    if (byte < 0x20 || byte == 0x7f) result += ' ';
    if (byte >= 0xc0) result += '?';  // a character's first byte; the others aren't drawn
  }
  return result;
}

int width_of(const std::string& text, double scale) {
  int baseline = 0;
  return cv::getTextSize(text, kFont, scale, 1, &baseline).width;
}

/// The text in lines that fit into a width; a word that doesn't is cut.
std::vector<std::string> wrapped(const std::string& text, int width) {
  std::vector<std::string> lines(1);
  std::size_t at = 0;
  while (at < text.size()) {
    const auto end = std::min(text.find(' ', at), text.size());
    std::string word = text.substr(at, end - at);
    at = end + 1;
    while (!word.empty()) {
      auto& line = lines.back();
      const auto longer = line.empty() ? word : line + " " + word;
      if (width_of(longer, kTextScale) <= width) {
        line = longer;
        break;
      }
      if (!line.empty()) {
        lines.emplace_back();
        continue;
      }
      std::size_t fits = 1;
      while (fits < word.size() && width_of(word.substr(0, fits + 1), kTextScale) <= width) ++fits;
      line = word.substr(0, fits);
      word.erase(0, fits);
      lines.emplace_back();
    }
  }
  return lines;
}

/// A picture in the middle of a cell, as large as fits.
void place(cv::Mat& sheet, const cv::Rect& cell, const std::string& path) {
  const auto pixels = decode_image(path);
  const cv::Mat whole(static_cast<int>(pixels.size(0)), static_cast<int>(pixels.size(1)), CV_8UC3, pixels.data_ptr());
  const double scale = std::min(static_cast<double>(cell.width) / whole.cols, static_cast<double>(cell.height) / whole.rows);
  const cv::Size size(std::clamp(static_cast<int>(whole.cols * scale + 0.5), 1, cell.width),
                      std::clamp(static_cast<int>(whole.rows * scale + 0.5), 1, cell.height));
  cv::Mat scaled;
  cv::resize(whole, scaled, size, 0, 0, scale < 1 ? cv::INTER_AREA : cv::INTER_LINEAR);
  cv::rectangle(sheet, cell, kEmpty, cv::FILLED);
  scaled.copyTo(sheet(cv::Rect(cell.x + (cell.width - size.width) / 2, cell.y + (cell.height - size.height) / 2,
                               size.width, size.height)));
}

int64_t height_of(int64_t lines) { return kGap + lines * (kCellHeight + kCaption + kGap); }

void check_height(int64_t lines) {
  REID_CHECK(height_of(lines) <= kMostPixels, InputError,
             fmt::format("sheet: picture must be at most {} pixels high, got {} for {} lines of matches", kMostPixels,
                         height_of(lines), lines));
}

}  // namespace

void check_sheet(const std::string& path, int64_t rows, int64_t matches) {
  check_extension(path);
  check_height(rows * lines_of(matches));
}

torch::Tensor draw_sheet(const std::vector<SheetRow>& rows) {
  REID_CHECK(!rows.empty(), InputError, "sheet: queries must be given, got none");
  int64_t lines = 0, columns = 0;
  for (const auto& row : rows) {
    const auto matches = static_cast<int64_t>(row.matches.size());
    lines += lines_of(matches);
    columns = std::max(columns, std::min(matches, kSheetColumns));
  }
  check_height(lines);
  const int64_t width = kGap + kQueryWidth + kGap + columns * (kCellWidth + kGap);
  const auto result = torch::full({height_of(lines), width, 3}, 255, torch::kUInt8);
  cv::Mat sheet(static_cast<int>(result.size(0)), static_cast<int>(width), CV_8UC3, result.data_ptr());
  int top = kGap;
  for (const auto& row : rows) {
    const cv::Rect query(kGap, top, kQueryWidth, kCellHeight);
    if (row.picture.empty()) {
      int base = top + kLine;
      for (const auto& line : wrapped(drawable(row.text), kQueryWidth - 3 * kGap)) {
        if (base > query.y + query.height - kGap) break;
        cv::putText(sheet, line, cv::Point(query.x + kGap, base), kFont, kTextScale, kInk, 1, cv::LINE_AA);
        base += kLine;
      }
    } else {
      place(sheet, query, row.picture);
    }
    cv::rectangle(sheet, query, kFrame, 2);
    for (std::size_t i = 0; i < row.matches.size(); ++i) {
      const auto column = static_cast<int>(i % kSheetColumns), line = static_cast<int>(i / kSheetColumns);
      const cv::Rect cell(kGap + kQueryWidth + kGap + column * (kCellWidth + kGap), top + line * (kCellHeight + kCaption + kGap),
                          kCellWidth, kCellHeight);
      place(sheet, cell, row.matches[i].path);
      cv::putText(sheet, drawable(row.matches[i].caption), cv::Point(cell.x, cell.y + cell.height + kCaption - kGap), kFont,
                  kCaptionScale, kInk, 1, cv::LINE_AA);
    }
    top += static_cast<int>(lines_of(static_cast<int64_t>(row.matches.size()))) * (kCellHeight + kCaption + kGap);
  }
  return result;
}

void write_picture(const std::string& path, const torch::Tensor& picture) {
  check_extension(path);
  const bool fits = picture.defined() && picture.dim() == 3 && picture.size(2) == 3 && picture.scalar_type() == torch::kUInt8 &&
                    picture.is_cpu() && picture.numel() > 0 && picture.size(0) <= kMostPixels && picture.size(1) <= kMostPixels;
  REID_CHECK(fits, ShapeError, "write_picture: picture must be [H, W, 3] uint8 of at most 65000 x 65000");
  const auto kept = picture.contiguous();
  const cv::Mat rgb(static_cast<int>(kept.size(0)), static_cast<int>(kept.size(1)), CV_8UC3, kept.data_ptr());
  cv::Mat bgr;
  cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
  std::vector<uint8_t> bytes;
  const auto extension = extension_of(path);
  std::vector<int> settings;
  if (extension == ".jpg" || extension == ".jpeg") settings = {cv::IMWRITE_JPEG_QUALITY, kQuality};
  REID_CHECK(cv::imencode(extension, bgr, bytes, settings), WorkError, path + ": picture must be encodable, got an error of OpenCV");
  write_file_atomic(path, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace reid::datasets
