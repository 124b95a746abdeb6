// SPDX-License-Identifier: Apache-2.0
#include "fuzz/targets.hpp"

#include <fstream>

#include "support/temp_dir.hpp"

namespace reid::fuzz {

std::string scratch_folder() {
  static const test::TempDir folder;
  return folder.path().string();
}

std::string scratch_file(const std::string& name, std::string_view bytes) {
  std::string path = scratch_folder() + "/" + name;
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return path;
}

void require(bool condition, const char* what) {
  if (!condition) throw Broken(what);
}

void require_sentence(const std::string& message, const std::string& source) {
  if (message.compare(0, source.size(), source) != 0) throw Broken("message without its source: " + message);
  if (message.find('\n') != std::string::npos) throw Broken("message of several lines: " + message);
  if (message.size() > 4000) throw Broken("message of " + std::to_string(message.size()) + " bytes");
}

}  // namespace reid::fuzz
