// SPDX-License-Identifier: Apache-2.0
#include "fuzz/targets.hpp"

#include "support/temp_dir.hpp"

namespace reid::fuzz {

std::string scratch_folder() {
  static const test::TempDir folder;
  return folder.path().string();
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
