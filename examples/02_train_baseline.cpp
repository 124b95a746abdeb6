// SPDX-License-Identifier: Apache-2.0
// Purpose: train the strong baseline on a data set in Market-1501's layout and score it under its protocol.
//
// Command:
//   build/release/bin/reid datasets make market1501 --output drawn --identities 16 --seed 1
//   build/release/examples/02_train_baseline drawn run [EPOCHS]
//
// Expected output (R, M, Q, A and B depend on data and epochs; on the drawn set M is far above chance):
//   rank-1 R %, mAP M % under market1501 (Q queries, 95 % interval of rank-1 A to B %)
//   weights: run/model.safetensors
#include <cstdio>
#include <string>

#include "reid/core/error.hpp"
#include "reid/datasets/image_io.hpp"
#include "reid/datasets/registry.hpp"
#include "reid/engine/experiment.hpp"
#include "reid/losses/losses.hpp"
#include "reid/models/registry.hpp"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s ROOT RUN [EPOCHS]\n", argv[0]);
    return 2;
  }
  try {
    const reid::engine::Catalogue catalogue{reid::models::registry(), reid::losses::objectives(),
                                            reid::datasets::registry(), reid::datasets::decode_image};
    // The same keys as in an experiment file; what isn't said keeps its default (docs/configuration.md).
    reid::Json json = reid::parse_json(R"({
      "seed": 1,
      "data": {"name": "market1501"},
      "model": {"name": "resnet18", "preprocess": {"height": 64, "width": 32}},
      "optimizer": {"name": "adam", "rate": 1e-3},
      "sampler": {"name": "identity_bot", "identities": 8, "images": 4},
      "augment": ["flip"]
    })", "experiment");
    json["data"]["root"] = argv[1];
    json["epochs"] = argc > 3 ? std::stol(argv[3]) : 20;

    const auto experiment = reid::engine::read_experiment(json, catalogue);
    reid::engine::RunOptions options;
    options.output = argv[2];
    options.runtime = reid::engine::make_runtime("auto", 0);
    options.progress = reid::stderr_progress();
    reid::engine::train_experiment(experiment, catalogue, options);

    const auto model = reid::engine::open_run(argv[2], catalogue);
    const auto dataset = reid::engine::open_dataset(experiment.data.evaluation(), {.train = false}, "", catalogue);
    const auto result = reid::engine::evaluate_model(*model, dataset, experiment.evaluation, catalogue.decoder,
                                                     options.runtime).json;
    const auto& metrics = result["metrics"];
    const auto& interval = result["ci95"]["rank1"];
    std::printf("rank-1 %.2f %%, mAP %.2f %% under %s (%ld queries, 95 %% interval of rank-1 %.2f to %.2f %%)\n",
                100 * metrics["rank1"].get<double>(), 100 * metrics["map"].get<double>(),
                result["protocol"].get<std::string>().c_str(), result["queries"].get<long>(),
                100 * interval[0].get<double>(), 100 * interval[1].get<double>());
    std::printf("weights: %s\n", (options.output / "model.safetensors").c_str());
    return 0;
  } catch (const reid::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
}
