// SPDX-License-Identifier: Apache-2.0
// Purpose: one feature a picture, for every picture of a folder.
//
// Command:
//   build/release/bin/reid datasets make market1501 --output drawn --identities 8 --seed 1
//   build/release/examples/01_extract_embeddings drawn/query osnet_x0_25 features.npy [weights.pth]
//
// Expected output (N pictures; without weights the features are those of the network's random start):
//   osnet_x0_25: 0.20 M parameters, input 256x128, feature before BN neck
//   N pictures -> features [N, 512], written to features.npy
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/datasets/files.hpp"
#include "reid/datasets/image_io.hpp"
#include "reid/engine/device.hpp"
#include "reid/engine/evaluator.hpp"
#include "reid/metrics/npy.hpp"
#include "reid/models/registry.hpp"
#include "reid/nn/state_dict.hpp"

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s FOLDER MODEL OUTPUT.npy [WEIGHTS]\n", argv[0]);
    return 2;
  }
  try {
    const std::filesystem::path folder = argv[1];
    const auto model = reid::nn::make_model(reid::models::registry(), std::string(argv[2]));
    if (argc > 4) {
      const auto weights = reid::nn::read_weights(argv[4]);
      reid::nn::load_state(*model, weights.tensors, model->layouts(), argv[4]);
    }
    int64_t parameters = 0;
    for (const auto& parameter : model->parameters()) parameters += parameter.numel();
    std::printf("%s: %.2f M parameters, input %ldx%ld, feature %s\n", argv[2], static_cast<double>(parameters) / 1e6,
                model->preprocess().height, model->preprocess().width,
                model->feature() == reid::nn::Feature::after_neck ? "after BN neck" : "before BN neck");

    std::vector<std::string> paths;
    for (const auto& name : reid::datasets::list_pictures(folder).names) paths.push_back((folder / name).string());

    const auto runtime = reid::engine::make_runtime("auto", 0);
    const reid::engine::ExtractOptions options;
    reid::engine::prepare_for_inference(*model, options, runtime);
    const auto features = reid::engine::extract_features(*model, paths, reid::datasets::decode_image, options, runtime);

    reid::metrics::write_npy(argv[3], features);
    std::printf("%zu pictures -> features [%ld, %ld], written to %s\n", paths.size(), features.size(0),
                features.size(1), argv[3]);
    return 0;
  } catch (const reid::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
}
