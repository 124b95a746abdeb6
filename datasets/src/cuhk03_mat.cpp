// SPDX-License-Identifier: Apache-2.0
#include "cuhk03_mat.hpp"

#include <fmt/format.h>
#include <hdf5.h>
#include <unistd.h>

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>

#include <algorithm>
#include <array>
#include <fstream>

#include "mat5.hpp"
#include "reid/core/error.hpp"
#include "reid/core/log.hpp"

namespace reid::datasets {
namespace fs = std::filesystem;
namespace {

/// Largest side of a picture and largest number of elements of a list that a file may claim.
constexpr hsize_t kMostPixels = 8192, kMostElements = 1U << 24;
/// Largest piece in which a file may claim to keep an array, in bytes.
constexpr hsize_t kMostChunk = 1U << 28;

/// An HDF5 handle that closes itself.
template <herr_t (*Close)(hid_t)>
class Handle {
 public:
  explicit Handle(hid_t id) : id_(id) {}
  ~Handle() {
    if (id_ >= 0) Close(id_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  hid_t get() const { return id_; }
  bool valid() const { return id_ >= 0; }

 private:
  hid_t id_;
};
using File = Handle<H5Fclose>;
using Dataset = Handle<H5Dclose>;
using Space = Handle<H5Sclose>;
using Type = Handle<H5Tclose>;
using Properties = Handle<H5Pclose>;

/// HDF5 prints its own errors unless told not to.
class Silence {
 public:
  Silence() {
    H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~Silence() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

class MatFile {
 public:
  explicit MatFile(const fs::path& path) : path_(path), file_(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)) {
    if (!file_.valid()) refuse("file must be MATLAB 7.3 (HDF5)", fs::exists(path) ? "something else" : "no such file");
  }

  [[noreturn]] void refuse(const std::string& expectation, const std::string& actual) const {
    throw DatasetError(fmt::format("{}: {}, got {}", path_.string(), expectation, actual));
  }

  hid_t open(const std::string& name) const {
    const hid_t id = H5Dopen2(file_.get(), name.c_str(), H5P_DEFAULT);
    if (id < 0) refuse(fmt::format("variable '{}' must be there", name), "none");
    return id;
  }
  hid_t follow(const hobj_ref_t& reference, const std::string& what) const {
    const hid_t id = H5Rdereference2(file_.get(), H5P_DEFAULT, H5R_OBJECT, &reference);
    if (id >= 0 && H5Iget_type(id) == H5I_DATASET) return id;
    if (id >= 0) H5Oclose(id);
    refuse(what + " must be an array", "a broken reference");
  }

  std::vector<hsize_t> shape(const Dataset& dataset) const {
    const Space space(H5Dget_space(dataset.get()));
    const int rank = H5Sget_simple_extent_ndims(space.get());
    if (rank < 0) refuse("array must have a shape", "none");
    std::vector<hsize_t> dims(static_cast<std::size_t>(rank));
    if (rank > 0) H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr);
    return dims;
  }

  /// All values of an array, to a number of T each; false if they aren't of this kind, or damaged. HDF5 makes room for whatever
  /// size of a value or of a chunk the file claims, and reads an array that lies in its header beyond its end: they are looked at first.
  template <class T>
  bool read(const Dataset& dataset, H5T_class_t kind, hid_t type, std::vector<T>& values) const {
    const Type stored(H5Dget_type(dataset.get()));
    const std::size_t size = H5Tget_size(stored.get());
    if (H5Tget_class(stored.get()) != kind || size == 0 || size > sizeof(uint64_t)) return false;
    const Properties layout(H5Dget_create_plist(dataset.get()));
    const auto kept = H5Pget_layout(layout.get());
    if (kept == H5D_COMPACT && H5Dget_storage_size(dataset.get()) < values.size() * size) return false;
    if (kept == H5D_CHUNKED) {
      std::array<hsize_t, H5S_MAX_RANK> sides{};
      const int rank = H5Pget_chunk(layout.get(), H5S_MAX_RANK, sides.data());
      hsize_t bytes = size;
      for (int i = 0; i < rank; ++i) {
        const hsize_t side = sides[static_cast<std::size_t>(i)];
        if (side == 0 || side > kMostChunk / bytes) return false;
        bytes *= side;
      }
    }
    return H5Dread(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0;
  }

  /// A cell array: references in the order of the file (the transpose of MATLAB's).
  std::vector<hobj_ref_t> cells(const Dataset& dataset, const std::string& what, std::vector<hsize_t>& dims) const {
    dims = shape(dataset);
    if (dims.size() != 2 || dims[0] > kMostElements || dims[1] > kMostElements || dims[0] * dims[1] > kMostElements) {
      refuse(what + " must be a cell array", "another shape");
    }
    std::vector<hobj_ref_t> references(static_cast<std::size_t>(dims[0] * dims[1]));
    if (!read(dataset, H5T_REFERENCE, H5T_STD_REF_OBJ, references)) refuse(what + " must be a cell array", "something else");
    return references;
  }

 private:
  fs::path path_;
  File file_;
};

/// One picture, [H, W, 3] BGR; empty where the cell is. MATLAB's H x W x 3 is stored as [3, W, H].
cv::Mat read_picture(const MatFile& file, const hobj_ref_t& reference, const std::string& what) {
  const Dataset dataset(file.follow(reference, what));
  const auto dims = file.shape(dataset);
  if (dims.size() != 3) return {};  // MATLAB's empty array is written as its two sizes
  if (dims[0] != 3 || dims[1] == 0 || dims[2] == 0 || dims[1] > kMostPixels || dims[2] > kMostPixels) {
    file.refuse(what + " must be a picture of three colours", fmt::format("shape {} x {} x {}", dims[2], dims[1], dims[0]));
  }
  const auto width = static_cast<std::size_t>(dims[1]), height = static_cast<std::size_t>(dims[2]);
  std::vector<uint8_t> planes(3 * width * height);
  if (!file.read(dataset, H5T_INTEGER, H5T_NATIVE_UINT8, planes)) file.refuse(what + " must be readable", "a damaged array");
  cv::Mat picture(static_cast<int>(height), static_cast<int>(width), CV_8UC3);
  for (std::size_t y = 0; y < height; ++y) {
    uint8_t* row = picture.ptr<uint8_t>(static_cast<int>(y));
    for (std::size_t x = 0; x < width; ++x) {
      for (std::size_t c = 0; c < 3; ++c) row[3 * x + 2 - c] = planes[(c * width + x) * height + y];
    }
  }
  return picture;
}

void write_png(const fs::path& path, const cv::Mat& picture) {
  std::vector<uint8_t> bytes;
  bool encoded = false;
  try {
    encoded = cv::imencode(".png", picture, bytes, {cv::IMWRITE_PNG_COMPRESSION, 1});
  } catch (const cv::Exception& error) {
    throw WorkError(fmt::format("{}: picture must be encodable, got {}", path.string(), error.err));
  }
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  out.flush();
  if (!encoded || !out) throw WorkError(fmt::format("{}: file must be written whole, got a write error", path.string()));
}

void write_pictures(const MatFile& file, const std::string& kind, const fs::path& folder) {
  std::vector<hsize_t> dims;
  const Dataset all(file.open(kind));
  const auto pairs = file.cells(all, "'" + kind + "'", dims);
  for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
    const std::string where = fmt::format("'{}' of camera pair {}", kind, pair + 1);
    const Dataset people(file.follow(pairs[pair], where));
    const auto cells = file.cells(people, where, dims);
    if (dims[0] != 10) file.refuse(where + " must have 10 columns", std::to_string(dims[0]));
    const auto count = static_cast<std::size_t>(dims[1]);
    for (std::size_t person = 0; person < count; ++person) {
      for (std::size_t k = 0; k < 10; ++k) {
        const cv::Mat picture = read_picture(file, cells[k * count + person],
                                             fmt::format("{}, person {}, picture {}", where, person + 1, k + 1));
        if (picture.empty()) continue;
        write_png(folder / fmt::format("{}_{:03}_{}_{:02}.png", pair + 1, person + 1, k < 5 ? 1 : 2, k + 1), picture);
      }
    }
  }
}

}  // namespace

void extract_cuhk03(const fs::path& mat, const std::string& kind, const fs::path& folder) {
  std::error_code ignored;
  if (fs::is_directory(folder, ignored)) return;
  const Silence silence;
  const MatFile file(mat);
  log_info(fmt::format("cuhk03: writing the {} pictures of {} to {}, once", kind, mat.string(), folder.string()));
  const fs::path temporary = folder.parent_path() / fmt::format(".{}.{}.tmp", folder.filename().string(), ::getpid());
  std::error_code error;
  fs::create_directories(temporary, error);
  if (error) throw WorkError(fmt::format("{}: folder must be writable, got {}", temporary.string(), error.message()));
  try {
    write_pictures(file, kind, temporary);
    fs::rename(temporary, folder, error);
    // Another process may have been faster: its folder is as good.
    if (error && !fs::is_directory(folder, ignored)) {
      throw WorkError(fmt::format("{}: folder must take its name, got {}", folder.string(), error.message()));
    }
  } catch (...) {
    fs::remove_all(temporary, ignored);
    throw;
  }
  fs::remove_all(temporary, ignored);
}

std::vector<std::vector<std::pair<int64_t, int64_t>>> read_cuhk03_test_sets(const fs::path& mat) {
  const Silence silence;
  const MatFile file(mat);
  std::vector<hsize_t> dims;
  const Dataset all(file.open("testsets"));
  std::vector<std::vector<std::pair<int64_t, int64_t>>> sets;
  for (const auto& reference : file.cells(all, "'testsets'", dims)) {
    const std::string where = fmt::format("test set {}", sets.size() + 1);
    const Dataset one(file.follow(reference, where));
    const auto shape = file.shape(one);
    if (shape.size() != 2 || shape[0] != 2 || shape[1] > kMostElements) file.refuse(where + " must have two columns", "another shape");
    const auto count = static_cast<std::size_t>(shape[1]);
    std::vector<double> values(2 * count);
    if (!file.read(one, H5T_FLOAT, H5T_NATIVE_DOUBLE, values) && !file.read(one, H5T_INTEGER, H5T_NATIVE_DOUBLE, values)) {
      file.refuse(where + " must hold numbers", "something else");
    }
    auto& set = sets.emplace_back();
    for (std::size_t i = 0; i < count; ++i) {
      const double pair = values[i], person = values[count + i];
      if (!(pair >= 1 && pair <= 5 && person >= 1 && person < 10000)) {
        file.refuse(where + " must hold pairs 1 to 5 and persons from 1", fmt::format("{}, {}", pair, person));
      }
      set.emplace_back(static_cast<int64_t>(pair), static_cast<int64_t>(person));
    }
  }
  return sets;
}

Cuhk03Config read_cuhk03_config(const fs::path& path) {
  const Mat5File file(path);
  Cuhk03Config config;
  config.files = file.strings("filelist");
  config.labels = file.integers("labels");
  if (config.labels.size() != config.files.size()) {
    file.refuse("labels", fmt::format("have {} entries, as many as filelist", config.files.size()),
                std::to_string(config.labels.size()));
  }
  const auto part = [&](const char* variable) {
    auto values = file.integers(variable);
    for (auto& value : values) {
      if (value < 1 || value > static_cast<int64_t>(config.files.size())) {
        file.refuse(variable, fmt::format("hold places 1 to {}", config.files.size()), std::to_string(value));
      }
      --value;
    }
    return values;
  };
  config.train = part("train_idx");
  config.query = part("query_idx");
  config.gallery = part("gallery_idx");
  return config;
}

}  // namespace reid::datasets
