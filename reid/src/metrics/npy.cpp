// SPDX-License-Identifier: Apache-2.0
#include "reid/metrics/npy.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/ops/check.hpp"
#include "reid/ops/memory.hpp"

namespace reid::metrics {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr std::size_t kAlignment = 64;
constexpr std::size_t kMaxDimensions = 32;

[[noreturn]] void refuse(const std::string& source, const std::string& expectation, const std::string& got) {
  throw InputError(fmt::format("{}: {}, got {}", source, expectation, got));
}

/// The header's text: a Python dictionary of 'descr', 'fortran_order' and 'shape', nothing else.
class HeaderText {
 public:
  HeaderText(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  NpyHeader parse() {
    NpyHeader header;
    bool descr = false, order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr" && !descr) {
        descr = true;
        if (peek() != '\'' && peek() != '"') refuse(source_, "type must be a plain number", "a structured type");
        header.type = string();
      } else if (key == "fortran_order" && !order) {
        order = true;
        if (word() != "False") refuse(source_, "array must be in C order", "Fortran order");
      } else if (key == "shape" && !shape) {
        shape = true;
        header.shape = tuple();
      } else {
        refuse(source_, "header must have 'descr', 'fortran_order' and 'shape' once each", fmt::format("'{}'", key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip();
    if (at_ != text_.size()) broken();
    if (!descr || !order || !shape) refuse(source_, "header must have 'descr', 'fortran_order' and 'shape'", "fewer");
    return header;
  }

 private:
  [[noreturn]] void broken() const { refuse(source_, "header must be a NumPy dictionary", "other text"); }
  void skip() {
    while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) != nullptr && text_[at_] != '\0') ++at_;
  }
  char peek() {
    skip();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) broken();
  }
  std::string string() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') broken();
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos || end - at_ > 64) broken();
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    const auto plain = [](char c) { return c >= ' ' && c < '\x7f' && c != '\\'; };
    if (!std::all_of(value.begin(), value.end(), plain)) broken();
    at_ = end + 1;
    return value;
  }
  std::string_view word() {
    skip();
    const std::size_t begin = at_;
    while (at_ < text_.size() && std::isalpha(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
    const auto value = text_.substr(begin, at_ - begin);
    if (value != "True" && value != "False") broken();
    return value;
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> values;
    expect('(');
    while (!accept(')')) {
      if (values.size() == kMaxDimensions) refuse(source_, "array must have at most 32 dimensions", "more");
      values.push_back(integer());
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return values;
  }
  int64_t integer() {
    if (peek() == '-') refuse(source_, "sizes must not be negative", "a negative size");
    const std::size_t begin = at_;
    int64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      if (value > (std::numeric_limits<int64_t>::max() - 9) / 10) {
        refuse(source_, "sizes must be below 2^63", "a larger one");
      }
      value = value * 10 + (text_[at_] - '0');
    }
    if (at_ == begin) broken();
    return value;
  }

  std::string_view text_;
  const std::string& source_;
  std::size_t at_ = 0;
};

/// Bytes of one value, 0 for a type that isn't read.
int64_t item_size(const std::string& type) {
  if (type == "<f2") return 2;
  if (type == "<f4" || type == "<i4") return 4;
  if (type == "<f8" || type == "<i8") return 8;
  return 0;
}

torch::ScalarType scalar_type(const std::string& type) {
  if (type == "<f2") return torch::kFloat16;
  if (type == "<f4") return torch::kFloat32;
  if (type == "<f8") return torch::kFloat64;
  return type == "<i4" ? torch::kInt32 : torch::kInt64;
}

/// The array as a tensor over the mapped bytes, which it keeps.
torch::Tensor mapped_tensor(const std::filesystem::path& path, std::initializer_list<std::string_view> types,
                            std::size_t rank, const std::string& expectation) {
  const std::string source = path.string();
  auto file = std::make_shared<MappedFile>(path);
  const NpyHeader header = parse_npy_header(file->data(), file->size(), source);
  if (std::find(types.begin(), types.end(), header.type) == types.end() || header.shape.size() != rank) {
    refuse(source, fmt::format("array must be {}", expectation),
           fmt::format("[{}] {}", fmt::join(header.shape, ", "), header.type));
  }
  const auto type = scalar_type(header.type);
  int64_t count = 1;
  for (const int64_t size : header.shape) count *= size;
  if (count == 0) return torch::empty(header.shape, type);
  const uint8_t* data = file->data() + header.offset;
  if (reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(item_size(header.type)) != 0) {
    // Valid but unaligned (a header length that NumPy itself doesn't write): copied.
    torch::Tensor copy = torch::empty(header.shape, type);
    std::memcpy(copy.mutable_data_ptr(), data, file->size() - header.offset);
    return copy;
  }
  return torch::from_blob(const_cast<uint8_t*>(data), header.shape, [file](void*) {}, torch::dtype(type));
}

std::string npy_prefix(const std::string& type, const std::vector<int64_t>& shape) {
  std::string sizes;
  for (const int64_t size : shape) sizes += fmt::format("{}, ", size);
  if (shape.size() > 1) sizes.resize(sizes.size() - 2);  // (3, 4), but (3,)
  if (shape.size() == 1) sizes.resize(sizes.size() - 1);
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", type, sizes);
  const std::size_t fixed = kMagic.size() + 4;
  header.append(kAlignment - (fixed + header.size() + 1) % kAlignment, ' ');
  header += '\n';
  std::string prefix(kMagic);
  prefix += '\x01';
  prefix += '\x00';
  prefix += static_cast<char>(header.size() & 0xff);
  prefix += static_cast<char>(header.size() >> 8);
  return prefix + header;
}

std::string npy_type(const torch::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case torch::kFloat32:
      return "<f4";
    case torch::kFloat64:
      return "<f8";
    case torch::kInt32:
      return "<i4";
    case torch::kInt64:
      return "<i8";
    default:
      throw ShapeError(fmt::format("write_npy: tensor must be float32, float64, int32 or int64, got {}",
                                   ops::describe(tensor)));
  }
}

}  // namespace

NpyHeader parse_npy_header(const uint8_t* data, std::size_t size, const std::string& source) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (bytes.substr(0, kMagic.size()) != kMagic) {
    refuse(source, "file must be a NumPy .npy array", size == 0 ? "an empty file" : "another format");
  }
  if (size < 10) refuse(source, "file must hold a whole .npy header", fmt::format("{} bytes", size));
  const int major = data[6], minor = data[7];
  if (major < 1 || major > 3 || minor != 0) {
    refuse(source, ".npy version must be 1.0, 2.0 or 3.0", fmt::format("{}.{}", major, minor));
  }
  const std::size_t width = major == 1 ? 2 : 4;
  std::size_t begin = 8 + width, length = 0;
  if (size < begin) refuse(source, "file must hold a whole .npy header", fmt::format("{} bytes", size));
  for (std::size_t i = 0; i < width; ++i) length |= static_cast<std::size_t>(data[8 + i]) << (8 * i);
  if (length > size - begin) {
    refuse(source, fmt::format("file must hold a header of {} bytes", length), fmt::format("{} bytes", size - begin));
  }
  NpyHeader header = HeaderText(bytes.substr(begin, length), source).parse();
  header.offset = begin + length;
  const int64_t item = item_size(header.type);
  if (item == 0) {
    const bool big = header.type.size() > 1 && header.type[0] == '>';
    refuse(source, "type must be little-endian float16, float32, float64, int32 or int64",
           fmt::format("'{}'{}", header.type, big ? " (big-endian)" : ""));
  }
  int64_t bytes_said = item;
  bool empty = false;
  for (const int64_t side : header.shape) empty = empty || side == 0;
  for (const int64_t side : header.shape) {
    if (!empty && side > std::numeric_limits<int64_t>::max() / bytes_said) {
      refuse(source, "array must be smaller than 2^63 bytes", fmt::format("shape ({})", fmt::join(header.shape, ", ")));
    }
    bytes_said = empty ? 0 : bytes_said * side;
  }
  const auto there = static_cast<int64_t>(size - header.offset);
  if (bytes_said != there) {
    refuse(source, fmt::format("array of shape ({}) must take {} bytes", fmt::join(header.shape, ", "), bytes_said),
           fmt::format("{}", there));
  }
  return header;
}

torch::Tensor read_npy_features(const std::filesystem::path& path) {
  const torch::Tensor array = mapped_tensor(path, {"<f2", "<f4", "<f8"}, 2, "[N, D] float16, float32 or float64");
  if (array.size(1) == 0) refuse(path.string(), "features must have at least one column", "0");
  if (array.scalar_type() == torch::kFloat32) return array;
  const torch::Tensor wide = ops::large_matrix(array.size(0), array.size(1));
  constexpr int64_t kRows = 4096;  // at a time, so that neither file need be in memory whole
  for (int64_t begin = 0; begin < array.size(0); begin += kRows) {
    const int64_t rows = std::min(kRows, array.size(0) - begin);
    wide.narrow(0, begin, rows).copy_(array.narrow(0, begin, rows));
  }
  return wide;
}

torch::Tensor read_npy_labels(const std::filesystem::path& path) {
  return mapped_tensor(path, {"<i4", "<i8"}, 1, "[N] int32 or int64").to(torch::kInt64);
}

void write_npy(const std::filesystem::path& path, const torch::Tensor& tensor) {
  const std::string prefix = npy_prefix(npy_type(tensor), tensor.sizes().vec());
  const torch::Tensor values = tensor.detach().cpu().contiguous();
  write_file_atomic(path, [&](std::ostream& out) {
    out.write(prefix.data(), static_cast<std::streamsize>(prefix.size()));
    out.write(static_cast<const char*>(values.const_data_ptr()), static_cast<std::streamsize>(values.nbytes()));
  });
}

struct NpyWriter::State {
  std::filesystem::path path, temporary;
  int64_t rows = 0, columns = 0, written = 0;
  int fd = -1;

  [[noreturn]] void fail(const char* expectation) const {
    throw WorkError(fmt::format("{}: {}, got {}", path.string(), expectation, std::strerror(errno)));
  }
  void write(const void* data, std::size_t size) const {
    const char* at = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t step = ::write(fd, at, std::min<std::size_t>(size, std::size_t{1} << 30));
      if (step < 0 && errno == EINTR) continue;
      if (step < 0) fail("file must be written whole");
      at += step;
      size -= static_cast<std::size_t>(step);
    }
  }
  ~State() {
    if (fd < 0) return;
    ::close(fd);
    ::unlink(temporary.c_str());
  }
};

NpyWriter::NpyWriter(std::filesystem::path path, int64_t rows, int64_t columns) : state_(std::make_unique<State>()) {
  state_->path = std::move(path);
  state_->rows = rows;
  state_->columns = columns;
  state_->temporary =
      state_->path.parent_path() / fmt::format(".{}.{}.tmp", state_->path.filename().string(), ::getpid());
  state_->fd = ::open(state_->temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (state_->fd < 0) state_->fail("folder must be writable");
  const std::string prefix = npy_prefix("<f4", {rows, columns});
  state_->write(prefix.data(), prefix.size());
}

NpyWriter::~NpyWriter() = default;

void NpyWriter::append(const torch::Tensor& rows) {
  ops::check_rank(rows, "npy_writer", "rows", 2, fmt::format("[n, {}] float", state_->columns));
  if (rows.size(1) != state_->columns || state_->written + rows.size(0) > state_->rows) {
    throw ShapeError(fmt::format("npy_writer: rows must be [n, {}] with n at most {}, got {}", state_->columns,
                                 state_->rows - state_->written, ops::describe(rows)));
  }
  const torch::Tensor values = rows.detach().to(torch::kCPU, torch::kFloat32).contiguous();
  state_->write(values.const_data_ptr(), values.nbytes());
  state_->written += rows.size(0);
}

void NpyWriter::finish() {
  if (state_->written != state_->rows) {
    throw WorkError(fmt::format("{}: rows written must be {}, got {}", state_->path.string(), state_->rows,
                                state_->written));
  }
  if (::fsync(state_->fd) != 0) state_->fail("file must be syncable to disk");
  std::error_code error;
  std::filesystem::rename(state_->temporary, state_->path, error);
  if (error) {
    throw WorkError(fmt::format("{}: file must be replaceable, got {}", state_->path.string(), error.message()));
  }
  ::close(state_->fd);
  state_->fd = -1;
}

}  // namespace reid::metrics
