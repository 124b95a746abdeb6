// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>

#include "cli/run_reid.hpp"
#include "reid/core/json.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace reid;
using reid::test::run_reid;
using reid::test::TempDir;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

TEST_CASE("datasets list and info name the sets, their protocols and documented counts", "[cli]") {
  const TempDir dir;
  const auto json = (dir / "list.json").string();
  const auto listed = run_reid({"datasets", "list", "--json", json});
  CHECK(listed.status == 0);
  CHECK_THAT(listed.out, Contains("market1501") && Contains("protocols: ltcc_standard, ltcc_cloth_changing"));
  CHECK(read_json_file(json).size() >= 10);
  const auto info = run_reid({"datasets", "info", "market1501"});
  CHECK(info.status == 0);
  CHECK_THAT(info.out, Contains("12936 train images") && Contains("Zheng et al."));
  const auto wrong = run_reid({"datasets", "info", "market1500"});
  CHECK(wrong.status == 2);
  CHECK_THAT(wrong.err, Contains("did you mean 'market1501'?"));
}

TEST_CASE("datasets make and check: 0 for a whole tree, 1 for a broken one, 2 for none", "[cli]") {
  const TempDir dir;
  const auto set = (dir / "set").string();
  const auto made = run_reid({"datasets", "make", "market1501", "--output", set, "--identities", "4", "--images-per-identity",
                              "4", "--cameras", "2", "--seed", "3", "--quiet"});
  REQUIRE(made.status == 0);
  CHECK_THAT(made.out, Contains("pictures in " + set));
  const auto good = run_reid({"datasets", "check", "market1501", "--root", set, "--quiet"});
  CHECK(good.status == 0);
  CHECK_THAT(good.out, Contains("everything as documented") && Contains("drawn pictures"));
  const auto again = run_reid({"datasets", "make", "folder", "--output", set});
  CHECK(again.status == 2);
  CHECK_THAT(again.err, Contains("output must be an empty folder or a new one"));

  fs::path victim;
  for (const auto& entry : fs::directory_iterator(fs::path(set) / "query")) victim = entry.path();
  fs::resize_file(victim, 100);
  const auto json = (dir / "report.json").string();
  const auto bad = run_reid({"datasets", "check", "market1501", "--root", set, "--json", json, "--quiet"});
  CHECK(bad.status == 1);
  CHECK_THAT(bad.out, Contains("corrupt: ") && Contains(victim.string()));
  CHECK_THAT(bad.err, Contains("got 1 problems (1 corrupt)"));
  const Json report = read_json_file(json);
  CHECK(report["ok"] == false);
  CHECK(report["problems"][0]["path"] == victim.string());

  const auto none = run_reid({"datasets", "check", "market1501", "--root", (dir / "none").string()});
  CHECK(none.status == 2);
  CHECK(run_reid({"datasets", "check", "msmt17", "--root", set}).status == 2);
}

TEST_CASE("datasets make refuses what it can't do", "[cli]") {
  const TempDir dir;
  const auto set = (dir / "set").string();
  const auto run = [&](std::vector<std::string> more) {
    std::vector<std::string> all{"datasets", "make"};
    all.insert(all.end(), more.begin(), more.end());
    all.insert(all.end(), {"--output", set});
    return run_reid(all);
  };
  const auto kind = run({"market1502"});
  CHECK(kind.status == 2);
  CHECK_THAT(kind.err, Contains("market1501"));
  CHECK(run({"folder", "--identities", "many"}).status == 2);
  CHECK(run({"folder", "--identities", "1"}).status == 2);
  CHECK(run({"folder", "--no-such-option", "1"}).status == 2);
  const auto other = run({"folder", "--junk", "0.5"});
  CHECK(other.status == 2);
  CHECK_THAT(other.err, Contains("it is for market1501 alone"));
  CHECK_FALSE(fs::exists(set));
}
