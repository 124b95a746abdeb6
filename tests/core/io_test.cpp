// SPDX-License-Identifier: Apache-2.0
#include "reid/core/io.hpp"

#include <algorithm>
#include <ostream>

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

TEST_CASE("a full disk is a clear error", "[core]") {
  // /dev/full gives ENOSPC on every write; the temporary name must be on it, so the stream itself is checked here.
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
