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

/// no_check_sum.pth and the places of its records (APPNOTE 6.3 sections 4.3.7, 4.3.12, 4.3.16).
class Archive {
 public:
  Archive() : bytes(reid::read_file(std::filesystem::path(REID_FIXTURES) / "weights/no_check_sum.pth")) {
    central = bytes.find("PK\x01\x02");
    end = bytes.rfind("PK\x05\x06");
    data = bytes.rfind("PK\x01\x02", bytes.find("/data/0", central));  // of the values
  }
  template <class T>
  void set(std::size_t at, T value) {
    std::memcpy(bytes.data() + at, &value, sizeof(T));
  }
  template <class T>
  T get(std::size_t at) const {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    return value;
  }
  std::string message() const {
    const reid::test::TempDir folder;
    std::ofstream(folder / "w.pth", std::ios::binary) << bytes;
    try {
      reid::nn::read_weights(folder / "w.pth");
    } catch (const reid::CheckpointError& error) {
      return error.what();
    }
    return "no error";
  }
  bool fails_with(const char* reason) const {
    const auto text = message();
    UNSCOPED_INFO(text);
    return text.find(reason) != std::string::npos;
  }

  std::string bytes;
  std::size_t central = 0, end = 0, data = 0;
};

}  // namespace

TEST_CASE("The archive that the cases below damage is whole", "[nn][zip]") { CHECK(Archive().message() == "no error"); }

TEST_CASE("A directory outside of the file is refused", "[nn][zip]") {
  Archive offset, size, count, cut;
  for (Archive* archive : {&offset, &size, &count}) {  // without the ZIP64 end record, which would win
    const auto locator = archive->end - 20;
    if (archive->get<uint32_t>(locator) == 0x07064b50) archive->set<uint32_t>(locator, 0);
  }
  offset.set<uint32_t>(offset.end + 16, 0xfffffff0);
  CHECK(offset.fails_with("within the file"));
  size.set<uint32_t>(size.end + 12, 0xfffffff0);
  CHECK(size.fails_with("within the file"));
  count.set<uint16_t>(count.end + 10, 0xfff0);
  CHECK(count.fails_with("within the file"));
  cut.bytes.resize(cut.end + 10);
  CHECK(cut.fails_with("truncated"));
}

TEST_CASE("An entry outside of the file is refused", "[nn][zip]") {
  Archive offset, size, name, method, password;
  offset.set<uint32_t>(offset.data + 42, 0x7fffffff);
  CHECK(offset.fails_with("must begin within the file"));
  size.set<uint32_t>(size.data + 20, 0x7fffffff);
  CHECK(size.fails_with("must lie within the file"));
  name.set<uint16_t>(name.data + 28, 0xffff);
  CHECK(name.fails_with("within the directory"));
  method.set<uint16_t>(method.data + 10, 12);
  CHECK(method.fails_with("compression method 12"));
  password.set<uint16_t>(password.data + 8, 1);
  CHECK(password.fails_with("encrypted"));
}

TEST_CASE("An entry whose sizes contradict its storage is refused", "[nn][zip]") {
  Archive longer, shorter, bomb;
  longer.set<uint32_t>(longer.data + 24, 16);
  CHECK(longer.fails_with("as long as what is stored"));
  shorter.set<uint32_t>(shorter.data + 20, 8);
  shorter.set<uint32_t>(shorter.data + 24, 8);
  CHECK(shorter.fails_with("3 values of 4 bytes, got 8 bytes"));
  bomb.set<uint16_t>(bomb.data + 10, 8);
  bomb.set<uint32_t>(bomb.data + 24, 0x7fffffff);
  CHECK(bomb.fails_with("grow by at most"));
}

TEST_CASE("Entries that overlap or come twice are refused", "[nn][zip]") {
  Archive overlap;  // the pickle's entry reaches over what follows it
  overlap.set<uint32_t>(overlap.central + 20, 700);
  overlap.set<uint32_t>(overlap.central + 24, 700);
  CHECK(overlap.fails_with("must not overlap"));
  Archive twice;  // another entry under the pickle's name, in both headers
  const auto second = twice.bytes.find("PK\x01\x02", twice.central + 4);
  twice.set<uint32_t>(second + 42, twice.get<uint32_t>(twice.central + 42));
  CHECK(twice.fails_with("same name in both headers"));
}

TEST_CASE("A check sum that doesn't fit is refused", "[nn][zip]") {
  Archive archive;
  archive.set<uint32_t>(archive.data + 16, 1);
  CHECK(archive.fails_with("check sum"));
}
