// SPDX-License-Identifier: Apache-2.0
#include "fuzz/seeds.hpp"
#include "fuzz/targets.hpp"
#include "reid/core/io.hpp"
#include "support/cuhk03_mat.hpp"
#include "support/mat5_writer.hpp"

namespace reid::fuzz {
namespace {

using namespace test::mat5;

/// `trainIdxAll` as GRID has it: cells of structs with three fields.
std::string partitions() {
  std::string cells;
  for (const uint8_t first : {1, 3}) {
    const std::string people = column<uint8_t>(kDoubleClass, "", kUint8, {first, 2});
    cells += structure("", {"probe", "gallery", "people"}, doubles("", {1}) + doubles("", {2}) + people);
  }
  return matrix(kCellClass, "trainIdxAll", {1, 2}, cells);
}

}  // namespace

std::vector<Seed> mat5_seeds() {
  const std::vector<std::string> list{"1_001_1_01.png", "1_001_2_06.png", "2_001_1_01.png"};
  const std::string numbers = column<uint8_t>(kDoubleClass, "train_idx", kUint8, {1, 2}) + doubles("query_idx", {3}) +
                              column<float>(kSingleClass, "gallery_idx", kSingle, {3}) +
                              column<uint16_t>(kUint16Class, "labels", kUint16, {1, 1, 2});
  return {{"config.mat", file(texts("filelist", list) + numbers)},
          {"config_utf8.mat", file(texts("filelist", list, kUtf8) + numbers)},
          {"config_packed.mat", file(compressed(texts("filelist", list)) + compressed(doubles("labels", {1, 1, 2})) + numbers)},
          {"partitions.mat", file(partitions())},
          {"partitions_packed.mat", file(compressed(partitions()))},
          {"empty.mat", file("")},
          {"empty_cells.mat", file(matrix(kCellClass, "filelist", {0, 0}, "") +
                                   matrix(kCellClass, "trainIdxAll", {1, 1}, element(kMatrix, "")))},
          {"bomb.mat", file(compressed(texts("filelist", {std::string(1 << 20, 'a')})))}};
}

std::vector<Seed> cuhk03_seeds() {
  const std::string path = scratch_folder() + "/seed.mat";
  test::write_cuhk03_mat(path);
  const std::string whole = read_file(path);
  return {{"whole.mat", whole}, {"cut.mat", whole.substr(0, whole.size() / 2)}, {"other.mat", file(partitions())}};
}

}  // namespace reid::fuzz
