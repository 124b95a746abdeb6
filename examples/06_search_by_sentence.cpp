// SPDX-License-Identifier: Apache-2.0
// Purpose: find pictures by a sentence: a trained dual encoder, a folder, the best matches.
// (The same from a shell, with a contact sheet: reid search.)
//
// Command (after a training of a `dual_encoder`):
//   build/release/examples/06_search_by_sentence runs/lcr2s drawn/imgs "a woman with a red bag"
//
// Expected output (cosine and path, best first):
//   N pictures, model dual_encoder
//    1  0.7312  drawn/imgs/...
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>

#include "reid/core/error.hpp"
#include "reid/datasets/files.hpp"
#include "reid/datasets/image_io.hpp"
#include "reid/datasets/registry.hpp"
#include "reid/engine/evaluator.hpp"
#include "reid/engine/experiment.hpp"
#include "reid/engine/search.hpp"
#include "reid/losses/losses.hpp"
#include "reid/models/registry.hpp"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s RUN FOLDER SENTENCE\n", argv[0]);
    return 2;
  }
  try {
    const std::filesystem::path folder = argv[2];
    const reid::engine::Catalogue names{reid::models::registry(), reid::losses::objectives(), reid::datasets::registry(),
                                        reid::datasets::decode_image};
    const auto model = reid::engine::open_run(argv[1], names);
    const auto runtime = reid::engine::make_runtime("auto", 0);
    const reid::engine::ExtractOptions options;
    reid::engine::prepare_for_inference(*model, options, runtime);

    reid::engine::Gallery gallery;
    gallery.source = folder.string();
    for (const auto& name : reid::datasets::list_pictures(folder, true).names) gallery.paths.push_back((folder / name).string());
    gallery.features = reid::engine::extract_features(*model, gallery.paths, names.decoder, options, runtime);
    std::printf("%zu pictures, model %s\n", gallery.paths.size(), model->spec().at("name").get<std::string>().c_str());

    const auto query = reid::engine::extract_sentence_features(*model, {argv[3]}, options, runtime);
    const auto top = std::min<int64_t>(10, static_cast<int64_t>(gallery.paths.size()));
    const auto found = reid::engine::search(query, gallery, top);
    for (int64_t k = 0; k < top; ++k) {
      const auto row = static_cast<std::size_t>(found.index[0][k].item<int64_t>());
      std::printf("%2ld  %.4f  %s\n", k + 1, found.similarity[0][k].item<double>(), gallery.paths[row].c_str());
    }
    return 0;
  } catch (const reid::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
}
