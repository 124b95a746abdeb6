// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/core/json.hpp"

/// Typed options. A struct names each member once:
///
///     struct TripletOptions {
///       double margin = 0.3;
///       Mining mining = Mining::hard;
///       template <class V> void fields(V&& v) {
///         v("margin", margin, "distance by which a negative must be farther", {.min = 0});
///         v("mining", mining, "which pairs of the batch are compared");
///       }
///       void validate(const std::string& where) const;   // optional: rules over several members
///     };
///
/// and reader, writer, documentation and equality come from it. Member types: bool, int64_t, double,
/// std::string, enumerations with an `EnumNames` specialisation, std::optional, std::vector, std::array,
/// nested option structs, and `Json` for a part that another registry reads.
namespace reid {

/// Closed bounds of a number, or of each number of a list.
struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};

/// What is known of one field, for `--help` and the generated reference.
struct FieldInfo {
  std::string name;
  std::string type;
  std::string doc;
  Json default_value;
  Range range;
  std::vector<std::string> choices;   ///< of an enumeration, or of one that an optional or a list holds
  std::vector<FieldInfo> children;    ///< of a nested struct, or of one that an optional or a list holds
};

/// Specialise with `static constexpr std::array<std::pair<E, const char*>, n> values`.
template <class E>
struct EnumNames;

namespace detail {

template <class T, class = void>
struct has_fields : std::false_type {};
struct AnyVisitor {
  template <class T>
  void operator()(const char*, T&, const char*, Range = {}) const {}
};
template <class T>
struct has_fields<T, std::void_t<decltype(std::declval<T&>().fields(std::declval<AnyVisitor&>()))>>
    : std::true_type {};
template <class T, class = void>
struct has_validate : std::false_type {};
template <class T>
struct has_validate<T, std::void_t<decltype(std::declval<const T&>().validate(std::string()))>>
    : std::true_type {};
template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
template <class T>
struct is_array : std::false_type {};
template <class T, std::size_t N>
struct is_array<std::array<T, N>> : std::true_type {};
template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};

/// What an optional or a list holds in the end; any other type itself.
template <class T>
struct held {
  using type = T;
};
template <class T>
struct held<std::optional<T>> : held<T> {};
template <class T>
struct held<std::vector<T>> : held<T> {};
template <class T, std::size_t N>
struct held<std::array<T, N>> : held<T> {};

using Problems = std::vector<std::string>;

std::string wrong_type(const std::string& pointer, const char* expected, const Json& got);
std::string out_of_range(const std::string& pointer, const Range& range, const Json& got);
std::string unknown_choice(const std::string& pointer, const std::vector<std::string>& choices,
                           const std::string& got);
std::string unknown_key(const std::string& pointer, const std::string& key,
                        const std::vector<std::string>& known);
[[noreturn]] void throw_problems(const Problems& problems);

template <class E>
std::vector<std::string> choices() {
  std::vector<std::string> names;
  for (const auto& [value, name] : EnumNames<E>::values) names.emplace_back(name);
  return names;
}

template <class T>
void read_value(const Json& json, T& out, const std::string& pointer, const Range& range,
                Problems& problems);

/// Visits the members of an options struct with the keys of one JSON object.
class Reader {
 public:
  Reader(const Json& object, std::string pointer, Problems& problems)
      : object_(object), pointer_(std::move(pointer)), problems_(problems) {}
  template <class T>
  void operator()(const char* name, T& member, const char*, Range range = {}) {
    known_.emplace_back(name);
    if (const auto it = object_.find(name); it != object_.end()) {
      read_value(*it, member, pointer_ + "/" + name, range, problems_);
    }
  }
  void report_unknown() {
    for (const auto& [key, value] : object_.items()) {
      bool found = false;
      for (const auto& name : known_) found = found || name == key;
      if (!found) problems_.push_back(unknown_key(pointer_, key, known_));
    }
  }

 private:
  const Json& object_;
  std::string pointer_;
  Problems& problems_;
  std::vector<std::string> known_;
};

template <class T>
void read_struct(const Json& json, T& out, const std::string& pointer, Problems& problems) {
  if (!json.is_object()) {
    problems.push_back(wrong_type(pointer, "an object", json));
    return;
  }
  Reader reader(json, pointer, problems);
  out.fields(reader);
  reader.report_unknown();
  if constexpr (has_validate<T>::value) {
    if (problems.empty()) {
      try {
        out.validate(pointer);
      } catch (const Error& error) {
        problems.push_back(error.what());
      }
    }
  }
}

template <class T>
void read_value(const Json& json, T& out, const std::string& pointer, const Range& range,
                Problems& problems) {
  if constexpr (std::is_same_v<T, Json>) {
    out = json;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (json.is_boolean()) {
      out = json.get<bool>();
    } else {
      problems.push_back(wrong_type(pointer, "true or false", json));
    }
  } else if constexpr (std::is_same_v<T, int64_t>) {
    const bool too_big =
        json.is_number_unsigned() &&
        json.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (!json.is_number_integer() || too_big) {
      problems.push_back(wrong_type(pointer, "an integer", json));
      return;
    }
    out = json.get<int64_t>();
    if (static_cast<double>(out) < range.min || static_cast<double>(out) > range.max) {
      problems.push_back(out_of_range(pointer, range, json));
    }
  } else if constexpr (std::is_same_v<T, double>) {
    if (!json.is_number()) {
      problems.push_back(wrong_type(pointer, "a number", json));
      return;
    }
    out = json.get<double>();
    if (!std::isfinite(out) || out < range.min || out > range.max) {
      problems.push_back(out_of_range(pointer, range, json));
    }
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (json.is_string()) {
      out = json.get<std::string>();
    } else {
      problems.push_back(wrong_type(pointer, "a string", json));
    }
  } else if constexpr (std::is_enum_v<T>) {
    if (!json.is_string()) {
      problems.push_back(wrong_type(pointer, "a string", json));
      return;
    }
    const auto text = json.get<std::string>();
    for (const auto& [value, name] : EnumNames<T>::values) {
      if (text == name) {
        out = value;
        return;
      }
    }
    problems.push_back(unknown_choice(pointer, choices<T>(), text));
  } else if constexpr (is_optional<T>::value) {
    if (json.is_null()) {
      out.reset();
    } else {
      typename T::value_type value{};
      read_value(json, value, pointer, range, problems);
      out = std::move(value);
    }
  } else if constexpr (is_vector<T>::value) {
    if (!json.is_array()) {
      problems.push_back(wrong_type(pointer, "a list", json));
      return;
    }
    T values;
    for (std::size_t i = 0; i < json.size(); ++i) {
      typename T::value_type value{};
      read_value(json[i], value, pointer + "/" + std::to_string(i), range, problems);
      values.push_back(std::move(value));
    }
    out = std::move(values);
  } else if constexpr (is_array<T>::value) {
    if (!json.is_array() || json.size() != out.size()) {
      problems.push_back(wrong_type(
          pointer, ("a list of " + std::to_string(out.size()) + " values").c_str(), json));
      return;
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
      read_value(json[i], out[i], pointer + "/" + std::to_string(i), range, problems);
    }
  } else {
    static_assert(has_fields<T>::value, "an options member needs a supported type or fields()");
    read_struct(json, out, pointer, problems);
  }
}

template <class T>
Json write_value(T& value);

class Writer {
 public:
  template <class T>
  void operator()(const char* name, T& member, const char*, Range = {}) {
    json[name] = write_value(member);
  }
  Json json = Json::object();
};

template <class T>
Json write_value(T& value) {
  if constexpr (std::is_enum_v<T>) {
    for (const auto& [known, name] : EnumNames<T>::values) {
      if (known == value) return name;
    }
    return nullptr;
  } else if constexpr (is_optional<T>::value) {
    return value ? write_value(*value) : Json(nullptr);
  } else if constexpr (is_vector<T>::value || is_array<T>::value) {
    Json list = Json::array();
    for (auto&& item : value) {
      auto copy = item;
      list.push_back(write_value(copy));
    }
    return list;
  } else if constexpr (has_fields<T>::value) {
    Writer writer;
    value.fields(writer);
    return std::move(writer.json);
  } else {
    return Json(value);
  }
}

template <class T>
std::string type_name() {
  if constexpr (std::is_same_v<T, Json>) return "part";
  if constexpr (std::is_same_v<T, bool>) return "bool";
  if constexpr (std::is_same_v<T, int64_t>) return "integer";
  if constexpr (std::is_same_v<T, double>) return "number";
  if constexpr (std::is_same_v<T, std::string>) return "string";
  if constexpr (std::is_enum_v<T>) return "choice";
  if constexpr (is_optional<T>::value) return type_name<typename T::value_type>() + " or null";
  if constexpr (is_vector<T>::value) return "list of " + type_name<typename T::value_type>();
  if constexpr (is_array<T>::value) {
    return "list of " + std::to_string(std::tuple_size_v<T>) + " " + type_name<typename T::value_type>();
  }
  return "object";
}

class Describer {
 public:
  template <class T>
  void operator()(const char* name, T& member, const char* doc, Range range = {}) {
    using Held = typename held<T>::type;
    FieldInfo info{name, type_name<T>(), doc, write_value(member), range, {}, {}};
    if constexpr (std::is_enum_v<Held>) info.choices = choices<Held>();
    if constexpr (has_fields<Held>::value) {
      Held options{};
      if constexpr (std::is_same_v<T, Held>) options = member;
      if constexpr (std::is_same_v<T, std::optional<Held>>) options = member.value_or(Held{});
      Describer inner;
      options.fields(inner);
      info.children = std::move(inner.fields);
    }
    fields.push_back(std::move(info));
  }
  std::vector<FieldInfo> fields;
};

}  // namespace detail

/// Reads options over their defaults. All problems are collected and thrown as one ConfigError, a line each.
/// @param pointer  where `json` stands in its file, for messages ("" at the root).
template <class T>
T read_options(const Json& json, const std::string& pointer = "", T defaults = {}) {
  detail::Problems problems;
  detail::read_struct(json, defaults, pointer, problems);
  if (!problems.empty()) detail::throw_problems(problems);
  return defaults;
}

/// All members with their values, as JSON that `read_options` reads back.
template <class T>
Json write_options(T options) {
  detail::Writer writer;
  options.fields(writer);
  return std::move(writer.json);
}

/// Names, types, defaults, ranges and doc lines of all members.
template <class T>
std::vector<FieldInfo> describe_options(T defaults = {}) {
  detail::Describer describer;
  defaults.fields(describer);
  return std::move(describer.fields);
}

/// The name of an enumeration's value.
template <class E>
std::string enum_name(E value) {
  return detail::write_value(value).template get<std::string>();
}

/// The value of an enumeration's name. @throws ConfigError naming `where`, the choices and the nearest.
template <class E>
E parse_enum(const std::string& where, const std::string& text) {
  E value{};
  detail::Problems problems;
  detail::read_value(Json(text), value, where, {}, problems);
  if (!problems.empty()) detail::throw_problems(problems);
  return value;
}

}  // namespace reid
