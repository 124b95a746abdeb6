// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "reid/core/io.hpp"

namespace reid::datasets {

/// Reads the variables of a MATLAB file of version 5 (MATLAB 5 to 7.2) that data sets bring, compressed or not. Every
/// size that the file claims is checked before memory is asked for; whatever isn't as expected is a DatasetError naming
/// file and variable. Files of big-endian machines are refused.
class Mat5File {
 public:
  explicit Mat5File(const std::filesystem::path& path);

  /// Whole numbers from 0, in MATLAB's order (column by column), of any numeric class.
  std::vector<int64_t> integers(const std::string& name) const;
  /// A cell array of plain file names.
  std::vector<std::string> strings(const std::string& name) const;
  /// A cell array of structs: of each, the whole numbers of the field at place `field`, from 0.
  std::vector<std::vector<int64_t>> field_of_cells(const std::string& name, std::size_t field) const;

  [[noreturn]] void refuse(const std::string& name, const std::string& expectation, const std::string& actual) const;

 private:
  /// The element of a variable, unfolded if it was compressed.
  std::string find(const std::string& name) const;
  /// `read` of a variable's array.
  template <class Read>
  auto read(const std::string& name, Read read) const;

  std::string path_;
  std::unique_ptr<MappedFile> file_;
};

}  // namespace reid::datasets
