// SPDX-License-Identifier: Apache-2.0
#include "reid/core/options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace reid::detail {

namespace {
std::string where(const std::string& pointer) { return pointer.empty() ? "/" : pointer; }
}  // namespace

std::string wrong_type(const std::string& pointer, const char* expected, const Json& got) {
  return fmt::format("{}: value must be {}, got {}", where(pointer), expected, json_type_name(got));
}

std::string out_of_range(const std::string& pointer, const Range& range, const Json& got) {
  if (std::isinf(range.max)) {
    return std::isinf(range.min)
               ? fmt::format("{}: value must be finite, got {}", where(pointer), got.dump())
               : fmt::format("{}: value must be at least {}, got {}", where(pointer), range.min, got.dump());
  }
  if (std::isinf(range.min)) {
    return fmt::format("{}: value must be at most {}, got {}", where(pointer), range.max, got.dump());
  }
  return fmt::format("{}: value must be between {} and {}, got {}", where(pointer), range.min, range.max, got.dump());
}

std::string unknown_choice(const std::string& pointer, const std::vector<std::string>& choices,
                           const std::string& got) {
  return fmt::format("{}: value must be one of {}, got '{}'{}", where(pointer), fmt::join(choices, ", "), got,
                     did_you_mean(got, choices));
}

std::string unknown_key(const std::string& pointer, const std::string& key, const std::vector<std::string>& known) {
  const std::string hint = did_you_mean(key, known);
  return fmt::format("{}{}: unknown key{}", pointer, pointer_step(key),
                     hint.empty() ? fmt::format("; known are {}", fmt::join(known, ", ")) : hint);
}

void throw_problems(const Problems& problems) { throw ConfigError(fmt::format("{}", fmt::join(problems, "\n"))); }

}  // namespace reid::detail
