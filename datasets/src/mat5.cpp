// SPDX-License-Identifier: Apache-2.0
// MathWorks, "MAT-File Format", chapter 1: a file is a header of 128 bytes and elements, each a type, a size and data;
// an element is a matrix or, compressed by zlib, holds one. Cells and structs hold matrices in turn.
#include "mat5.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <cmath>
#include <cstring>

#include "reid/core/error.hpp"

namespace reid::datasets {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kHeader = 128, kTag = 8;
/// Most bytes that a compressed variable may unfold to: the lists of data sets need a megabyte or two.
constexpr std::size_t kMostUnpacked = std::size_t{1} << 26;
/// Bytes of a compressed variable that are unfolded to see its name.
constexpr std::size_t kPeek = 4096;

enum Type : uint32_t {
  kInt8 = 1, kUint8 = 2, kInt16 = 3, kUint16 = 4, kInt32 = 5, kUint32 = 6, kSingle = 7, kDouble = 9, kInt64 = 12, kUint64 = 13,
  kMatrix = 14, kCompressed = 15, kUtf8 = 16, kUtf16 = 17
};
enum Class : uint32_t { kCellClass = 1, kStructClass = 2, kCharClass = 4, kDoubleClass = 6, kUint64Class = 15 };
constexpr uint32_t kComplexFlag = 1U << 11;

/// What isn't a matrix as the format has it.
struct Damaged {};

uint32_t number_at(std::string_view bytes, std::size_t at) {
  uint32_t value = 0;
  if (bytes.size() < at + sizeof(value)) throw Damaged();
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}

struct Element {
  uint32_t type = 0;
  std::string_view data;
};

/// Takes one element from the front.
Element take(std::string_view& bytes) {
  const uint32_t first = number_at(bytes, 0), second = number_at(bytes, 4);
  if (first >> 16 != 0) {  // at most four bytes, which stand in the tag itself
    const uint32_t size = first >> 16;
    if (size > 4) throw Damaged();
    const Element element{first & 0xffff, bytes.substr(4, size)};
    bytes.remove_prefix(kTag);
    return element;
  }
  if (second > bytes.size() - kTag) throw Damaged();
  const Element element{first, bytes.substr(kTag, second)};
  const std::size_t padding = first == kCompressed ? 0 : (8 - second % 8) % 8;
  bytes.remove_prefix(std::min(bytes.size(), kTag + second + padding));
  return element;
}

/// An array: its kind, size and what follows its name.
struct Matrix {
  uint32_t kind = 0;  ///< 0: MATLAB's empty cell
  bool complex = false;
  uint64_t count = 0;
  std::string name;
  std::string_view body;
};

Matrix parse_matrix(const Element& element) {
  Matrix matrix;
  if (element.type != kMatrix) throw Damaged();
  std::string_view left = element.data;
  if (left.empty()) return matrix;
  const Element flags = take(left), dims = take(left), name = take(left);
  if (flags.type != kUint32 || dims.type != kInt32 || name.type != kInt8 || dims.data.size() % 4 != 0 || dims.data.size() < 8) {
    throw Damaged();
  }
  matrix.kind = number_at(flags.data, 0) & 0xff;
  matrix.complex = (number_at(flags.data, 0) & kComplexFlag) != 0;
  matrix.count = 1;
  for (std::size_t at = 0; at < dims.data.size(); at += 4) {
    const uint32_t size = number_at(dims.data, at);
    if (size > INT32_MAX || __builtin_mul_overflow(matrix.count, uint64_t{size}, &matrix.count)) throw Damaged();
  }
  matrix.name = std::string(name.data);
  matrix.body = left;
  return matrix;
}

/// The start of what a compressed element unfolds to, at most `most` bytes.
std::string unfold(std::string_view packed, std::size_t most) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) throw WorkError("zlib: memory must be enough to unfold an array, got an error");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> closer(&stream, inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string out, chunk(std::min(most, std::size_t{1} << 16), '\0');
  int status = Z_OK;
  while (status == Z_OK && out.size() < most) {
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = static_cast<uInt>(chunk.size());
    status = inflate(&stream, Z_NO_FLUSH);
    out.append(chunk, 0, chunk.size() - stream.avail_out);
  }
  if (status != Z_OK && status != Z_STREAM_END) throw Damaged();
  return out;
}

/// Name of a variable whose element may go on beyond `bytes`.
std::string peek_name(std::string_view bytes) {
  if (number_at(bytes, 0) != kMatrix) return {};  // MATLAB keeps other things too
  std::string_view left = bytes.substr(kTag);
  if (left.empty()) return {};
  take(left);
  take(left);
  return std::string(take(left).data);
}

/// What is known where something doesn't fit.
struct Where {
  const Mat5File& file;
  const std::string& name;
  [[noreturn]] void refuse(const std::string& expectation, const std::string& actual) const {
    file.refuse(name, expectation, actual);
  }
};

template <class T>
std::vector<int64_t> numbers(std::string_view data, uint64_t count, const Where& where) {
  if (data.size() % sizeof(T) != 0 || data.size() / sizeof(T) != count) throw Damaged();
  std::vector<int64_t> result;
  result.reserve(static_cast<std::size_t>(count));
  for (std::size_t at = 0; at < data.size(); at += sizeof(T)) {
    T stored;
    std::memcpy(&stored, data.data() + at, sizeof(T));
    const auto value = static_cast<double>(stored);
    if (!(value >= 0 && value < 1e9) || value != std::floor(value)) {
      where.refuse("hold whole numbers", fmt::format("{} at place {}", value, result.size() + 1));
    }
    result.push_back(static_cast<int64_t>(value));
  }
  return result;
}

/// MATLAB stores numbers in the smallest type that holds them, whatever their class.
std::vector<int64_t> integers_of(const Matrix& matrix, const Where& where) {
  if (matrix.kind < kDoubleClass || matrix.kind > kUint64Class || matrix.complex) where.refuse("hold numbers", "another class");
  if (matrix.count == 0) where.refuse("hold numbers", "none");
  std::string_view left = matrix.body;
  const Element element = take(left);
  switch (element.type) {
    case kInt8: return numbers<int8_t>(element.data, matrix.count, where);
    case kUint8: return numbers<uint8_t>(element.data, matrix.count, where);
    case kInt16: return numbers<int16_t>(element.data, matrix.count, where);
    case kUint16: return numbers<uint16_t>(element.data, matrix.count, where);
    case kInt32: return numbers<int32_t>(element.data, matrix.count, where);
    case kUint32: return numbers<uint32_t>(element.data, matrix.count, where);
    case kInt64: return numbers<int64_t>(element.data, matrix.count, where);
    case kUint64: return numbers<uint64_t>(element.data, matrix.count, where);
    case kSingle: return numbers<float>(element.data, matrix.count, where);
    case kDouble: return numbers<double>(element.data, matrix.count, where);
    default: throw Damaged();
  }
}

std::vector<Matrix> cells_of(const Matrix& matrix, const Where& where) {
  if (matrix.kind != kCellClass) where.refuse("be a cell array", "another class");
  if (matrix.count == 0) where.refuse("hold cells", "none");
  if (matrix.count > matrix.body.size() / kTag) throw Damaged();
  std::vector<Matrix> cells;
  std::string_view left = matrix.body;
  for (uint64_t i = 0; i < matrix.count; ++i) {
    cells.push_back(parse_matrix(take(left)));
    if (cells.back().count == 0) where.refuse("have no empty cell", fmt::format("cell {}", i + 1));
  }
  return cells;
}

std::string text_of(const Matrix& matrix, const Where& where, std::size_t cell) {
  if (matrix.kind != kCharClass) where.refuse("be a cell array of names", fmt::format("something else in cell {}", cell));
  std::string_view left = matrix.body;
  const Element element = take(left);
  const bool wide = element.type == kUint16 || element.type == kUtf16;
  const bool narrow = element.type == kUtf8 || element.type == kUint8 || element.type == kInt8;
  const std::size_t width = wide ? 2 : 1;
  if ((!wide && !narrow) || element.data.size() % width != 0 || element.data.size() / width != matrix.count) throw Damaged();
  std::string text;
  for (std::size_t at = 0; at < element.data.size(); at += width) {
    uint16_t code = static_cast<uint8_t>(element.data[at]);
    if (wide) std::memcpy(&code, element.data.data() + at, 2);
    if (code < 0x20 || code > 0x7e || code == '/') where.refuse("hold plain file names", fmt::format("character {}", code));
    text += static_cast<char>(code);
  }
  return text;
}

/// The field at place `field` of a struct, of the first where there are several.
Matrix field_of(const Matrix& matrix, std::size_t field, const Where& where, std::size_t cell) {
  std::string_view left = matrix.body;
  std::size_t fields = 0;
  if (matrix.kind == kStructClass) {
    const Element length = take(left), names = take(left);
    const uint32_t width = number_at(length.data, 0);
    if (length.type != kInt32 || names.type != kInt8 || width == 0) throw Damaged();
    fields = names.data.size() / width;
  }
  if (field >= fields) {
    where.refuse(fmt::format("be a cell array of structs of at least {} fields", field + 1),
                 fmt::format("something else in cell {}", cell));
  }
  for (std::size_t i = 0; i < field; ++i) take(left);
  return parse_matrix(take(left));
}

}  // namespace

Mat5File::Mat5File(const fs::path& path) : path_(path.string()) {
  const auto refuse_file = [&](const char* actual) {
    throw DatasetError(fmt::format("{}: file must be a MATLAB file of version 5, got {}", path_, actual));
  };
  std::error_code ignored;
  if (!fs::exists(path, ignored)) refuse_file("no such file");
  try {
    file_ = std::make_unique<MappedFile>(path);
  } catch (const InputError& error) {
    throw DatasetError(error.what());
  }
  const std::string_view bytes = file_->view();
  if (bytes.size() < kHeader || bytes.substr(0, 6) != "MATLAB") refuse_file("something else");
  const std::string_view order = bytes.substr(126, 2);
  if (order == "MI") refuse_file("one of a big-endian machine");
  if (order != "IM") refuse_file("something else");
  if (bytes.substr(124, 2) != std::string_view("\x00\x01", 2)) refuse_file("another version");
}

void Mat5File::refuse(const std::string& name, const std::string& expectation, const std::string& actual) const {
  throw DatasetError(fmt::format("{}: variable '{}' must {}, got {}", path_, name, expectation, actual));
}

std::string Mat5File::find(const std::string& name) const {
  std::string_view left = file_->view().substr(kHeader);
  while (!left.empty()) {
    const std::string_view rest = left;
    const Element element = take(left);
    if (element.type == kCompressed) {
      if (peek_name(unfold(element.data, kPeek)) != name) continue;
      std::string whole = unfold(element.data, kMostUnpacked);
      if (whole.size() >= kMostUnpacked) {
        refuse(name, fmt::format("unfold to less than {} bytes", kMostUnpacked), "more");
      }
      return whole;
    }
    const std::string_view whole = rest.substr(0, rest.size() - left.size());
    if (peek_name(whole) == name) return std::string(whole);
  }
  refuse(name, "be there", "none");
}

template <class Read>
auto Mat5File::read(const std::string& name, Read read) const {
  try {
    const std::string whole = find(name);
    std::string_view left = whole;
    return read(parse_matrix(take(left)));
  } catch (const Damaged&) {
    refuse(name, "be whole", "a file that is cut off or damaged");
  }
}

std::vector<int64_t> Mat5File::integers(const std::string& name) const {
  const Where where{*this, name};
  return read(name, [&](const Matrix& matrix) { return integers_of(matrix, where); });
}

std::vector<std::string> Mat5File::strings(const std::string& name) const {
  const Where where{*this, name};
  return read(name, [&](const Matrix& matrix) {
    std::vector<std::string> result;
    for (const Matrix& cell : cells_of(matrix, where)) result.push_back(text_of(cell, where, result.size() + 1));
    return result;
  });
}

std::vector<std::vector<int64_t>> Mat5File::field_of_cells(const std::string& name, std::size_t field) const {
  const Where where{*this, name};
  return read(name, [&](const Matrix& matrix) {
    std::vector<std::vector<int64_t>> result;
    for (const Matrix& cell : cells_of(matrix, where)) {
      result.push_back(integers_of(field_of(cell, field, where, result.size() + 1), where));
    }
    return result;
  });
}

}  // namespace reid::datasets
