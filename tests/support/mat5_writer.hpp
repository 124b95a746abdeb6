// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

/// MATLAB files of version 5, byte by byte (MathWorks, "MAT-File Format", chapter 1).
namespace reid::test::mat5 {

enum Type : uint32_t {
  kInt8 = 1, kUint8 = 2, kUint16 = 4, kInt32 = 5, kUint32 = 6, kSingle = 7, kDouble = 9, kMatrix = 14, kCompressed = 15, kUtf8 = 16
};
enum Class : uint32_t {
  kCellClass = 1, kStructClass = 2, kCharClass = 4, kDoubleClass = 6, kSingleClass = 7, kUint8Class = 9, kUint16Class = 11
};

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

inline std::string element(uint32_t type, const std::string& data) {
  std::string out = raw<uint32_t>({type, static_cast<uint32_t>(data.size())}) + data;
  if (type != kCompressed) out.resize((out.size() + 7) / 8 * 8, '\0');
  return out;
}

/// At most four bytes stand in the tag itself.
inline std::string small_element(uint32_t type, std::string data) {
  const auto size = static_cast<uint32_t>(data.size());
  data.resize(4, '\0');
  return raw<uint32_t>({type | size << 16}) + data;
}

inline std::string matrix(uint32_t kind, const std::string& name, const std::vector<int32_t>& dims, const std::string& body) {
  const bool fits = !name.empty() && name.size() <= 4;
  return element(kMatrix, element(kUint32, raw<uint32_t>({kind, 0})) + element(kInt32, raw(dims)) +
                              (fits ? small_element(kInt8, name) : element(kInt8, name)) + body);
}

/// Numbers of one class, stored as another type or as the same.
template <class T>
std::string column(uint32_t kind, const std::string& name, uint32_t type, const std::vector<T>& values) {
  return matrix(kind, name, {static_cast<int32_t>(values.size()), 1}, element(type, raw(values)));
}

inline std::string doubles(const std::string& name, const std::vector<double>& values) {
  return column(kDoubleClass, name, kDouble, values);
}

/// A cell array of texts, stored as UTF-16 or UTF-8.
inline std::string texts(const std::string& name, const std::vector<std::string>& list, uint32_t type = kUint16) {
  std::string cells;
  for (const auto& text : list) {
    const std::vector<uint16_t> wide(text.begin(), text.end());
    cells += matrix(kCharClass, "", {1, static_cast<int32_t>(text.size())}, element(type, type == kUint16 ? raw(wide) : text));
  }
  return matrix(kCellClass, name, {static_cast<int32_t>(list.size()), 1}, cells);
}

/// A struct of arrays without names; field names are cut to seven characters.
inline std::string structure(const std::string& name, const std::vector<std::string>& fields, const std::string& arrays) {
  std::string names;
  for (auto field : fields) {
    field.resize(7, '\0');
    names += field + '\0';
  }
  return matrix(kStructClass, name, {1, 1}, small_element(kInt32, raw<int32_t>({8})) + element(kInt8, names) + arrays);
}

inline std::string compressed(const std::string& matrix) {
  std::string packed(compressBound(matrix.size()), '\0');
  uLongf size = packed.size();
  compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(matrix.data()), matrix.size());
  packed.resize(size);
  return element(kCompressed, packed);
}

inline std::string file(const std::string& variables) {
  std::string head = "MATLAB 5.0 MAT-file, written by hand";
  head.resize(124, ' ');
  return head + std::string("\x00\x01IM", 4) + variables;
}

}  // namespace reid::test::mat5
