// SPDX-License-Identifier: Apache-2.0
// `reid metrics` as a user runs it, on small files.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>

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

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

void write(const std::filesystem::path& path, const std::string& type, const std::string& shape, const std::string& data,
           const std::string& fortran = "False") {
  std::string header = "{'descr': '" + type + "', 'fortran_order': " + fortran + ", 'shape': (" + shape + "), }";
  header.append(64 - (10 + header.size() + 1) % 64, ' ');
  header += '\n';
  std::string bytes = "\x93NUMPY";
  bytes += {'\x01', '\x00', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  std::ofstream(path, std::ios::binary) << bytes << header << data;
}

/// Two queries, seven gallery rows on a line (column 1 is 0): junk, a distractor, same-camera rows, hits.
/// Query 0 (id 1): junk dropped, camera rule, hits at places 1 and 3. Query 1 (id 2): hit at place 1.
struct Files {
  TempDir dir;
  std::string at(const std::string& name) const { return (dir / name).string(); }
  Files() {
    write(dir / "q.npy", "<f4", "2, 2", bytes_of<float>({0, 0, 100, 0}));
    write(dir / "g.npy", "<f8", "7, 2", bytes_of<double>({1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 101, 0, 103, 0}));
    write(dir / "qi.npy", "<i8", "2,", bytes_of<int64_t>({1, 2}));
    write(dir / "gi.npy", "<i4", "7,", bytes_of<int32_t>({-1, 1, 1, 0, 1, 2, 9}));
    write(dir / "qc.npy", "<i8", "2,", bytes_of<int64_t>({1, 1}));
    write(dir / "gc.npy", "<i8", "7,", bytes_of<int64_t>({2, 1, 2, 2, 2, 2, 3}));
  }
  std::vector<std::string> command(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{"metrics", "--query", at("q.npy"), "--gallery", at("g.npy"), "--query-ids", at("qi.npy"),
                                   "--gallery-ids", at("gi.npy"), "--query-cams", at("qc.npy"), "--gallery-cams",
                                   at("gc.npy"), "--metric", "euclidean", "--threads", "1", "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  /// The same with another file for one option.
  std::vector<std::string> with(const std::string& option, const std::string& file,
                                const std::vector<std::string>& more = {}) const {
    auto words = command(more);
    *(std::find(words.begin(), words.end(), option) + 1) = at(file);
    return words;
  }
};

void require_refused(const reid::test::Run& run, const std::vector<std::string>& parts) {
  INFO(run.err);
  REQUIRE(run.status == 2);
  REQUIRE(run.out.empty());
  REQUIRE(std::count(run.err.begin(), run.err.end(), '\n') == 1);
  for (const auto& part : parts) REQUIRE_THAT(run.err, Contains(part));
}

}  // namespace

TEST_CASE("reid metrics writes the contract's JSON", "[cli][metrics]") {
  const Files files;
  const auto run = run_reid(files.command({"--protocol", "market1501", "--json", files.at("r.json"), "--product", "aten"}));
  INFO(run.err);
  REQUIRE(run.status == 0);
  Json json = reid::read_json_file(files.dir / "r.json");
  REQUIRE(json["seconds"]["features"].get<double>() >= 0);
  REQUIRE(json["seconds"]["ranking"].get<double>() > 0);
  json["seconds"] = nullptr;
  // Query 0: step 5/6, trapezoid 19/24, mINP 2/3; query 1: 1. Two queries: a resample is both, one, or the other, so
  // the interval spans them.
  REQUIRE(json["metrics"]["map"].get<double>() == Approx(11.0 / 12).epsilon(1e-12));
  REQUIRE(json["metrics"]["map_interpolated"].get<double>() == Approx(43.0 / 48).epsilon(1e-12));
  REQUIRE(json["metrics"]["minp"].get<double>() == Approx(5.0 / 6).epsilon(1e-12));
  REQUIRE(json["ci95"]["map"][0].get<double>() == Approx(5.0 / 6).epsilon(1e-12));
  REQUIRE(json["ci95"]["map"][1].get<double>() == Approx(1).epsilon(1e-12));
  for (const auto* name : {"map", "map_interpolated", "minp"}) {
    json["metrics"][name] = 0;
    json["ci95"][name] = 0;
  }
  REQUIRE(json.dump() ==
          R"({"protocol":"market1501","metric":"euclidean","rerank":null,"queries":2,"queries_without_match":0,"gallery":6,)"
          R"("metrics":{"rank1":1.0,"rank5":1.0,"rank10":1.0,"rank20":1.0,"map":0,"map_interpolated":0,"minp":0},)"
          R"("ci95":{"rank1":[1.0,1.0],"rank5":[1.0,1.0],"rank10":[1.0,1.0],"rank20":[1.0,1.0],"map":0,"map_interpolated":0,"minp":0},)"
          R"("seconds":null,"ties":"stable","product":"aten"})");
}

TEST_CASE("reid metrics prints per cent for people, and JSON on request", "[cli][metrics]") {
  const Files files;
  const auto table = run_reid(files.command({"--protocol", "market1501"}));
  REQUIRE(table.status == 0);
  REQUIRE_THAT(table.out, Contains("protocol market1501, metric euclidean, re-ranking none"));
  REQUIRE_THAT(table.out, Contains("queries 2 (0 without a match), gallery 6"));
  REQUIRE_THAT(table.out, Contains("map                  91.67   83.33 - 100.00"));
  REQUIRE(table.err.empty());
  const auto json = run_reid(files.command({"--protocol", "market1501", "--json", "-"}));
  REQUIRE(reid::parse_json(json.out, "stdout")["gallery"] == 6);
}

TEST_CASE("the default protocol is generic, with cameras generic_camera", "[cli][metrics]") {
  const Files files;
  REQUIRE_THAT(run_reid(files.command()).out, Contains("protocol generic_camera"));
  const auto plain = run_reid({"metrics", "--query", files.at("q.npy"), "--gallery", files.at("g.npy"), "--query-ids",
                               files.at("qi.npy"), "--gallery-ids", files.at("gi.npy"), "--metric", "euclidean"});
  REQUIRE_THAT(plain.out, Contains("protocol generic,"));
}

TEST_CASE("--ranking writes rows of the gallery as given", "[cli][metrics]") {
  const Files files;
  const auto run = run_reid(files.command({"--protocol", "market1501", "--ranking", files.at("r.npy"), "--top", "6"}));
  REQUIRE(run.status == 0);
  const auto bytes = reid::read_file(files.dir / "r.npy");
  REQUIRE_THAT(bytes, Contains("'descr': '<i8'") && Contains("'shape': (2, 6)"));
  std::vector<int64_t> rows(12);
  std::memcpy(rows.data(), bytes.data() + bytes.size() - 96, 96);
  // Query 0: row 0 is junk, row 1 of its own camera. Query 1 loses nothing; row 4 at 5 is nearer to 100 than row 3.
  REQUIRE(rows == std::vector<int64_t>{2, 3, 4, 5, 6, -1, 5, 6, 4, 3, 2, 1});
}

TEST_CASE("--rerank list prints the names; a variant and its parameters are in the result", "[cli][metrics]") {
  const auto list = run_reid({"metrics", "--rerank", "list"});
  REQUIRE(list.status == 0);
  for (const auto* name : {"zhong_matlab", "zhong_features", "zhong_ranklist (zhong)", "layumi", "bot", "openunreid (fastreid)",
                           "boxmot", "gnn", "aqe_fastreid", "aqe "}) {
    REQUIRE_THAT(list.out, Contains(name));
  }
  const Files files;
  const auto run = run_reid(files.command({"--protocol", "market1501", "--rerank", "zhong", "--k1", "3", "--k2", "2", "--lambda",
                                           "0.4", "--json", "-"}));
  INFO(run.err);
  REQUIRE(run.status == 0);
  REQUIRE(reid::parse_json(run.out, "stdout")["rerank"].dump() ==
          R"({"variant":"zhong_ranklist","k1":3,"k2":2,"lambda":0.4,"precision":"float32"})");
}

TEST_CASE("wrong options are one sentence and status 2", "[cli][metrics]") {
  const Files files;
  require_refused(run_reid({"metrics", "--query", files.at("q.npy")}), {"--gallery: a file must be given"});
  require_refused(run_reid(files.command({"--protocol", "market1510"})), {"'market1510'; did you mean 'market1501'?"});
  require_refused(run_reid(files.command({"--rerank", "zong"})), {"'zong'; did you mean 'zhong'?"});
  require_refused(run_reid(files.command({"--k1", "3"})), {"--rerank: a variant must be given"});
  require_refused(run_reid(files.command({"--rerank", "gnn", "--lambda", "0.2"})), {"lambda must not be given for gnn"});
  require_refused(run_reid(files.command({"--rerank", "zhong", "--k1", "9"})), {"k1 + 1 must be at most queries + gallery = 9"});
  require_refused(run_reid(files.command({"--ranking", files.at("r.npy")})), {"--top"});
  require_refused(run_reid(files.command({"--ranking", files.at("r"), "--top", "2", "--json", files.at("r")})),
                  {"--ranking: file must be another than that of --json"});
  require_refused(run_reid(files.command({"--ties", "lucky"})), {"--ties", "stable, worst, best"});
  require_refused(run_reid(files.command({"--device", "gpu"})), {"device: name must be auto, cpu, cuda or cuda:K, got 'gpu'"});
  auto metric = files.command();
  *(std::find(metric.begin(), metric.end(), "--metric") + 1) = "cosin";
  require_refused(run_reid(metric), {"--metric", "did you mean 'cosine'?"});
  require_refused(run_reid({"metrics", "--query", files.at("q.npy"), "--gallery", files.at("g.npy"), "--query-ids",
                            files.at("qi.npy"), "--gallery-ids", files.at("gi.npy"), "--query-cams", files.at("qc.npy")}),
                  {"--gallery-cams"});
}

TEST_CASE("wrong files are named, with the row where there is one, and nothing is written", "[cli][metrics]") {
  const Files files;
  const auto refused = [&](const std::string& option, const std::vector<std::string>& parts) {
    auto expected = parts;
    expected.push_back("bad.npy");
    require_refused(run_reid(files.with(option, "bad.npy", {"--protocol", "market1501", "--json", files.at("r.json")})), expected);
    REQUIRE(!std::filesystem::exists(files.dir / "r.json"));
  };
  const auto bad = [&](const std::string& type, const std::string& shape, const std::string& data,
                       const std::string& fortran = "False") { write(files.dir / "bad.npy", type, shape, data, fortran); };
  const std::string four = bytes_of<float>({1, 2, 3, 4});
  refused("--query", {"readable"});  // not there yet
  bad("<f4", "2, 2", bytes_of<float>({1, 2, 3, NAN}));
  refused("--query", {"must be finite, got nan in row 1"});
  bad("<f4", "2, 2", bytes_of<float>({INFINITY, 2, 3, 4}));
  refused("--query", {"must be finite, got inf in row 0"});
  bad("<f4", "2, 2", four, "True");
  refused("--query", {"Fortran order"});
  bad(">f4", "2, 2", four);
  refused("--query", {"big-endian"});
  bad("<f4", "-2, 2", four);
  refused("--query", {"negative"});
  bad("<f4", "4294967296, 4294967296", four);
  refused("--query", {"2^63"});
  bad("<f4", "3, 2", four);
  refused("--query", {"must take 24 bytes, got 16"});
  bad("<f4", "1, 2", four);
  refused("--query", {"must take 8 bytes, got 16"});
  bad("<f4", "2, 1", bytes_of<float>({1, 2}));
  refused("--query", {"columns like"});
  bad("<f4", "0, 2", "");
  refused("--query", {"at least one row"});
  bad("<f4", "2,", bytes_of<float>({1, 2}));
  refused("--query-ids", {"int32 or int64"});
  bad("<i8", "3,", bytes_of<int64_t>({1, 2, 3}));
  refused("--query-ids", {"bad.npy: ids must be [2] int64, one for each row of features, got [3] int64"});
  refused("--gallery-cams", {"bad.npy: cameras must be [7] int64, one for each row of features, got [3] int64"});
}

TEST_CASE("a query that the protocol forbids and a run without any match", "[cli][metrics]") {
  const Files files;
  write(files.dir / "zero.npy", "<i8", "2,", bytes_of<int64_t>({1, 0}));
  require_refused(run_reid(files.with("--query-ids", "zero.npy", {"--protocol", "market1501"})),
                  {"zero.npy: query ids must be positive under protocol market1501, got 0 in row 1"});
  write(files.dir / "far.npy", "<i8", "2,", bytes_of<int64_t>({77, 78}));
  const auto run = run_reid(files.with("--query-ids", "far.npy", {"--protocol", "market1501", "--json", files.at("r.json")}));
  REQUIRE(run.status == 1);
  REQUIRE_THAT(run.err, Contains("at least one query must have a match"));
  REQUIRE(!std::filesystem::exists(files.dir / "r.json"));
}
