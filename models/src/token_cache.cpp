// SPDX-License-Identifier: Apache-2.0
#include "token_cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <torch/torch.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"

namespace reid::models {

using torch::Tensor;

namespace {

/// {magic, fingerprint of the encoder, L, D}, then rows of {checksum, ids [L] int64, features [L, D] float16}.
using Header = std::array<uint64_t, 4>;
constexpr uint64_t kMagic = 0x316b6f7464696572;  // "reidtok1"

uint64_t hash_of(const void* data, std::size_t bytes) { return fingerprint({static_cast<const char*>(data), bytes}); }

}  // namespace

std::shared_ptr<TokenCache> TokenCache::open(const std::filesystem::path& file, uint64_t encoder, int64_t length, int64_t width) {
  static std::map<std::filesystem::path, std::weak_ptr<TokenCache>> open_files;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  auto& known = open_files[std::filesystem::weakly_canonical(file)];
  if (auto cache = known.lock()) {
    REID_CHECK(cache->encoder_ == encoder && cache->length_ == length && cache->width_ == width, InputError,
               fmt::format("{}: cache must be free or of the same encoder, got another encoder of this process at work with it",
                           file.string()));
    return cache;
  }
  auto cache = std::make_shared<TokenCache>(file, encoder, length, width);
  known = cache;
  return cache;
}

TokenCache::TokenCache(const std::filesystem::path& file, uint64_t encoder, int64_t length, int64_t width)
    : path_(file), encoder_(encoder), length_(length), width_(width), file_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  const auto ids_bytes = static_cast<std::size_t>(length) * sizeof(int64_t);
  row_bytes_ = sizeof(uint64_t) + ids_bytes + static_cast<std::size_t>(length * width) * sizeof(uint16_t);
  REID_CHECK(file_.get() >= 0, WorkError, fmt::format("{}: cache must be writable, got {}", file.string(), std::strerror(errno)));
  REID_CHECK(::flock(file_.get(), LOCK_EX | LOCK_NB) == 0, InputError,
             fmt::format("{}: cache must be free, got another process at work with it", file.string()));
  const Header own{kMagic, encoder, static_cast<uint64_t>(length), static_cast<uint64_t>(width)};
  Header found{};
  const auto size = ::lseek(file_.get(), 0, SEEK_END);
  const bool whole = size >= static_cast<off_t>(sizeof found) && ::pread(file_.get(), found.data(), sizeof found, 0) == sizeof found;
  REID_CHECK(size == 0 || (whole && found[0] == kMagic), InputError,
             fmt::format("{}: file must be a cache of token features or not there, got another file", file.string()));
  if (found != own) {
    REID_CHECK(::ftruncate(file_.get(), 0) == 0, WorkError,
               fmt::format("{}: cache must be writable, got {}", file.string(), std::strerror(errno)));
    write(own.data(), sizeof own, 0);
    return;
  }
  rows_ = static_cast<int64_t>((static_cast<std::size_t>(size) - sizeof own) / row_bytes_);  // a cut row is written over
  for (int64_t row = 0; row < rows_; ++row) row_of_.emplace(hash_of(row_data(row) + sizeof(uint64_t), ids_bytes), row);
}

TokenCache::~TokenCache() {
  if (map_ != nullptr) ::munmap(map_, mapped_);
}

std::size_t TokenCache::offset(int64_t row) const { return sizeof(Header) + static_cast<std::size_t>(row) * row_bytes_; }

void TokenCache::write(const void* data, std::size_t bytes, std::size_t at) const {
  for (std::size_t done = 0; done < bytes;) {
    const auto n = ::pwrite(file_.get(), static_cast<const char*>(data) + done, bytes - done, static_cast<off_t>(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw WorkError(fmt::format("{}: cache must be writable, got {}", path_.string(), std::strerror(errno)));
    done += static_cast<std::size_t>(n);
  }
}

const unsigned char* TokenCache::row_data(int64_t row) {
  if (offset(row + 1) > mapped_) {
    if (map_ != nullptr) ::munmap(map_, mapped_);
    mapped_ = offset(rows_);
    map_ = ::mmap(nullptr, mapped_, PROT_READ, MAP_SHARED, file_.get(), 0);
    if (map_ == MAP_FAILED) {
      map_ = nullptr;
      mapped_ = 0;
      throw WorkError(fmt::format("{}: cache must be mappable, got {}", path_.string(), std::strerror(errno)));
    }
  }
  return static_cast<const unsigned char*>(map_) + offset(row);
}

bool TokenCache::holds(int64_t row, const Tensor& ids) {
  const auto* data = row_data(row);
  uint64_t checksum = 0;
  std::memcpy(&checksum, data, sizeof checksum);
  data += sizeof checksum;
  return std::memcmp(data, ids.const_data_ptr(), ids.nbytes()) == 0 && checksum == hash_of(data, row_bytes_ - sizeof checksum);
}

void TokenCache::append(const Tensor& ids, const Tensor& half, int64_t row) {
  std::vector<char> bytes(row_bytes_);
  char* out = bytes.data() + sizeof(uint64_t);
  std::memcpy(out, ids.const_data_ptr(), ids.nbytes());
  std::memcpy(out + ids.nbytes(), half.const_data_ptr(), half.nbytes());
  const uint64_t checksum = hash_of(out, row_bytes_ - sizeof(uint64_t));
  std::memcpy(bytes.data(), &checksum, sizeof checksum);
  write(bytes.data(), bytes.size(), offset(row));
}

Tensor TokenCache::features(const Tensor& tokens, const Tensor& mask, const std::function<Tensor(const Tensor& rows)>& compute) {
  REID_ASSERT(tokens.size(1) == length_);
  const auto n = tokens.size(0);
  const Tensor real = mask.to(torch::kCPU);
  // What stands behind a sentence's end is no part of it.
  const Tensor ids = tokens.to(torch::kCPU).masked_fill(real.logical_not(), -1).contiguous();
  Tensor result = torch::empty({n, length_, width_}, torch::kFloat16);
  std::vector<int64_t> missing;
  std::vector<int64_t> place(static_cast<std::size_t>(n), -1);  // the row to be written over, -1: a new one
  for (int64_t i = 0; i < n; ++i) {
    const Tensor own = ids[i];
    const auto it = row_of_.find(hash_of(own.const_data_ptr(), own.nbytes()));
    if (it != row_of_.end()) {
      if (holds(it->second, own)) {
        std::memcpy(result[i].mutable_data_ptr(), row_data(it->second) + sizeof(uint64_t) + own.nbytes(), result[i].nbytes());
        continue;
      }
      place[static_cast<std::size_t>(i)] = it->second;
    }
    missing.push_back(i);
  }
  if (!missing.empty()) {
    const Tensor computed = (compute(torch::tensor(missing, torch::kInt64)).to(torch::kCPU) *
                             real.index_select(0, torch::tensor(missing, torch::kInt64)).unsqueeze(2))
                                .to(torch::kFloat16)
                                .contiguous();
    for (std::size_t k = 0; k < missing.size(); ++k) {
      const auto i = missing[k];
      const Tensor own = ids[i], half = computed[static_cast<int64_t>(k)];
      result[i].copy_(half);
      const auto key = hash_of(own.const_data_ptr(), own.nbytes());
      auto row = place[static_cast<std::size_t>(i)];
      if (row < 0) {
        if (row_of_.count(key) != 0) continue;  // twice in this batch
        row = rows_;
      }
      append(own, half, row);
      row_of_[key] = row;
      rows_ = std::max(rows_, row + 1);
    }
  }
  return result.to(torch::kFloat32);
}

}  // namespace reid::models
