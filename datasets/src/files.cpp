// SPDX-License-Identifier: Apache-2.0
#include "reid/datasets/files.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

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

/// What tells a folder from every other.
using Place = std::pair<dev_t, ino_t>;

/// @param above  the folders on the way down to this one: a link that leads back to one of them isn't followed.
void collect(const fs::path& folder, const std::string& prefix, bool recursive, std::vector<Place>& above, PictureList& list) {
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0) {
    throw DatasetError(fmt::format("{}: path must be a readable folder, got {}", folder.string(), std::strerror(errno)));
  }
  const Place here{status.st_dev, status.st_ino};
  if (std::find(above.begin(), above.end(), here) != above.end()) {
    ++list.skipped;
    return;
  }
  above.push_back(here);
  std::error_code error;
  fs::directory_iterator it(folder, error);
  if (error) {
    throw DatasetError(fmt::format("{}: path must be a readable folder, got {}", folder.string(),
                                   error.message()));
  }
  for (; it != fs::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code ignored;
    const bool is_folder = it->is_directory(ignored);
    if (is_folder && recursive) {
      if (name[0] != '.') collect(it->path(), prefix + name + "/", true, above, list);
    } else if (is_picture_name(name)) {  // a folder of such a name is found wanting when it is read
      list.names.push_back(prefix + name);
    } else if (!is_folder) {
      ++list.skipped;
    }
  }
  if (error) {
    throw DatasetError(fmt::format("{}: folder must be readable to its end, got {}", folder.string(),
                                   error.message()));
  }
  above.pop_back();
}

}  // namespace

PictureList list_pictures(const fs::path& folder, bool recursive) {
  PictureList list;
  std::vector<Place> above;
  collect(folder, "", recursive, above, list);
  std::sort(list.names.begin(), list.names.end());
  return list;
}

}  // namespace reid::datasets
