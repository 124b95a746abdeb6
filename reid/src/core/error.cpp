// SPDX-License-Identifier: Apache-2.0
#include "reid/core/error.hpp"

#include <fmt/format.h>

namespace reid::detail {

void assertion_failed(const char* condition, const char* file, int line) {
  throw std::logic_error(fmt::format("reid: internal error, please report it: {} at {}:{}", condition, file, line));
}

}  // namespace reid::detail
