// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <unordered_map>

#include "reid/core/file_descriptor.hpp"

namespace reid::models {

/// Token features of sentences in a file that is mapped into memory: what a frozen encoder says of a sentence is computed
/// once, also over several runs.
///
/// Rows are appended as sentences are met; each holds the sentence's ids, its features [L, D] as float16 and a checksum. A
/// row that is damaged or was cut off is computed again; a file of other weights, length or width is begun afresh. What comes
/// back has always gone through float16, so it doesn't matter whether it was in the file.
/// Models of one process share a file by `open`. Not for several threads or processes at once.
class TokenCache {
 public:
  /// The cache of `file` that is open in this process, or a new one; closed with its last owner.
  /// @param encoder  fingerprint of the encoder's weights
  /// @throws InputError if the file is something else, or in use by another process or by another encoder of this one;
  ///   WorkError if it can't be written.
  static std::shared_ptr<TokenCache> open(const std::filesystem::path& file, uint64_t encoder, int64_t length, int64_t width);

  /// As `open`, for one owner.
  TokenCache(const std::filesystem::path& file, uint64_t encoder, int64_t length, int64_t width);
  ~TokenCache();
  TokenCache(const TokenCache&) = delete;
  TokenCache& operator=(const TokenCache&) = delete;

  /// @param tokens   [N, L] int64, @param mask [N, L] bool
  /// @param compute  features [n, L, D] of the rows that aren't there, given their numbers [n] int64
  /// @return         [N, L, D] float32 on the CPU; zeros behind a sentence's end
  torch::Tensor features(const torch::Tensor& tokens, const torch::Tensor& mask,
                         const std::function<torch::Tensor(const torch::Tensor& rows)>& compute);
  int64_t rows() const { return rows_; }

 private:
  const unsigned char* row_data(int64_t row);
  bool holds(int64_t row, const torch::Tensor& ids);
  void append(const torch::Tensor& ids, const torch::Tensor& half, int64_t row);
  void write(const void* data, std::size_t bytes, std::size_t at) const;
  std::size_t offset(int64_t row) const;

  std::filesystem::path path_;
  uint64_t encoder_;
  int64_t length_, width_;
  std::size_t row_bytes_;
  FileDescriptor file_;
  int64_t rows_ = 0;
  void* map_ = nullptr;
  std::size_t mapped_ = 0;
  std::unordered_map<uint64_t, int64_t> row_of_;  ///< hash of ids -> row
};

}  // namespace reid::models
