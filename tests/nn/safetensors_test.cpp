// SPDX-License-Identifier: Apache-2.0
#include <torch/torch.h>

#include <cstring>
#include <fstream>

#include "reid/core/error.hpp"
#include "reid/core/io.hpp"
#include "reid/nn/state_dict.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using reid::CheckpointError;
using reid::nn::StateDict;

std::string with_header(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

std::string message_of(const std::filesystem::path& path) {
  try {
    reid::nn::read_weights(path);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "no error";
}

class Files {
 public:
  std::filesystem::path write(const std::string& bytes, const std::string& name = "w.safetensors") {
    const auto path = folder_ / name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }

 private:
  reid::test::TempDir folder_;
};

}  // namespace

TEST_CASE("A safetensors file worked out by hand is read value by value", "[nn][safetensors]") {
  // Two float32 values 1 and -2 (0x3f800000, 0xc0000000), then three bytes.
  Files files;
  const auto path = files.write(with_header(
      R"({"__metadata__":{"made":"by hand"},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})",
      std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0\x05\x00\xff", 11)));
  const auto file = reid::nn::read_weights(path);
  CHECK(file.format == "safetensors");
  CHECK(file.metadata == std::map<std::string, std::string>{{"made", "by hand"}});
  REQUIRE(file.tensors.size() == 2);
  const auto& w = file.tensors.at("w");
  CHECK(w.sizes() == torch::IntArrayRef({1, 2}));
  CHECK(w[0][0].item<float>() == 1.0F);
  CHECK(w[0][1].item<float>() == -2.0F);
  CHECK(file.tensors.at("b").equal(torch::tensor({5, 0, 255}, torch::kUInt8)));
}

TEST_CASE("Every type and shape survives writing and reading", "[nn][safetensors]") {
  Files files;
  StateDict state;
  const auto values = torch::arange(-6, 6).reshape({3, 4});
  for (const auto type : {torch::kFloat64, torch::kFloat32, torch::kFloat16, torch::kBFloat16, torch::kInt64,
                          torch::kInt32, torch::kInt16, torch::kInt8, torch::kUInt8, torch::kBool}) {
    const std::string name = c10::toString(type);
    state[name] = values.to(type);
    state[name + ".scalar"] = torch::ones({}, type);
    state[name + ".empty"] = torch::empty({2, 0, 3}, type);
    state[name + ".transposed"] = values.to(type).t();
  }
  state["names may hold 'quotes', \"these\" and \xc3\xa9"] = torch::ones({1});
  const std::map<std::string, std::string> metadata{{"a", "1"}, {"b", "two\nlines"}};
  reid::nn::write_safetensors(files / "all.safetensors", state, metadata);
  const auto file = reid::nn::read_weights(files / "all.safetensors");
  CHECK(file.metadata == metadata);
  REQUIRE(file.tensors.size() == state.size());
  for (const auto& [name, tensor] : state) {
    INFO(name);
    REQUIRE(file.tensors.count(name) == 1);
    const auto& read = file.tensors.at(name);
    CHECK(read.scalar_type() == tensor.scalar_type());
    CHECK(read.sizes() == tensor.sizes());
    CHECK(read.equal(tensor));
  }
  // The header is padded so that the data begin at a multiple of 8.
  const auto bytes = reid::read_file(files / "all.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  CHECK(length % 8 == 0);
}

TEST_CASE("Tensors outlive the call, and changing them leaves the file as it was", "[nn][safetensors]") {
  Files files;
  const auto path = files / "w.safetensors";
  reid::nn::write_safetensors(path, {{"w", torch::full({1000}, 3.0)}});
  auto tensor = reid::nn::read_weights(path).tensors.at("w");
  tensor.add_(1);
  CHECK(tensor.equal(torch::full({1000}, 4.0)));
  CHECK(reid::nn::read_weights(path).tensors.at("w").equal(torch::full({1000}, 3.0)));
}

TEST_CASE("Data that aren't aligned for their type are read all the same", "[nn][safetensors]") {
  Files files;
  const double value = 0.1;
  std::string data("\x07", 1);
  data.append(reinterpret_cast<const char*>(&value), 8);
  const auto path = files.write(with_header(
      R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F64","shape":[],"data_offsets":[1,9]}})",
      data));
  const auto file = reid::nn::read_weights(path);
  CHECK(file.tensors.at("a").item<int>() == 7);
  CHECK(file.tensors.at("b").item<double>() == value);
}

TEST_CASE("A broken safetensors file is refused with its reason", "[nn][safetensors]") {
  Files files;
  const std::string f4(4, '\0'), f8(8, '\0');
  const auto one = [](const std::string& entry) { return "{\"w\":" + entry + "}"; };
  struct Case {
    std::string bytes;
    const char* reason;
  };
  const std::vector<Case> cases = {
      {"", "empty file"},
      {"just text, no weights", "something else"},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\x0f{", 9), "header must fit"},
      {std::string("\x40\0\0\0\0\0\0\0{}", 10), "header must fit"},
      {with_header("{\"w\":", ""), "strict JSON"},
      {with_header(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{}})", f4), "unique"},
      {with_header("{\"w\":3}", ""), "must be an object"},
      {with_header(one(R"({"dtype":"F32","shape":[1]})"), ""), "data_offsets"},
      {with_header(one(R"({"dtype":"F32","data_offsets":[0,4]})"), f4), "shape must be a list"},
      {with_header(one(R"({"shape":[1],"data_offsets":[0,4]})"), f4), "dtype must be one of"},
      {with_header(one(R"({"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]})"), f4), "F8_E4M3"},
      {with_header(one(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), f4), "list of sizes"},
      {with_header(one(R"({"dtype":"F32","shape":[1.0],"data_offsets":[0,4]})"), f4), "list of sizes"},
      {with_header(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"extra":1})"), f4), "the key 'extra'"},
      {with_header(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), f4), "2 values of 4 bytes"},
      {with_header(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,8]})"), f4), "within the file's 4 bytes"},
      {with_header(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), f4), "in order"},
      {with_header(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4,8]})"), f8), "two counts"},
      {with_header(one(R"({"dtype":"F32","shape":[9223372036854775807,3],"data_offsets":[0,4]})"), f4), "2^63"},
      {with_header(one(R"({"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]})"), f4), "values of 4"},
      {with_header(one(R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]})"), f4), "sizes"},
      {with_header(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})"), f8), "cover all 8"},
      {with_header(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})"), f8), "a gap"},
      {with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                   R"("b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})", f8), "they overlap"},
      {with_header(R"({"__metadata__":{"a":1}})", ""), "must be a string"},
  };
  for (const auto& test : cases) {
    const auto message = message_of(files.write(test.bytes));
    INFO(message);
    CHECK(message.find(test.reason) != std::string::npos);
    CHECK(message.find("w.safetensors") != std::string::npos);
  }
}

TEST_CASE("Every truncation of a safetensors file is an error", "[nn][safetensors]") {
  Files files;
  reid::nn::write_safetensors(files / "whole", {{"a", torch::rand({5})}, {"b", torch::ones({2, 2}, torch::kInt64)}});
  const auto bytes = reid::read_file(files / "whole");
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    INFO(length);
    CHECK(message_of(files.write(bytes.substr(0, length))) != "no error");
  }
}

TEST_CASE("What can't be stored isn't written, and an older file stays", "[nn][safetensors]") {
  Files files;
  const auto path = files / "w.safetensors";
  reid::nn::write_safetensors(path, {{"w", torch::ones({2})}});
  const auto before = reid::read_file(path);
  const StateDict undefined{{"w", torch::Tensor()}};
  CHECK_THROWS_AS(reid::nn::write_safetensors(path, undefined), reid::InputError);
  CHECK_THROWS_AS(reid::nn::write_safetensors(path, {{"w", torch::ones({2}, torch::kComplexFloat)}}),
                  reid::InputError);
  CHECK_THROWS_AS(reid::nn::write_safetensors(path, {{"w", torch::eye(2).to_sparse()}}), reid::InputError);
  CHECK_THROWS_AS(reid::nn::write_safetensors(path, {{"\xff", torch::ones({2})}}), reid::InputError);
  CHECK_THROWS_AS(reid::nn::write_safetensors(path, {{"__metadata__", torch::ones({2})}}), reid::InputError);
  CHECK_THROWS_AS(reid::nn::write_safetensors(path, {{"w", torch::ones({2})}}, {{"a", "\xff"}}), reid::InputError);
  CHECK(reid::read_file(path) == before);
  CHECK_THROWS_AS(reid::nn::write_safetensors(files / "no such folder/w", {{"w", torch::ones({2})}}), reid::WorkError);
}

TEST_CASE("A missing file and a folder are refused by name", "[nn][safetensors]") {
  Files files;
  CHECK(message_of(files / "nothing.pth").find("nothing.pth") != std::string::npos);
  std::filesystem::create_directory(files / "folder");
  CHECK(message_of(files / "folder").find("a folder") != std::string::npos);
}
