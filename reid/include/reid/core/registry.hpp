// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/core/json.hpp"
#include "reid/core/options.hpp"

namespace reid {

/// What a registry says of an entry besides its options.
struct EntryInfo {
  std::string summary;    ///< one sentence
  std::string paper;      ///< authors, title, venue, arXiv id; "" if there is none
  std::string reference;  ///< reference code and commit; "" if there is none
  std::string claim;      ///< what may be said of fidelity: "faithful to ...", "in the spirit of ..."
};

namespace detail {
bool glob_match(std::string_view pattern, std::string_view text);
[[noreturn]] void throw_unknown_name(const std::string& kind, const std::string& pointer,
                                     const std::string& name, const std::vector<std::string>& known);
/// Splits a part, `"name"` or `{"name": "...", options...}`, into name and options.
std::pair<std::string, Json> split_part(const Json& part, const std::string& pointer,
                                        const std::string& kind);
}  // namespace detail

/// Maps names to factories of `Base`, one entry a name. Filled by a generated list of built-ins and by
/// users' own `add` calls; there is no static self-registration. Not synchronised: register before use.
/// @tparam Args  what a factory is given besides the options.
template <class Base, class... Args>
class Registry {
 public:
  struct Entry {
    std::string name;
    EntryInfo info;
    Json defaults;
    std::vector<FieldInfo> fields;
    std::function<std::shared_ptr<Base>(const Json& options, const std::string& pointer, Args... args)> make;
  };

  /// @param kind  what an entry is called in messages: "model", "loss", ...
  explicit Registry(std::string kind) : kind_(std::move(kind)) {}

  /// Registers `T`, which has `T::Options` (see options.hpp) and a constructor `T(Options, Args...)`.
  /// @throws RegistryError if the name is taken.
  template <class T>
  void add(const std::string& name, EntryInfo info = {}, typename T::Options defaults = {}) {
    add_entry(Entry{name, std::move(info), write_options(defaults), describe_options(defaults),
                    [defaults](const Json& options, const std::string& pointer, Args... args) {
                      return std::make_shared<T>(
                          read_options<typename T::Options>(options, pointer, defaults),
                          std::forward<Args>(args)...);
                    }});
  }

  /// Registers an entry with a factory of one's own. @throws RegistryError if the name is taken.
  void add_entry(Entry entry) {
    const auto name = entry.name;
    if (!entries_.emplace(name, std::move(entry)).second) {
      throw RegistryError(kind_ + " registry: name must be new, got '" + name + "' twice");
    }
  }

  /// Makes a part from `"name"` or `{"name": "...", option: value, ...}`.
  /// @throws RegistryError for an unknown name (with the nearest), ConfigError for wrong options.
  std::shared_ptr<Base> create(const Json& part, const std::string& pointer, Args... args) const {
    auto [name, options] = detail::split_part(part, pointer, kind_);
    return at(name, pointer).make(options, pointer, std::forward<Args>(args)...);
  }

  /// The part as an object with its name and every option written out, what isn't given at its default. Values aren't checked.
  /// @throws RegistryError for an unknown name, ConfigError for another shape.
  Json expand(const Json& part, const std::string& pointer) const {
    const auto [name, options] = detail::split_part(part, pointer, kind_);
    Json expanded{{"name", name}};
    merge_json(expanded, at(name, pointer).defaults);
    merge_json(expanded, options);
    return expanded;
  }

  bool contains(const std::string& name) const { return entries_.count(name) != 0; }

  const Entry& at(const std::string& name, const std::string& pointer = "") const {
    const auto it = entries_.find(name);
    if (it == entries_.end()) detail::throw_unknown_name(kind_, pointer, name, names());
    return it->second;
  }

  /// Sorted names that match a glob pattern (`*`, `?`).
  std::vector<std::string> names(std::string_view pattern = "*") const {
    std::vector<std::string> result;
    for (const auto& [name, entry] : entries_) {
      if (detail::glob_match(pattern, name)) result.push_back(name);
    }
    return result;
  }

  std::size_t size() const { return entries_.size(); }
  const std::string& kind() const { return kind_; }

 private:
  std::string kind_;
  std::map<std::string, Entry> entries_;
};

}  // namespace reid
