// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "reid/core/options.hpp"
#include "reid/core/registry.hpp"

namespace reid::models {

/// Registers a network whose factory is given its options and, resolved, writes them to `spec()`.
template <class Base, class Options>
void add_entry(Registry<Base>& registry, const std::string& name, EntryInfo info, const Options& defaults,
               std::function<std::shared_ptr<Base>(Options&, const std::string& pointer)> make) {
  registry.add_entry({name, std::move(info), write_options(defaults), describe_options(defaults),
                      [name, defaults, make = std::move(make)](const Json& json, const std::string& pointer) {
                        auto options = read_options<Options>(json, pointer, defaults);
                        auto made = make(options, pointer);
                        Json spec{{"name", name}};
                        merge_json(spec, write_options(options));
                        made->set_spec(std::move(spec));
                        return made;
                      }});
}

}  // namespace reid::models
