// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace reid {

/// JSON values keep the order of their keys, so that what is written reads as it was meant.
using Json = nlohmann::ordered_json;

/// Parses strict JSON: UTF-8, no duplicate key, no NaN, no comments, nesting of at most 64.
/// @param source  names the text in messages: a file name or an option.
/// @throws ConfigError naming `source` and the line (or the JSON pointer of a duplicate key).
Json parse_json(std::string_view text, const std::string& source);

/// Reads and parses one file. @throws ConfigError if it is missing, unreadable or not strict JSON.
Json read_json_file(const std::filesystem::path& path);

/// Reads a configuration file and merges it over the one that its `"extends"` names (a path relative
/// to the file that says it). Objects merge key by key; all else is replaced. A ring is a ConfigError.
/// `"extends"` itself doesn't appear in the result.
Json read_config_file(const std::filesystem::path& path);

/// Merges `over` into `base`: objects key by key, everything else replaced.
void merge_json(Json& base, const Json& over);

/// Applies one `--set` override, `"/stages/0/epochs=3"`. The value is JSON; text that isn't JSON is taken as
/// a string. Objects on the way are made, array elements must exist (`-` appends).
/// @throws ConfigError if there is no `=`, the pointer doesn't begin with `/` or leads through a scalar.
void set_json(Json& root, std::string_view assignment);

/// The name among `names` nearest to `name` by edit distance (case ignored), or "" if none is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& names);

/// `"; did you mean 'x'?"` or "".
std::string did_you_mean(std::string_view name, const std::vector<std::string>& names);

/// Name of a JSON value's type in messages: "a string", "an integer", ...
std::string json_type_name(const Json& value);

/// One step of a JSON pointer, escaped (`~` and `/`).
std::string pointer_step(std::string_view key);

}  // namespace reid
