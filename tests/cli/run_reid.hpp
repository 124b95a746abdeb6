// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace reid::test {

/// What one run of the real program gave.
struct Run {
  int status = -1;  ///< exit status; 128 + n if killed by signal n
  std::string out;
  std::string err;
};

/// Runs the `reid` program of this build with these arguments, no shell in between.
Run run_reid(const std::vector<std::string>& arguments);

}  // namespace reid::test
