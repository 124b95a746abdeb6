// SPDX-License-Identifier: Apache-2.0
#include "reid/metrics/npy.hpp"

#include <torch/torch.h>

#include <fstream>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid::metrics;
using Catch::Matchers::Contains;
using reid::test::TempDir;
using torch::Tensor;

namespace {

/// A file as NumPy writes it: header padded to 64 bytes.
std::string npy(const std::string& dictionary, const std::string& data, int version = 1) {
  std::string bytes = "\x93NUMPY";
  bytes += static_cast<char>(version);
  bytes += '\0';
  const std::size_t fixed = version == 1 ? 10 : 12;
  std::string header = dictionary;
  header.append(64 - (fixed + header.size() + 1) % 64, ' ');
  header += '\n';
  for (std::size_t i = 0; i < fixed - 8; ++i) bytes += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return bytes + header + data;
}

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

struct File {
  TempDir dir;
  std::filesystem::path write(const std::string& bytes) {
    const auto path = dir / "a.npy";
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
};

const std::string kFloats = raw<float>({1, 2, 3, 4, 5, 6});

}  // namespace

TEST_CASE("features of every type and version are read as float32", "[metrics][npy]") {
  File file;
  const Tensor expected = torch::tensor({{1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}});
  for (const int version : {1, 2, 3}) {
    const auto path = file.write(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", kFloats, version));
    REQUIRE(read_npy_features(path).equal(expected));
  }
  REQUIRE(read_npy_features(file.write(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }",
                                           raw<double>({1, 2, 3, 4, 5, 6})))).equal(expected));
  REQUIRE(read_npy_features(file.write(npy("{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }",
                                           raw<uint16_t>({0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600})))).equal(expected));
  // Other spellings of the same dictionary.
  REQUIRE(read_npy_features(file.write(npy("{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<f4\"}", kFloats))).equal(expected));
}

TEST_CASE("a header length that leaves the data unaligned is read all the same", "[metrics][npy]") {
  File file;
  std::string bytes = "\x93NUMPY";
  bytes += '\1';
  bytes += '\0';
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}";
  bytes += static_cast<char>(header.size());
  bytes += '\0';
  REQUIRE((bytes.size() + header.size()) % 4 != 0);
  REQUIRE(read_npy_features(file.write(bytes + header + kFloats)).sum().item<float>() == 21);
}

TEST_CASE("labels are read as int64 from int32 and int64", "[metrics][npy]") {
  File file;
  const Tensor expected = torch::tensor({-1, 0, 7}, torch::kInt64);
  REQUIRE(read_npy_labels(file.write(npy("{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }",
                                         raw<int64_t>({-1, 0, 7})))).equal(expected));
  REQUIRE(read_npy_labels(file.write(npy("{'descr': '<i4', 'fortran_order': False, 'shape': (3,), }",
                                         raw<int32_t>({-1, 0, 7})))).equal(expected));
  REQUIRE(read_npy_labels(file.write(npy("{'descr': '<i8', 'fortran_order': False, 'shape': (0,), }", ""))).size(0) == 0);
  REQUIRE_THROWS_WITH(read_npy_labels(file.write(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", kFloats))),
                      Contains("array must be [N] int32 or int64, got [6] <f4"));
}

TEST_CASE("everything else is refused, naming the file", "[metrics][npy]") {
  File file;
  const std::string good = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", kFloats);
  const std::vector<std::pair<std::string, std::string>> wrong{
      {"", "must be a NumPy .npy array, got an empty file"},
      {"PK\x03\x04 a zip", "must be a NumPy .npy array, got another format"},
      {good.substr(0, 9), "must hold a whole .npy header"},
      {good.substr(0, 40), "must hold a header of"},
      {good.substr(0, good.size() - 1), "array of shape (2, 3) must take 24 bytes, got 23"},
      {good + "x", "array of shape (2, 3) must take 24 bytes, got 25"},
      {npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", kFloats), "must be in C order, got Fortran order"},
      {npy("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", kFloats), "got '>f4' (big-endian)"},
      {npy("{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }", kFloats), "got '|O'"},
      {npy("{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }", kFloats), "got '<c8'"},
      {npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,), }", kFloats), "got a structured type"},
      {npy("{'descr': '<i8', 'fortran_order': False, 'shape': (3, 1), }", kFloats), "must be [N, D] float16, float32 or float64"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", kFloats), "got [6] <f4"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (6, 0), }", ""), "at least one column"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3), }", kFloats), "must not be negative"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", kFloats), "smaller than 2^63 bytes"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 3), }", kFloats), "below 2^63"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976, 3), }", kFloats), "smaller than 2^63 bytes"},
      {npy("{'descr': '<f4', 'shape': (2, 3), }", kFloats), "must have 'descr', 'fortran_order' and 'shape'"},
      {npy("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", kFloats), "once each, got 'descr'"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } + 1", kFloats), "must be a NumPy dictionary"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }", kFloats), "must be a NumPy dictionary"},
      {npy("not a dictionary", kFloats), "must be a NumPy dictionary"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", kFloats, 4), "must be 1.0, 2.0 or 3.0, got 4.0"}};
  for (const auto& [bytes, message] : wrong) {
    const auto path = file.write(bytes);
    INFO(message);
    REQUIRE_THROWS_AS(read_npy_features(path), reid::InputError);
    REQUIRE_THROWS_WITH(read_npy_features(path), Contains(path.string()) && Contains(message));
  }
  REQUIRE_THROWS_AS(read_npy_features(file.dir / "none.npy"), reid::InputError);
  REQUIRE_THROWS_AS(read_npy_features(file.dir.path()), reid::InputError);
}

TEST_CASE("no prefix and no single changed byte of a header does harm", "[metrics][npy]") {
  const std::string good = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", kFloats);
  const auto* data = reinterpret_cast<const uint8_t*>(good.data());
  for (std::size_t size = 0; size < good.size(); ++size) {
    REQUIRE_THROWS_AS(parse_npy_header(data, size, "f"), reid::InputError);
  }
  for (std::size_t at = 0; at < good.size() - kFloats.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = good;
      changed[at] = static_cast<char>(value);
      try {
        const auto header = parse_npy_header(reinterpret_cast<const uint8_t*>(changed.data()), changed.size(), "f");
        int64_t count = header.type == "<f2" ? 2 : header.type[2] == '4' ? 4 : 8;
        for (const int64_t side : header.shape) count *= side;
        REQUIRE(static_cast<std::size_t>(count) + header.offset == changed.size());
      } catch (const reid::InputError&) {
      }
    }
  }
}

TEST_CASE("what is written is read back, header on a 64-byte boundary", "[metrics][npy]") {
  TempDir dir;
  const Tensor features = torch::randn({5, 7});
  write_npy(dir / "f.npy", features.t());  // any strides
  REQUIRE(read_npy_features(dir / "f.npy").equal(features.t()));
  const auto bytes = reid::read_file(dir / "f.npy");
  REQUIRE((bytes.size() - 35 * 4) % 64 == 0);
  REQUIRE_THAT(bytes, Contains("{'descr': '<f4', 'fortran_order': False, 'shape': (7, 5), }"));
  write_npy(dir / "l.npy", torch::tensor({3, 1, 2}, torch::kInt64));
  REQUIRE(read_npy_labels(dir / "l.npy").equal(torch::tensor({3, 1, 2}, torch::kInt64)));
  REQUIRE_THAT(reid::read_file(dir / "l.npy"), Contains("'shape': (3,), }"));
  write_npy(dir / "s.npy", torch::tensor(2.5));
  REQUIRE_THAT(reid::read_file(dir / "s.npy"), Contains("'shape': (), }"));
  REQUIRE_THROWS_AS(write_npy(dir / "b.npy", torch::zeros({2}, torch::kBool)), reid::ShapeError);
  REQUIRE_THROWS_AS(write_npy(dir / "no" / "b.npy", torch::zeros({2})), reid::WorkError);
}

TEST_CASE("an incremental file appears whole or not at all", "[metrics][npy]") {
  TempDir dir;
  const Tensor features = torch::randn({10, 4});
  {
    NpyWriter writer(dir / "f.npy", 10, 4);
    writer.append(features.narrow(0, 0, 3));
    REQUIRE_THROWS_AS(writer.append(torch::zeros({2, 5})), reid::ShapeError);
    REQUIRE_THROWS_AS(writer.append(torch::zeros({8, 4})), reid::ShapeError);
    writer.append(features.narrow(0, 3, 7).to(torch::kFloat64));
    REQUIRE(!std::filesystem::exists(dir / "f.npy"));
    writer.finish();
  }
  REQUIRE(read_npy_features(dir / "f.npy").equal(features));
  {
    NpyWriter writer(dir / "g.npy", 10, 4);
    writer.append(features.narrow(0, 0, 3));
    REQUIRE_THROWS_WITH(writer.finish(), Contains("rows written must be 10, got 3"));
  }
  int64_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    files += 1;
    REQUIRE(entry.path().filename() == "f.npy");
  }
  REQUIRE(files == 1);
  REQUIRE_THROWS_AS(NpyWriter(dir / "no" / "f.npy", 1, 1), reid::WorkError);
}
