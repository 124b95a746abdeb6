// SPDX-License-Identifier: Apache-2.0
#include "mat5.hpp"

#include <fmt/format.h>
#include <matio.h>

#include <cmath>
#include <cstring>

#include "reid/core/error.hpp"

namespace reid::datasets {
namespace fs = std::filesystem;

struct Mat5File::Impl {
  mat_t* file = nullptr;
};

Mat5File::Mat5File(const fs::path& path) : path_(path.string()), impl_(std::make_unique<Impl>()) {
  impl_->file = Mat_Open(path_.c_str(), MAT_ACC_RDONLY);
  if (impl_->file == nullptr) {
    std::error_code ignored;
    throw DatasetError(fmt::format("{}: file must be a MATLAB file, got {}", path_,
                                   fs::exists(path, ignored) ? "something else" : "no such file"));
  }
}

Mat5File::~Mat5File() { Mat_Close(impl_->file); }

void Mat5File::refuse(const std::string& name, const std::string& expectation, const std::string& actual) const {
  throw DatasetError(fmt::format("{}: variable '{}' must {}, got {}", path_, name, expectation, actual));
}

namespace {

using Variable = std::unique_ptr<matvar_t, void (*)(matvar_t*)>;

/// What is known where something doesn't fit.
struct Where {
  const Mat5File& file;
  const std::string& name;
  [[noreturn]] void refuse(const std::string& expectation, const std::string& actual) const {
    file.refuse(name, expectation, actual);
  }
};

Variable read(mat_t* file, const Where& where) {
  Variable variable(Mat_VarRead(file, where.name.c_str()), Mat_VarFree);
  if (variable == nullptr) where.refuse("be there", "none");
  return variable;
}

template <class T>
std::vector<int64_t> numbers(const matvar_t& variable, const Where& where) {
  std::vector<int64_t> result;
  const auto* values = static_cast<const T*>(variable.data);
  if (values == nullptr) where.refuse("hold numbers", "none");
  for (std::size_t i = 0; i < variable.nbytes / sizeof(T); ++i) {
    const auto value = static_cast<double>(values[i]);
    if (!(value >= 0 && value < 1e9) || value != std::floor(value)) {
      where.refuse("hold whole numbers", fmt::format("{} at place {}", value, i + 1));
    }
    result.push_back(static_cast<int64_t>(value));
  }
  return result;
}

std::vector<int64_t> integers_of(const matvar_t& variable, const Where& where) {
  switch (variable.class_type) {
    case MAT_C_DOUBLE: return numbers<double>(variable, where);
    case MAT_C_SINGLE: return numbers<float>(variable, where);
    case MAT_C_INT64: return numbers<int64_t>(variable, where);
    case MAT_C_UINT64: return numbers<uint64_t>(variable, where);
    case MAT_C_INT32: return numbers<int32_t>(variable, where);
    case MAT_C_UINT32: return numbers<uint32_t>(variable, where);
    case MAT_C_INT16: return numbers<int16_t>(variable, where);
    case MAT_C_UINT16: return numbers<uint16_t>(variable, where);
    case MAT_C_INT8: return numbers<int8_t>(variable, where);
    case MAT_C_UINT8: return numbers<uint8_t>(variable, where);
    default: where.refuse("hold numbers", "another class");
  }
}

std::vector<const matvar_t*> cells_of(const matvar_t& variable, const Where& where) {
  if (variable.class_type != MAT_C_CELL || variable.data == nullptr) where.refuse("be a cell array", "another class");
  auto* const* cells = static_cast<matvar_t* const*>(variable.data);
  std::vector<const matvar_t*> result(cells, cells + variable.nbytes / sizeof(matvar_t*));
  for (std::size_t i = 0; i < result.size(); ++i) {
    if (result[i] == nullptr || result[i]->data == nullptr) where.refuse("have no empty cell", fmt::format("cell {}", i + 1));
  }
  return result;
}

}  // namespace

std::vector<int64_t> Mat5File::integers(const std::string& name) const {
  const Where where{*this, name};
  return integers_of(*read(impl_->file, where), where);
}

std::vector<std::string> Mat5File::strings(const std::string& name) const {
  const Where where{*this, name};
  const Variable variable = read(impl_->file, where);
  std::vector<std::string> result;
  for (const matvar_t* cell : cells_of(*variable, where)) {
    const auto size = static_cast<std::size_t>(cell->data_size);
    if (cell->class_type != MAT_C_CHAR || (size != 1 && size != 2)) {
      where.refuse("be a cell array of names", fmt::format("something else in cell {}", result.size() + 1));
    }
    std::string text;
    for (std::size_t at = 0; at + size <= cell->nbytes; at += size) {
      uint16_t code = static_cast<const uint8_t*>(cell->data)[at];
      if (size == 2) std::memcpy(&code, static_cast<const uint8_t*>(cell->data) + at, 2);
      if (code < 0x20 || code > 0x7e || code == '/') where.refuse("hold plain file names", fmt::format("character {}", code));
      text += static_cast<char>(code);
    }
    result.push_back(std::move(text));
  }
  return result;
}

std::vector<std::vector<int64_t>> Mat5File::field_of_cells(const std::string& name, std::size_t field) const {
  const Where where{*this, name};
  const Variable variable = read(impl_->file, where);
  std::vector<std::vector<int64_t>> result;
  for (const matvar_t* cell : cells_of(*variable, where)) {
    const std::size_t fields = cell->class_type == MAT_C_STRUCT ? Mat_VarGetNumberOfFields(const_cast<matvar_t*>(cell)) : 0;
    const matvar_t* member =
        field < fields ? Mat_VarGetStructFieldByIndex(const_cast<matvar_t*>(cell), field, 0) : nullptr;
    if (member == nullptr) {
      where.refuse(fmt::format("be a cell array of structs of at least {} fields", field + 1),
                   fmt::format("something else in cell {}", result.size() + 1));
    }
    result.push_back(integers_of(*member, where));
  }
  return result;
}

}  // namespace reid::datasets
