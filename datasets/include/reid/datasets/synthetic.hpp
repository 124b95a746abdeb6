// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

#include "reid/core/options.hpp"
#include "reid/core/progress.hpp"

/// Data sets of drawn pedestrians in the layout of published ones: for trying the library without photographs of
/// people, for tests of the readers, and for comparing methods on a benchmark that anybody can make again.
namespace reid::datasets {

/// The layouts that can be written.
enum class SyntheticKind { market1501, msmt17, cuhk03, ltcc, folder, cuhk_pedes, icfg_pedes, rstp_reid };

}  // namespace reid::datasets

template <>
struct reid::EnumNames<reid::datasets::SyntheticKind> {
  using K = reid::datasets::SyntheticKind;
  static constexpr std::array<std::pair<K, const char*>, 8> values{{{K::market1501, "market1501"},
                                                                   {K::msmt17, "msmt17"},
                                                                   {K::cuhk03, "cuhk03"},
                                                                   {K::ltcc, "ltcc"},
                                                                   {K::folder, "folder"},
                                                                   {K::cuhk_pedes, "cuhk_pedes"},
                                                                   {K::icfg_pedes, "icfg_pedes"},
                                                                   {K::rstp_reid, "rstp_reid"}}};
};

namespace reid::datasets {

/// Name of the file that a drawn tree carries beside its folders: what it was made with and how many pictures
/// each part holds.
inline constexpr char kSyntheticRecord[] = "synthetic.json";

struct SyntheticOptions {
  int64_t identities = 100;
  int64_t images_per_identity = 12;
  int64_t cameras = 6;
  double train_fraction = 0.5;
  double distractors = 0.2;
  double junk = 0.1;
  int64_t extra_distractors = 0;
  int64_t outfits = 3;
  int64_t captions = 2;
  int64_t width = 64;
  int64_t height = 128;
  int64_t seed = 0;
  template <class V>
  void fields(V&& v) {
    v("identities", identities, "people, for training and test together", Range{4, 9999});
    v("images_per_identity", images_per_identity, "pictures of each, over all cameras", Range{4, 9000});
    v("cameras", cameras, "cameras; each person walks past some of them", Range{2, 15});
    v("train_fraction", train_fraction, "share of the people that train", Range{0.01, 0.99});
    v("distractors", distractors, "market1501: gallery pictures of nobody (identity 0) per test picture", Range{0, 100});
    v("junk", junk, "market1501: spoiled boxes (identity -1) per test picture", Range{0, 100});
    v("extra_distractors", extra_distractors, "market1501: pictures in images/, for market1501_500k", Range{0, 1e6});
    v("outfits", outfits, "ltcc: clothes of each person", Range{1, 9});
    v("captions", captions, "cuhk_pedes, icfg_pedes, rstp_reid: sentences of each picture", Range{1, 20});
    v("width", width, "pixels", Range{16, 1024});
    v("height", height, "pixels", Range{32, 2048});
    v("seed", seed, "everything follows from it", Range{0, 9e15});
  }
  /// Rules over several members, and what the layout's file names can hold. @throws ConfigError.
  void validate_for(SyntheticKind kind) const;
};

/// Options that suit a layout: 15 cameras for msmt17, 2 for cuhk03, 12 for ltcc, ...
SyntheticOptions synthetic_defaults(SyntheticKind kind);

/// What was written.
struct SyntheticResult {
  int64_t pictures = 0;
  std::filesystem::path folder;  ///< the root to give to the reader
};

/// Draws a data set and writes it in the layout of the real one, JPEG or PNG as there, with a `synthetic.json` that
/// records the options and the counts (`check` holds the tree to these instead of the published ones).
///
/// The pictures: people come in groups of four who wear the same colours and differ in pattern, cut, bag, hat, hair
/// and shoes; each camera has a colour cast, tone curve, blur, noise, background and direction of walk of its own;
/// boxes of a "detector" are shifted, cut heads and legs off and hold occluders.
///
/// The sentences of cuhk_pedes, icfg_pedes and rstp_reid name two to four of the things that the picture shows of the
/// person, from where it is seen, in varied words: no sentence says everything, and nobody is told by clothes' colours
/// alone. Of the people who don't train, half are val (none in icfg_pedes), half test.
///
/// Identities: market1501 from 1, cuhk03 from 1, ltcc from 0, msmt17 from 0 in train and in test, folder by name.
/// A test identity gives one query per camera (per camera and outfit in ltcc), the rest is gallery; so every query
/// has a match in another camera. gt_query/*.mat of Market-1501 isn't written: no protocol here reads it.
///
/// Deterministic: the same options give the same pixels on every machine with any number of threads, and the same
/// bytes with the same JPEG library. Cost: about 2 ms a picture of 64x128 and core.
/// @param output   a folder that doesn't exist or is empty. The tree is written beside it under a temporary name
///                 and renamed when whole; nothing is left on an error.
/// @param threads  0: all cores.
/// @throws InputError if `output` isn't empty or can't be; ConfigError for options that don't fit; WorkError if
///         writing fails.
SyntheticResult make_synthetic(SyntheticKind kind, const SyntheticOptions& options, const std::filesystem::path& output,
                               int64_t threads = 0, const ProgressSink& progress = {});

}  // namespace reid::datasets
