// SPDX-License-Identifier: Apache-2.0
#include "reid/core/io.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ostream>
#include <string>

#include "reid/core/error.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using Catch::Matchers::Contains;

namespace {
auto entries(const std::filesystem::path& path) {
  return std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator());
}
}  // namespace

TEST_CASE("an atomic write replaces the file and leaves nothing beside it", "[core]") {
  const test::TempDir dir;
  write_file_atomic(dir / "a", "one");
  write_file_atomic(dir / "a", "two");
  REQUIRE(read_file(dir / "a") == "two");
  REQUIRE(entries(dir.path()) == 1);
}

TEST_CASE("a write that fails keeps the old file", "[core]") {
  const test::TempDir dir;
  write_file_atomic(dir / "a", "one");
  REQUIRE_THROWS_AS(write_file_atomic(dir / "a", [](std::ostream&) { throw WorkError("no"); }), WorkError);
  REQUIRE_THROWS_AS(write_file_atomic(dir / "a", [](std::ostream& out) { out.setstate(std::ios::badbit); }), WorkError);
  REQUIRE(read_file(dir / "a") == "one");
  REQUIRE(entries(dir.path()) == 1);
  REQUIRE_THROWS_WITH(write_file_atomic(dir / "no/such/folder", "x"), Contains("no/such/folder"));
}

TEST_CASE("a link stays when what it leads to is replaced", "[core]") {
  const test::TempDir dir;
  std::filesystem::create_directory(dir / "real");
  write_file_atomic(dir / "real/a", "one");
  std::filesystem::create_symlink("real/a", dir / "link");
  write_file_atomic(dir / "link", "two");
  REQUIRE(std::filesystem::is_symlink(dir / "link"));
  REQUIRE(read_file(dir / "real/a") == "two");
  REQUIRE(entries(dir.path()) == 2);
  REQUIRE(entries(dir / "real") == 1);
}

TEST_CASE("a pipe or a device is written to, never replaced", "[core]") {
  const test::TempDir dir;
  const auto pipe = dir / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  REQUIRE(reader >= 0);
  write_file_atomic(pipe, "hello");
  char text[16] = {};
  REQUIRE(::read(reader, text, sizeof(text)) == 5);
  REQUIRE(std::string(text) == "hello");
  ::close(reader);
  REQUIRE(std::filesystem::is_fifo(pipe));
  // A link of our own, so that a failure of this test can't replace the device.
  std::filesystem::create_symlink("/dev/full", dir / "full");
  REQUIRE_THROWS_WITH(write_file_atomic(dir / "full", "x"), Contains("must take what is written"));
  REQUIRE(std::filesystem::is_character_file("/dev/full"));
  REQUIRE(entries(dir.path()) == 2);
}

TEST_CASE("a full disk is a clear error", "[core]") {
  const test::TempDir dir;
  REQUIRE_THROWS_WITH(write_file_atomic(dir / "a",
                                        [](std::ostream& out) {
                                          out.setstate(std::ios::failbit);
                                          errno = ENOSPC;
                                        }),
                      Contains("No space left"));
}

TEST_CASE("missing files and folders are refused by name", "[core]") {
  const test::TempDir dir;
  REQUIRE_THROWS_WITH(read_file(dir / "nothing"), Contains("nothing") && Contains("No such file"));
  REQUIRE_THROWS_WITH(MappedFile(dir.path()), Contains("a folder"));
  write_file_atomic(dir / "empty", "");
  REQUIRE(MappedFile(dir / "empty").size() == 0);
}

TEST_CASE("the fingerprint is FNV-1a", "[core]") {
  REQUIRE(fingerprint("") == 0xcbf29ce484222325ULL);
  REQUIRE(fingerprint("a") == 0xaf63dc4c8601ec8cULL);
}
