// SPDX-License-Identifier: Apache-2.0
#include "reid/core/io.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "reid/core/error.hpp"
#include "reid/core/file_descriptor.hpp"

namespace reid {
namespace {

std::string reason() { return std::strerror(errno); }

void sync_path(const std::filesystem::path& path, int flags) {
  const FileDescriptor file(::open(path.c_str(), flags | O_CLOEXEC));
  if (file.get() < 0 || ::fsync(file.get()) != 0) {
    throw WorkError(fmt::format("{}: file must be syncable to disk, got {}", path.string(), reason()));
  }
}

/// A device or a pipe: nothing may take its place.
bool is_special(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  return std::filesystem::exists(status) && !std::filesystem::is_regular_file(status) &&
         !std::filesystem::is_directory(status);
}

void write_special(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write) {
  errno = 0;
  std::ofstream file(path, std::ios::binary);
  if (file) {
    write(file);
    file.flush();
  }
  if (!file) {
    throw WorkError(fmt::format("{}: device or pipe must take what is written, got {}", path.string(),
                                errno != 0 ? reason() : "a write error"));
  }
}

}  // namespace

void write_file_atomic(const std::filesystem::path& wanted, const std::function<void(std::ostream&)>& write) {
  std::error_code ignored;
  if (is_special(wanted)) {
    write_special(wanted, write);
    return;
  }
  // A link stays; what it leads to is replaced.
  const bool linked = std::filesystem::is_symlink(wanted, ignored) && std::filesystem::exists(wanted, ignored);
  const std::filesystem::path path = linked ? std::filesystem::canonical(wanted, ignored) : wanted;
  const std::filesystem::path temporary =
      path.parent_path() / fmt::format(".{}.{}.tmp", path.filename().string(), ::getpid());
  try {
    {
      errno = 0;
      std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
      if (!file) {
        throw WorkError(fmt::format("{}: folder must be writable, got {}", path.string(), reason()));
      }
      write(file);
      file.flush();
      if (!file) {
        throw WorkError(fmt::format("{}: file must be written whole, got {}", path.string(),
                                    errno != 0 ? reason() : "a write error"));
      }
    }
    sync_path(temporary, O_RDONLY);
    std::error_code error;
    std::filesystem::rename(temporary, path, error);
    if (error) {
      throw WorkError(
          fmt::format("{}: file must be replaceable, got {}", path.string(), error.message()));
    }
  } catch (...) {
    std::filesystem::remove(temporary, ignored);
    throw;
  }
  const auto folder = path.parent_path();
  sync_path(folder.empty() ? std::filesystem::path(".") : folder, O_RDONLY | O_DIRECTORY);
}

void write_file_atomic(const std::filesystem::path& path, std::string_view contents) {
  write_file_atomic(path, [&](std::ostream& out) {
    out.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  });
}

std::string read_file(const std::filesystem::path& path) { return std::string(MappedFile(path).view()); }

MappedFile::MappedFile(const std::filesystem::path& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a pipe would wait for a writer
  if (file.get() < 0) {
    throw InputError(fmt::format("{}: file must be readable, got {}", path.string(), reason()));
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    throw InputError(fmt::format("{}: path must be a regular file, got {}", path.string(),
                                 S_ISDIR(status.st_mode) ? "a folder" : "something else"));
  }
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) {
    throw InputError(fmt::format("{}: file must be mappable, got {}", path.string(), reason()));
  }
  data_ = static_cast<const uint8_t*>(data);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<uint8_t*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

uint64_t fingerprint(std::string_view bytes, uint64_t seed) {
  uint64_t hash = seed;
  for (const char c : bytes) {
    hash ^= static_cast<uint8_t>(c);
    hash *= 0x100000001b3ULL;
  }
  return hash;
}

}  // namespace reid
