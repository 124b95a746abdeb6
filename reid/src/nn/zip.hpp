// SPDX-License-Identifier: Apache-2.0
// Internal: a reader of ZIP archives that trusts nothing in them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "weight_formats.hpp"

namespace reid::nn::detail {

struct ZipEntry {
  std::string_view name;
  uint64_t begin = 0;        ///< of the stored bytes, in the archive
  uint64_t stored_size = 0;
  uint64_t size = 0;
  uint32_t crc = 0;
  bool deflated = false;
};

/// The central directory of an archive in memory (APPNOTE 6.3: ZIP and ZIP64; stored and deflated entries).
/// Every offset is checked, names are unique, entries don't overlap.
class ZipArchive {
 public:
  /// @throws CheckpointError if the directory is damaged or leaves the file.
  ZipArchive(Bytes bytes, const std::string& source);

  const std::map<std::string_view, ZipEntry>& entries() const { return entries_; }
  /// nullptr if there is none.
  const ZipEntry* find(std::string_view name) const;

  /// An entry's bytes: a view of the archive if stored, else inflated. The check sum is compared unless it is 0,
  /// which PyTorch writes where it was told to compute none.
  Bytes read(const ZipEntry& entry) const;

 private:
  [[noreturn]] void fail(const std::string& what) const;
  template <class T>
  T number(uint64_t offset) const;
  uint64_t end_record() const;
  uint64_t read_entry(uint64_t position, uint64_t directory_end);
  void check_overlaps() const;
  Bytes inflate(const ZipEntry& entry) const;

  Bytes bytes_;
  std::string source_;
  std::map<std::string_view, ZipEntry> entries_;
};

}  // namespace reid::nn::detail
