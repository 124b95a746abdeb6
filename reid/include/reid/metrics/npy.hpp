// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

/// NumPy's .npy files: how features and labels come in from other programs and go out to them.
/// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, versions 1.0, 2.0, 3.0,
/// little-endian, C order. Everything else is refused, never misread: Fortran order, big-endian, structured and object types,
/// a file shorter or longer than its header says, a shape whose size is negative or overflows.
namespace reid::metrics {

/// What a file's header says. The array lies in the file from `offset` to its end.
struct NpyHeader {
  std::string type;            ///< as written, "<f4"
  std::vector<int64_t> shape;
  std::size_t offset = 0;
};

/// Reads and checks a header against the number of bytes there are. @param source names the file in messages.
/// @throws InputError naming `source`.
NpyHeader parse_npy_header(const uint8_t* data, std::size_t size, const std::string& source);

/// A feature matrix [N, D] as float32. float32 files are mapped, not read: the tensor is read-only and keeps the
/// mapping alive. float16 and float64 are converted piece by piece, above 1 GiB into a temporary file that is mapped
/// (`ops::large_matrix`).
/// @throws InputError naming the file: not .npy, not two-dimensional, another type, no column.
torch::Tensor read_npy_features(const std::filesystem::path& path);

/// Identities, cameras or other labels [N] as int64, from int64 or int32.
/// @throws InputError naming the file.
torch::Tensor read_npy_labels(const std::filesystem::path& path);

/// Writes a float32, float64, int32 or int64 tensor of any rank and strides, format 1.0, atomically.
/// @throws ShapeError for other types, WorkError if the file can't be written whole.
void write_npy(const std::filesystem::path& path, const torch::Tensor& tensor);

/// Writes a matrix [rows, columns] float32 piece by piece, for features that don't fit into memory. The name appears
/// with `finish()`; until then, and if it is never called, there is only a temporary file, which the destructor removes.
class NpyWriter {
 public:
  /// @throws WorkError if the folder isn't writable.
  NpyWriter(std::filesystem::path path, int64_t rows, int64_t columns);
  ~NpyWriter();
  NpyWriter(const NpyWriter&) = delete;
  NpyWriter& operator=(const NpyWriter&) = delete;
  /// Appends [n, columns] rows of any floating type. @throws ShapeError, or WorkError on a full disk.
  void append(const torch::Tensor& rows);
  /// Syncs and renames. @throws WorkError unless exactly `rows` rows were appended.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace reid::metrics
