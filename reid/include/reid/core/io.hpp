// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace reid {

/// Writes a file so that a reader sees the old contents or the new, never a part: the bytes go to a temporary
/// name in the same folder, are synced, and the name is changed. The temporary file is removed on any error.
/// A symbolic link stays and what it leads to is replaced; a device or a pipe is written to as it is.
/// @throws WorkError naming the path and the system's reason (no space, no permission).
void write_file_atomic(const std::filesystem::path& path, std::string_view contents);

/// The same for contents that are produced piece by piece; `write` returns with the stream in any state, a
/// failed stream is an error.
void write_file_atomic(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write);

/// The whole file as bytes. @throws InputError if it is missing, a folder or unreadable.
std::string read_file(const std::filesystem::path& path);

/// A read-only view of a whole file, mapped into memory; empty files give an empty view.
class MappedFile {
 public:
  /// @throws InputError if the file is missing, a folder or can't be mapped.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::string_view view() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

/// FNV-1a, 64 bit: a fingerprint for lists and caches, not a defence against forgery.
uint64_t fingerprint(std::string_view bytes, uint64_t seed = 0xcbf29ce484222325ULL);

}  // namespace reid
