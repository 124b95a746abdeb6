// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "reid/core/progress.hpp"
#include "reid/data/loader.hpp"

namespace reid::data {

/// Decoded pictures of a whole list in one memory-mapped file, so that later epochs, and later runs, skip decoding.
///
/// The pictures are stored as the decoder gives them, before any resize: every chain of augmentations works on the same
/// bytes as without the cache, and batches are equal bit for bit. Size on disk: 3 H W bytes a picture (Market-1501's
/// training set: 318 MB); memory is the system's page cache.
///
/// The file belongs to one list: a fingerprint over every path, file size and time of change is stored, and a file made
/// for another list, or before a picture changed, is made again. The table carries a checksum that is verified when the
/// file is opened, each picture one that is verified whenever it is read.
class PackedCache {
 public:
  /// Opens the cache at `file`, or makes it: decodes all pictures with `threads` threads and writes the file under a
  /// temporary name, which is changed once it is whole. A file that is stale or corrupt is replaced, with a warning.
  /// @param paths  the pictures; a path may occur more than once.
  /// @throws DatasetError naming a picture that is missing or can't be decoded, WorkError if the file can't be written.
  PackedCache(const std::filesystem::path& file, const std::vector<std::string>& paths, const Decoder& decoder,
              int64_t threads, const ProgressSink& progress = {});

  /// Whether this object made the file (and didn't find it).
  bool made() const { return made_; }
  int64_t size() const;

  /// The picture of a path, [H, W, 3] uint8, a view of the mapped file that keeps it open; it can't be written to.
  /// Safe to call from many threads. @throws DatasetError if the path isn't in the list or its bytes are corrupt.
  torch::Tensor get(const std::string& path) const;

  /// `get` as the loader wants it; keeps the cache alive.
  Decoder decoder() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
  bool made_ = false;
};

}  // namespace reid::data
