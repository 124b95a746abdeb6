// SPDX-License-Identifier: Apache-2.0
#include "zip.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "reid/core/error.hpp"

namespace reid::nn::detail {
namespace {

constexpr uint32_t kLocal = 0x04034b50;
constexpr uint32_t kCentral = 0x02014b50;
constexpr uint32_t kEnd = 0x06054b50;
constexpr uint32_t kEnd64 = 0x06064b50;
constexpr uint32_t kLocator64 = 0x07064b50;
constexpr uint64_t kLocalSize = 30;
constexpr uint64_t kCentralSize = 46;
constexpr uint64_t kEndSize = 22;
constexpr uint64_t kEnd64Size = 56;
constexpr uint64_t kLocatorSize = 20;
constexpr uint64_t kMaxComment = 0xffff;
constexpr uint32_t kIn64 = 0xffffffff;   // "see the ZIP64 field"
constexpr uint64_t kMaxInflation = 64;   // weights hardly shrink; what grows more than this is meant to harm

uint32_t crc_of(std::string_view bytes) {
  return static_cast<uint32_t>(
      ::crc32_z(::crc32_z(0, nullptr, 0), reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace

bool looks_like_zip(std::string_view bytes) { return bytes.starts_with("PK\x03\x04") || bytes.starts_with("PK\x05\x06"); }

ZipArchive::ZipArchive(Bytes bytes, const std::string& source) : bytes_(std::move(bytes)), source_(source) {
  const uint64_t end = end_record();
  uint64_t count = number<uint16_t>(end + 10);
  uint64_t directory_size = number<uint32_t>(end + 12);
  uint64_t directory = number<uint32_t>(end + 16);
  uint64_t limit = end;
  if (end >= kLocatorSize && number<uint32_t>(end - kLocatorSize) == kLocator64) {
    const auto end64 = number<uint64_t>(end - kLocatorSize + 8);
    if (end64 > end || end - end64 < kEnd64Size + kLocatorSize || number<uint32_t>(end64) != kEnd64) {
      fail("ZIP64 end record must lie before its locator, got a damaged archive");
    }
    count = number<uint64_t>(end64 + 32);
    directory_size = number<uint64_t>(end64 + 40);
    directory = number<uint64_t>(end64 + 48);
    limit = end64;
  }
  if (directory > limit || directory_size > limit - directory || count > directory_size / kCentralSize) {
    fail("ZIP directory must lie within the file, got a truncated or damaged archive");
  }
  uint64_t position = directory;
  for (uint64_t i = 0; i < count; ++i) position = read_entry(position, directory + directory_size);
  check_overlaps();
}

void ZipArchive::fail(const std::string& what) const { throw CheckpointError(source_ + ": " + what); }

template <class T>
T ZipArchive::number(uint64_t offset) const {
  if (offset > bytes_.view.size() || bytes_.view.size() - offset < sizeof(T)) {
    fail("ZIP records must lie within the file, got a truncated archive");
  }
  T value;
  std::memcpy(&value, bytes_.view.data() + offset, sizeof(T));
  return value;
}

uint64_t ZipArchive::end_record() const {
  const uint64_t size = bytes_.view.size();
  for (uint64_t back = kEndSize; back <= std::min(size, kEndSize + kMaxComment); ++back) {
    const uint64_t at = size - back;
    if (number<uint32_t>(at) == kEnd && number<uint16_t>(at + 20) == back - kEndSize) return at;
  }
  fail("ZIP archive must end with its directory, got a truncated file");
}

uint64_t ZipArchive::read_entry(uint64_t position, uint64_t directory_end) {
  if (directory_end - position < kCentralSize || number<uint32_t>(position) != kCentral) {
    fail("ZIP directory must hold as many entries as it says, got a damaged archive");
  }
  const auto flags = number<uint16_t>(position + 8);
  const auto method = number<uint16_t>(position + 10);
  ZipEntry entry;
  entry.crc = number<uint32_t>(position + 16);
  entry.stored_size = number<uint32_t>(position + 20);
  entry.size = number<uint32_t>(position + 24);
  const uint64_t name_size = number<uint16_t>(position + 28);
  const uint64_t extra_size = number<uint16_t>(position + 30);
  const uint64_t comment_size = number<uint16_t>(position + 32);
  uint64_t local = number<uint32_t>(position + 42);
  const uint64_t next = position + kCentralSize + name_size + extra_size + comment_size;
  if (next > directory_end) fail("ZIP directory entry must lie within the directory, got a damaged archive");
  entry.name = bytes_.view.substr(position + kCentralSize, name_size);
  const auto where = fmt::format("ZIP entry '{}'", printable(entry.name));

  // ZIP64 field: those of size, stored size and offset that didn't fit, in this order.
  uint64_t extra = position + kCentralSize + name_size;
  const uint64_t extra_end = extra + extra_size;
  while (extra_end - extra >= 4) {
    const auto id = number<uint16_t>(extra);
    const uint64_t length = number<uint16_t>(extra + 2);
    extra += 4;
    if (length > extra_end - extra) fail(where + " must have whole extra fields, got a damaged archive");
    if (id == 1) {
      uint64_t at = extra;
      for (uint64_t* value : {&entry.size, &entry.stored_size, &local}) {
        if (*value != kIn64) continue;
        if (extra + length - at < 8) fail(where + " must have a whole ZIP64 field, got a damaged archive");
        *value = number<uint64_t>(at);
        at += 8;
      }
    }
    extra += length;
  }

  if ((flags & 1) != 0) fail(where + " must be readable without a password, got an encrypted one");
  if (method != 0 && method != 8) {
    fail(fmt::format("{} must be stored or deflated, got compression method {}", where, method));
  }
  entry.deflated = method == 8;
  const uint64_t file_size = bytes_.view.size();
  if (local > file_size || file_size - local < kLocalSize || number<uint32_t>(local) != kLocal) {
    fail(where + " must begin within the file, got a truncated or damaged archive");
  }
  const uint64_t local_name = number<uint16_t>(local + 26);
  const uint64_t local_extra = number<uint16_t>(local + 28);
  entry.begin = local + kLocalSize + local_name + local_extra;
  if (entry.begin > file_size || entry.stored_size > file_size - entry.begin) {
    fail(fmt::format("{} must lie within the file of {} bytes, got {} bytes at {}", where, file_size,
                     entry.stored_size, entry.begin));
  }
  if (bytes_.view.substr(local + kLocalSize, local_name) != entry.name) {
    fail(where + " must have the same name in both headers, got a damaged archive");
  }
  if (!entry.deflated && entry.size != entry.stored_size) {
    fail(fmt::format("{} must be as long as what is stored, got {} and {} bytes", where, entry.size, entry.stored_size));
  }
  if (entry.deflated && entry.size / kMaxInflation > entry.stored_size) {
    fail(fmt::format("{} must grow by at most {} when inflated, got {} from {} bytes", where, kMaxInflation,
                     entry.size, entry.stored_size));
  }
  if (!entries_.emplace(entry.name, entry).second) fail(where + " must be there once, got it twice");
  return next;
}

void ZipArchive::check_overlaps() const {
  std::vector<const ZipEntry*> order;
  for (const auto& [name, entry] : entries_) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const ZipEntry* a, const ZipEntry* b) { return a->begin < b->begin; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->begin + order[i - 1]->stored_size > order[i]->begin) {
      fail(fmt::format("ZIP entries must not overlap, got '{}' within '{}'", printable(order[i]->name),
                       printable(order[i - 1]->name)));
    }
  }
}

const ZipEntry* ZipArchive::find(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

Bytes ZipArchive::read(const ZipEntry& entry) const {
  Bytes result = entry.deflated ? inflate(entry)
                                : Bytes{bytes_.view.substr(entry.begin, entry.stored_size), bytes_.owner};
  if (entry.crc != 0 && crc_of(result.view) != entry.crc) {
    fail(fmt::format("ZIP entry '{}' must have the check sum {:08x}, got {:08x}: the file is corrupt",
                     printable(entry.name), entry.crc, crc_of(result.view)));
  }
  return result;
}

Bytes ZipArchive::inflate(const ZipEntry& entry) const {
  const auto damaged = [&] { fail(fmt::format("ZIP entry '{}' must inflate to {} bytes, got damaged data", printable(entry.name), entry.size)); };
  auto buffer = std::make_shared<std::vector<char>>(entry.size + 1);  // never without an address
  z_stream stream{};
  if (::inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw std::bad_alloc();
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream, ::inflateEnd);
  constexpr uint64_t kStep = uint64_t{1} << 30;  // zlib counts in 32 bits
  uint64_t read = 0, written = 0;
  int status = Z_OK;
  while (status == Z_OK) {
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes_.view.data() + entry.begin + read));
    const uint64_t in = std::min(kStep, entry.stored_size - read);
    const uint64_t out = std::min(kStep, entry.size - written);
    stream.avail_in = static_cast<uInt>(in);
    stream.next_out = reinterpret_cast<Bytef*>(buffer->data() + written);
    stream.avail_out = static_cast<uInt>(out);
    status = ::inflate(&stream, Z_NO_FLUSH);
    read += in - stream.avail_in;
    written += out - stream.avail_out;
    if (status == Z_OK && stream.avail_in == in && stream.avail_out == out) break;  // no progress
  }
  if (status != Z_STREAM_END || written != entry.size) damaged();
  return {std::string_view(buffer->data(), entry.size), buffer};
}

}  // namespace reid::nn::detail
