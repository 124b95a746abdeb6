// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace reid::datasets {

/// Reads the variables of a MATLAB file of version 5 that data sets bring. Whatever isn't as expected is a DatasetError
/// naming file and variable.
class Mat5File {
 public:
  explicit Mat5File(const std::filesystem::path& path);
  ~Mat5File();
  Mat5File(const Mat5File&) = delete;
  Mat5File& operator=(const Mat5File&) = delete;

  /// Whole numbers from 0, in MATLAB's order (column by column), of any numeric class.
  std::vector<int64_t> integers(const std::string& name) const;
  /// A cell array of plain file names.
  std::vector<std::string> strings(const std::string& name) const;
  /// A cell array of structs: of each, the whole numbers of the field at place `field`, from 0.
  std::vector<std::vector<int64_t>> field_of_cells(const std::string& name, std::size_t field) const;

  [[noreturn]] void refuse(const std::string& name, const std::string& expectation, const std::string& actual) const;

 private:
  struct Impl;
  std::string path_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reid::datasets
