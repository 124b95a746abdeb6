// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include "cli/run_reid.hpp"
#include "reid/core/io.hpp"
#include "reid/core/json.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using Catch::Matchers::Contains;
using reid::Json;
using reid::test::run_reid;
using reid::test::TempDir;

namespace {
std::string fixture(const std::string& name) { return std::string(REID_FIXTURES) + "/weights/" + name; }
}  // namespace

TEST_CASE("weights inspect lists names, shapes and types, and what wasn't called", "[cli][weights]") {
  const TempDir folder;
  const auto file = (folder / "w.json").string();
  const auto run = run_reid({"weights", "inspect", fixture("wrapped_zip.pth.tar"), "--json", file});
  CHECK(run.status == 0);
  CHECK_THAT(run.out, Contains("pytorch zip, 2 tensors, 6 values, 24 bytes"));
  CHECK_THAT(run.out, Contains("module.weight"));
  CHECK_THAT(run.out, Contains("not called posix.system"));
  const Json json = reid::read_json_file(file);
  CHECK(json["format"] == "pytorch zip");
  CHECK(json["values"] == 6);
  CHECK(json["metadata"]["epoch"] == "60");
  REQUIRE(json["tensors"].size() == 2);
  CHECK(json["tensors"][1] == Json{{"name", "module.weight"}, {"dtype", "float32"}, {"shape", {2, 2}}});
}

TEST_CASE("weights convert writes safetensors that say where they come from", "[cli][weights]") {
  const TempDir folder;
  const auto output = (folder / "w.safetensors").string();
  REQUIRE(run_reid({"weights", "convert", fixture("legacy.pth"), output}).status == 0);
  const auto run = run_reid({"weights", "inspect", output, "--json", "-"});
  REQUIRE(run.status == 0);
  const Json json = reid::parse_json(run.out, "stdout");
  CHECK(json["format"] == "safetensors");
  CHECK(json["metadata"]["source"] == "legacy.pth");
  CHECK(json["metadata"]["source_format"] == "pytorch legacy");
  CHECK(json["tensors"].size() == 18);
  const Json before = reid::parse_json(run_reid({"weights", "inspect", fixture("legacy.pth"), "--json", "-"}).out, "stdout");
  CHECK(json["tensors"] == before["tensors"]);
}

TEST_CASE("weights convert reads a TorchScript module", "[cli][weights]") {
  const TempDir folder;
  const auto output = (folder / "w.safetensors").string();
  REQUIRE(run_reid({"weights", "convert", fixture("torchscript.pt"), output}).status == 0);
  const auto run = run_reid({"weights", "inspect", output, "--json", "-"});
  REQUIRE(run.status == 0);
  const Json json = reid::parse_json(run.out, "stdout");
  CHECK(json["metadata"]["source_format"] == "torchscript");
  CHECK(json["tensors"].size() == 12);
}

TEST_CASE("weights refuses with one sentence, status 2 and no output", "[cli][weights]") {
  const TempDir folder;
  const auto output = folder / "w.safetensors";
  const std::vector<std::pair<std::vector<std::string>, const char*>> cases = {
      {{fixture("refused_trap.pth"), output.string()}, "would execute code"},
      {{fixture("refused_torchscript.pt"), output.string()}, "TorchScript"},
      {{fixture("nothing.pth"), output.string()}, "nothing.pth"},
      {{fixture("refused_complex.pth"), output.string()}, "ComplexFloatStorage"},
      {{fixture("zip.pth"), output.string(), "--map", "resnet5O"}, "did you mean"},
      {{fixture("zip.pth"), output.string(), "--map", "resnet50"}, "one of the layouts"},
      {{fixture("zip.pth"), output.string(), "--map", "resnet50:nothing"}, "layout of resnet50 must be one of"}};
  for (const auto& [arguments, reason] : cases) {
    std::vector<std::string> line{"weights", "convert"};
    line.insert(line.end(), arguments.begin(), arguments.end());
    const auto run = run_reid(line);
    INFO(run.err);
    CHECK(run.status == 2);
    CHECK_THAT(run.err, Contains(reason));
    CHECK(std::count(run.err.begin(), run.err.end(), '\n') == 1);
    CHECK_FALSE(std::filesystem::exists(output));
  }
}
