// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "reid/core/json.hpp"
#include "reid/core/version.hpp"

int main() {
  const auto json = reid::parse_json(R"({"rooms": 8})", "literal");
  std::cout << "reid " << REID_VERSION << ": " << json["rooms"] << " rooms\n";
}
