// SPDX-License-Identifier: Apache-2.0
#include "reid/datasets/files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "reid/core/error.hpp"

namespace reid::datasets {
namespace fs = std::filesystem;

bool is_picture_name(const std::string& name) {
  const auto slash = name.rfind('/');
  const std::size_t begin = slash == std::string::npos ? 0 : slash + 1;
  if (begin >= name.size() || name[begin] == '.') return false;
  const auto dot = name.rfind('.');
  if (dot == std::string::npos || dot < begin) return false;
  std::string extension = name.substr(dot + 1);
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  constexpr std::array<std::string_view, 7> kKnown{"jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff"};
  return std::find(kKnown.begin(), kKnown.end(), extension) != kKnown.end();
}

namespace {

void collect(const fs::path& folder, const std::string& prefix, bool recursive, PictureList& list) {
  std::error_code error;
  fs::directory_iterator it(folder, error);
  if (error) {
    throw DatasetError(fmt::format("{}: path must be a readable folder, got {}", folder.string(),
                                   error.message()));
  }
  for (; it != fs::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code ignored;
    if (it->is_directory(ignored)) {
      if (recursive && name[0] != '.') collect(it->path(), prefix + name + "/", true, list);
    } else if (is_picture_name(name)) {
      list.names.push_back(prefix + name);
    } else {
      ++list.skipped;
    }
  }
  if (error) {
    throw DatasetError(fmt::format("{}: folder must be readable to its end, got {}", folder.string(),
                                   error.message()));
  }
}

}  // namespace

PictureList list_pictures(const fs::path& folder, bool recursive) {
  PictureList list;
  collect(folder, "", recursive, list);
  std::sort(list.names.begin(), list.names.end());
  return list;
}

}  // namespace reid::datasets
