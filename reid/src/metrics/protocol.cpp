// SPDX-License-Identifier: Apache-2.0
#include "reid/metrics/protocol.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iterator>

#include "reid/core/error.hpp"
#include "reid/core/json.hpp"

namespace reid::metrics {
namespace {

constexpr auto kDukeWarning =
    "DukeMTMC-reID was withdrawn by its authors: use a copy of your own only where you may, and say so beside the result";

enum Flag : unsigned { kJunk = 1, kPositive = 2, kSingleShot = 4, kSplits = 8, kMultiQuery = 16, kWithdrawn = 32,
                      kQueryText = 64, kGalleryText = 128 };

struct Row {
  const char* name;
  Removal removal;
  unsigned flags;
  const char* summary;
};

constexpr Row kRows[] = {  // sorted by name
    {"cuhk01", Removal::none, kSplits,
     "10 random splits of 485/486 identities, both directions; nothing removed"},
    {"cuhk03_classic_detected", Removal::same_id_same_camera, kSplits | kSingleShot,
     "20 splits of 100 test identities, detected boxes; single gallery shot, 10 draws a query"},
    {"cuhk03_classic_labeled", Removal::same_id_same_camera, kSplits | kSingleShot,
     "20 splits of 100 test identities, boxes drawn by hand; single gallery shot, 10 draws a query"},
    {"cuhk03_np_detected", Removal::same_id_same_camera, 0,
     "new protocol, 767/700 identities, detected boxes; same identity and camera removed"},
    {"cuhk03_np_labeled", Removal::same_id_same_camera, 0,
     "new protocol, 767/700 identities, boxes drawn by hand; same identity and camera removed"},
    {"dukemtmc_reid", Removal::same_id_same_camera, kWithdrawn,
     "no junk; same identity and camera removed; a withdrawn set"},
    {"generic", Removal::none, 0,
     "your own data, ids as they are; nothing removed"},
    {"generic_camera", Removal::same_id_same_camera, 0,
     "your own data, ids as they are; same identity and camera removed"},
    {"grid", Removal::none, kSplits | kPositive,
     "10 splits of 125/125 identities, id 0 a distractor; nothing removed"},
    {"ilids", Removal::none, kSplits,
     "10 random halves of 119 identities, one picture a side; nothing removed"},
    {"image_to_text", Removal::none, kGalleryText,
     "pictures against every test caption; nothing removed"},
    {"ltcc_cloth_changing", Removal::same_id_same_camera_or_clothes, 0,
     "same identity and (same camera or same clothes) removed: a hit differs in both"},
    {"ltcc_standard", Removal::same_id_same_camera, 0,
     "same identity and camera removed"},
    {"market1501", Removal::same_id_same_camera, kJunk | kPositive,
     "id -1 is junk, id 0 a distractor; same identity and camera removed"},
    {"market1501_500k", Removal::same_id_same_camera, kJunk | kPositive,
     "market1501 with the extra distractors (id 0) in the gallery; prints their number"},
    {"market1501_multi_query", Removal::same_id_same_camera, kJunk | kMultiQuery | kPositive,
     "market1501 with the mean feature of all pictures of an identity in a camera as query"},
    {"msmt17_v1", Removal::same_id_same_camera, 0,
     "no junk; same identity and camera removed"},
    {"msmt17_v2", Removal::same_id_same_camera, 0,
     "msmt17_v1 with masked faces: the two are not comparable"},
    {"occluded_duke", Removal::same_id_same_camera, kWithdrawn,
     "dukemtmc_reid re-split: every query is occluded; a withdrawn set"},
    {"occluded_reid", Removal::none, 0,
     "occluded queries against whole bodies; nothing removed"},
    {"partial_ilids", Removal::none, 0,
     "partial queries against whole bodies; nothing removed"},
    {"partial_reid", Removal::none, 0,
     "partial queries against whole bodies; nothing removed"},
    {"prid2011_single_shot", Removal::none, kSplits,
     "10 random splits, 100 queries against 649 pictures; nothing removed"},
    {"text_to_image", Removal::none, kQueryText,
     "captions against every test picture once; nothing removed"},
    {"viper", Removal::none, kSplits,
     "random halves of 632 identities, both directions; nothing removed"},
};

std::vector<Protocol> make_protocols() {
  std::vector<Protocol> list(std::size(kRows));
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Row& row = kRows[i];
    Protocol& entry = list[i];
    entry.name = row.name;
    entry.summary = row.summary;
    entry.removal = row.removal;
    entry.junk = (row.flags & kJunk) != 0;
    entry.positive_query_ids = (row.flags & kPositive) != 0;
    entry.single_gallery_shot = (row.flags & kSingleShot) != 0;
    entry.several_splits = (row.flags & kSplits) != 0;
    entry.multi_query = (row.flags & kMultiQuery) != 0;
    entry.query_text = (row.flags & kQueryText) != 0;
    entry.gallery_text = (row.flags & kGalleryText) != 0;
    if ((row.flags & kWithdrawn) != 0) entry.warning = kDukeWarning;
  }
  return list;
}

}  // namespace

const std::vector<Protocol>& protocols() {
  static const std::vector<Protocol> list = make_protocols();
  return list;
}

const Protocol& protocol(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& entry : protocols()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  throw RegistryError(fmt::format("protocol: name must be one of {}, got '{}'{}", fmt::join(names, ", "), name,
                                  did_you_mean(name, names)));
}

}  // namespace reid::metrics
