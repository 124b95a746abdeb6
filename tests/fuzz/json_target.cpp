// SPDX-License-Identifier: Apache-2.0
#include "fuzz/targets.hpp"
#include "reid/core/error.hpp"
#include "reid/core/json.hpp"
#include "reid/core/preprocess.hpp"

namespace reid::fuzz {

void json(std::string_view bytes) {
  const std::string source = "fuzz.json";
  try {
    const Json value = parse_json(bytes, source);
    require(parse_json(value.dump(), source) == value, "what is written must be read as it was");
    try {
      const auto options = read_options<PreprocessOptions>(value, "/preprocess");
      require(write_options(read_options<PreprocessOptions>(write_options(options))) == write_options(options),
              "options must survive writing and reading");
    } catch (const ConfigError&) {
    }
  } catch (const ConfigError& error) {
    require_sentence(error.what(), source);
  }
  try {
    Json root{{"model", {{"name", "resnet50"}, {"sizes", {1, 2}}}}, {"seed", 1}};
    set_json(root, bytes);
    require(root.is_object(), "an override must leave an object");
  } catch (const ConfigError&) {
  }
}

}  // namespace reid::fuzz
