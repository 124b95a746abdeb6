// SPDX-License-Identifier: Apache-2.0
// The safetensors format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes without gaps.
// As the format's own documentation has it.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>
#include <ostream>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/core/json.hpp"
#include "weight_formats.hpp"

namespace reid::nn {
namespace {

static_assert(std::endian::native == std::endian::little, "weight files are little-endian");

constexpr std::size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit
constexpr const char* kMetadata = "__metadata__";

struct TypeName {
  const char* name;
  torch::ScalarType type;
};
constexpr std::array<TypeName, 10> kTypes = {{{"F64", torch::kFloat64},
                                              {"F32", torch::kFloat32},
                                              {"F16", torch::kFloat16},
                                              {"BF16", torch::kBFloat16},
                                              {"I64", torch::kInt64},
                                              {"I32", torch::kInt32},
                                              {"I16", torch::kInt16},
                                              {"I8", torch::kInt8},
                                              {"U8", torch::kUInt8},
                                              {"BOOL", torch::kBool}}};

std::string known_types() {
  std::vector<std::string> names;
  for (const auto& entry : kTypes) names.emplace_back(entry.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

/// Where one tensor lies in the data that follow the header.
struct Entry {
  std::string name;
  torch::ScalarType type;
  std::vector<int64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
  int64_t count = 1;
};

class HeaderReader {
 public:
  HeaderReader(const std::string& source, uint64_t data_bytes) : source_(source), data_bytes_(data_bytes) {}

  Entry read(const std::string& name, const Json& value) const {
    const auto where = fmt::format("{}: tensor '{}'", source_, detail::printable(name));
    if (!value.is_object()) fail(where, "an object", json_type_name(value));
    for (const auto& [key, ignored] : value.items()) {
      if (key != "dtype" && key != "shape" && key != "data_offsets") {
        fail(where, "described by dtype, shape and data_offsets", "the key '" + detail::printable(key) + "'");
      }
    }
    Entry entry;
    entry.name = name;
    entry.type = type_of(value, where);
    entry.shape = shape_of(value, where);
    for (const int64_t size : entry.shape) {
      if (__builtin_mul_overflow(entry.count, size, &entry.count)) {
        fail(where + " shape", "of fewer than 2^63 values", fmt::format("[{}]", fmt::join(entry.shape, ", ")));
      }
    }
    const auto offsets = value.find("data_offsets");
    if (offsets == value.end() || !offsets->is_array() || offsets->size() != 2 ||
        !(*offsets)[0].is_number_unsigned() || !(*offsets)[1].is_number_unsigned()) {
      fail(where + " data_offsets", "two counts of bytes", offsets == value.end() ? "none" : shown(*offsets));
    }
    entry.begin = (*offsets)[0].get<uint64_t>();
    entry.end = (*offsets)[1].get<uint64_t>();
    if (entry.begin > entry.end || entry.end > data_bytes_) {
      fail(where + " data_offsets", fmt::format("in order and within the file's {} bytes of data", data_bytes_),
           shown(*offsets));
    }
    uint64_t bytes = 0;
    const auto width = static_cast<uint64_t>(c10::elementSize(entry.type));
    if (__builtin_mul_overflow(static_cast<uint64_t>(entry.count), width, &bytes) ||
        bytes != entry.end - entry.begin) {
      fail(where, fmt::format("{} values of {} bytes", entry.count, width),
           fmt::format("{} bytes", entry.end - entry.begin));
    }
    return entry;
  }

 private:
  [[noreturn]] static void fail(const std::string& where, const std::string& expectation, const std::string& actual) {
    throw CheckpointError(fmt::format("{} must be {}, got {}", where, expectation, actual));
  }
  static std::string shown(const Json& value) {
    return detail::printable(value.dump(-1, ' ', true, Json::error_handler_t::replace));
  }

  static torch::ScalarType type_of(const Json& value, const std::string& where) {
    const auto found = value.find("dtype");
    if (found != value.end() && found->is_string()) {
      for (const auto& entry : kTypes) {
        if (found->get_ref<const std::string&>() == entry.name) return entry.type;
      }
    }
    fail(where + " dtype", "one of " + known_types(), found == value.end() ? "none" : shown(*found));
  }

  static std::vector<int64_t> shape_of(const Json& value, const std::string& where) {
    const auto found = value.find("shape");
    if (found == value.end() || !found->is_array()) {
      fail(where + " shape", "a list of sizes", found == value.end() ? "none" : json_type_name(*found));
    }
    std::vector<int64_t> shape;
    for (const auto& size : *found) {
      if (!size.is_number_unsigned() || size.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
        fail(where + " shape", "a list of sizes", shown(*found));
      }
      shape.push_back(size.get<int64_t>());
    }
    if (shape.size() > 64) fail(where + " shape", "of at most 64 dimensions", fmt::format("{}", shape.size()));
    return shape;
  }

  const std::string& source_;
  uint64_t data_bytes_;
};

std::map<std::string, std::string> read_metadata(const Json& value, const std::string& source) {
  std::map<std::string, std::string> metadata;
  if (!value.is_object()) {
    throw CheckpointError(
        fmt::format("{}: {} must be an object of strings, got {}", source, kMetadata, json_type_name(value)));
  }
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      throw CheckpointError(fmt::format("{}: {} '{}' must be a string, got {}", source, kMetadata,
                                        detail::printable(key), json_type_name(text)));
    }
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

/// The data must be covered once: no gap where something could hide, no byte that two tensors claim.
void check_cover(std::vector<Entry>& entries, uint64_t data_bytes, const std::string& source) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  uint64_t covered = 0;
  for (const auto& entry : entries) {
    if (entry.begin != covered) {
      throw CheckpointError(fmt::format("{}: tensor '{}' must begin where the one before it ends, at byte {}, got {} ({})",
                                        source, detail::printable(entry.name), covered, entry.begin,
                                        entry.begin < covered ? "they overlap" : "a gap"));
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    throw CheckpointError(
        fmt::format("{}: tensors must cover all {} bytes of data, got {}", source, data_bytes, covered));
  }
}

}  // namespace

namespace detail {

bool looks_like_safetensors(std::string_view bytes) {
  if (bytes.size() <= kLengthBytes) return false;
  const auto first = bytes.find_first_not_of(' ', kLengthBytes);
  return first != std::string_view::npos && bytes[first] == '{';
}

WeightFile parse_safetensors(const Bytes& bytes, const std::string& source) {
  const auto fail = [&](const std::string& what) { throw CheckpointError(source + ": " + what); };
  const auto view = bytes.view;
  if (view.size() < kLengthBytes) {
    fail(fmt::format("file must hold at least {} bytes, got {}", kLengthBytes, view.size()));
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, view.data(), kLengthBytes);
  if (header_bytes > kMaxHeader || header_bytes > view.size() - kLengthBytes) {
    fail(fmt::format("header must fit into the file of {} bytes and be at most {} bytes, got {}", view.size(),
                     kMaxHeader, header_bytes));
  }
  Json header;
  try {
    header = parse_json(view.substr(kLengthBytes, header_bytes), source + ": header");
  } catch (const ConfigError& error) {
    throw CheckpointError(error.what());
  }
  if (!header.is_object()) fail("header must be an object, got " + json_type_name(header));

  const std::size_t data_begin = kLengthBytes + header_bytes;
  const uint64_t data_bytes = view.size() - data_begin;
  const HeaderReader reader(source, data_bytes);
  WeightFile file;
  file.format = "safetensors";
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadata) {
      file.metadata = read_metadata(value, source);
    } else {
      entries.push_back(reader.read(name, value));
    }
  }
  check_cover(entries, data_bytes, source);
  for (const auto& entry : entries) {
    file.tensors[entry.name] =
        tensor_over(bytes, data_begin + entry.begin, entry.count, entry.type).view(entry.shape);
  }
  return file;
}

}  // namespace detail

void write_safetensors(const std::filesystem::path& path, const StateDict& tensors,
                       const std::map<std::string, std::string>& metadata) {
  struct Item {
    const std::string* name;
    torch::Tensor tensor;
    const char* type;
  };
  std::vector<Item> items;
  for (const auto& [name, tensor] : tensors) {
    const auto where = fmt::format("write_safetensors: tensor '{}'", detail::printable(name));
    REID_CHECK(name != kMetadata, InputError, where + " must have another name, got the one of the metadata");
    REID_CHECK(tensor.defined() && tensor.layout() == torch::kStrided, InputError,
               where + " must be dense, got " + (tensor.defined() ? "a sparse one" : "an undefined one"));
    const auto type = std::find_if(kTypes.begin(), kTypes.end(), [kind = tensor.scalar_type()](const TypeName& entry) {
      return entry.type == kind;
    });
    REID_CHECK(type != kTypes.end(), InputError,
               fmt::format("{} must be of type {}, got {}", where, known_types(), c10::toString(tensor.scalar_type())));
    items.push_back({&name, tensor.detach(), type->name});
  }
  // Wide types first: with the header padded to 8 bytes every tensor is aligned for its type.
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return a.tensor.element_size() > b.tensor.element_size();
  });

  Json header = Json::object();
  if (!metadata.empty()) {
    for (const auto& [key, value] : metadata) header[kMetadata][key] = value;
  }
  uint64_t offset = 0;
  for (const auto& item : items) {
    const uint64_t end = offset + item.tensor.numel() * static_cast<uint64_t>(item.tensor.element_size());
    header[*item.name] = {{"dtype", item.type}, {"shape", item.tensor.sizes().vec()}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception&) {
    throw InputError(fmt::format("{}: names and metadata must be UTF-8, got other bytes", path.string()));
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  REID_CHECK(length <= kMaxHeader, InputError,
             fmt::format("{}: header must be at most {} bytes, got {}", path.string(), kMaxHeader, length));

  write_file_atomic(path, [&](std::ostream& out) {
    out.write(reinterpret_cast<const char*>(&length), kLengthBytes);
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
    for (const auto& item : items) {
      const auto data = item.tensor.to(torch::kCPU).contiguous();
      out.write(static_cast<const char*>(data.const_data_ptr()), static_cast<std::streamsize>(data.nbytes()));
    }
  });
}

}  // namespace reid::nn
