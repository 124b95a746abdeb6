// SPDX-License-Identifier: Apache-2.0
#include "reid/core/registry.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace reid::detail {

bool glob_match(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

void throw_unknown_name(const std::string& kind, const std::string& pointer, const std::string& name,
                        const std::vector<std::string>& known) {
  throw RegistryError(fmt::format("{}{}: name must be one of {}, got '{}'{}", pointer.empty() ? "" : pointer + ": ",
                                  kind, fmt::join(known, ", "), name, did_you_mean(name, known)));
}

std::pair<std::string, Json> split_part(const Json& part, const std::string& pointer, const std::string& kind) {
  if (part.is_string()) return {part.get<std::string>(), Json::object()};
  if (!part.is_object() || !part.contains("name") || !part["name"].is_string()) {
    const bool nameless = part.is_object() && !part.contains("name");
    throw ConfigError(fmt::format("{}: {} must be a name or an object with \"name\", got {}{}", pointer.empty() ? "/" : pointer,
                                  kind, json_type_name(part), nameless ? " without it, " + part.dump() : ""));
  }
  Json options = part;
  options.erase("name");
  return {part["name"].get<std::string>(), std::move(options)};
}

}  // namespace reid::detail
