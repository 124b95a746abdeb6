// SPDX-License-Identifier: Apache-2.0
// Purpose: a network of your own, registered in main, trained and scored like a built-in one. Nothing of the library is
// changed for it, and the registry's checks hold for it too: a misspelt option is an error with the nearest name.
//
// Command:
//   build/release/bin/reid datasets make market1501 --output drawn --identities 16 --seed 1
//   build/release/examples/03_own_model drawn run
//
// Expected output (R and M depend on the data):
//   /model/widht: unknown key; did you mean 'width'?
//   tiny_net: rank-1 R %, mAP M %
#include <torch/torch.h>

#include <cstdio>
#include <string>

#include "reid/core/error.hpp"
#include "reid/datasets/image_io.hpp"
#include "reid/datasets/registry.hpp"
#include "reid/engine/experiment.hpp"
#include "reid/losses/losses.hpp"
#include "reid/models/registry.hpp"

/// Three convolutions with stride 2, the mean and the standard deviation of each channel over the picture.
class TinyNet : public reid::nn::Model {
 public:
  struct Options {
    int64_t width = 16;
    reid::PreprocessOptions preprocess{.height = 64, .width = 32};
    template <class V>
    void fields(V&& v) {
      v("width", width, "channels of the first convolution", reid::Range{1, 1024});
      v("preprocess", preprocess, "what is done to a picture first");
    }
  };

  explicit TinyNet(const Options& options) : options_(options) {
    layers_ = register_module("layers", torch::nn::Sequential());
    int64_t in = 3;
    for (const int64_t out : {options.width, 2 * options.width, 4 * options.width}) {
      layers_->push_back(torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).stride(2).padding(1).bias(false)));
      layers_->push_back(torch::nn::BatchNorm2d(out));
      layers_->push_back(torch::nn::ReLU());
      in = out;
    }
  }

  reid::nn::ModelOutput encode_image(const torch::Tensor& images, uint32_t) override {
    const auto map = layers_->forward(images).flatten(2);                       // [N, C, S]
    return {.embedding = torch::cat({map.mean(2), map.std(2, false)}, 1)};      // [N, 2 C]
  }
  const reid::PreprocessOptions& preprocess() const override { return options_.preprocess; }
  int64_t embedding_size() const override { return 8 * options_.width; }
  reid::nn::Feature feature() const override { return reid::nn::Feature::before_neck; }
  std::vector<reid::nn::StateLayout> layouts() const override { return {}; }

 private:
  Options options_;
  torch::nn::Sequential layers_{nullptr};
};

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s ROOT RUN\n", argv[0]);
    return 2;
  }
  reid::models::registry().add<TinyNet>("tiny_net", {"Three convolutions, mean and deviation."});
  try {
    reid::nn::make_model(reid::models::registry(), {{"name", "tiny_net"}, {"widht", 32}}, "/model");
  } catch (const reid::ConfigError& error) {
    std::printf("%s\n", error.what());
  }
  try {
    const reid::engine::Catalogue catalogue{reid::models::registry(), reid::losses::objectives(),
                                            reid::datasets::registry(), reid::datasets::decode_image};
    reid::Json json = reid::parse_json(R"({
      "data": {"name": "market1501"},
      "model": {"name": "tiny_net", "width": 24},
      "optimizer": {"name": "adam", "rate": 2e-3},
      "sampler": {"name": "identity_bot", "identities": 8, "images": 4},
      "augment": ["flip"], "epochs": 20
    })", "experiment");
    json["data"]["root"] = argv[1];
    const auto experiment = reid::engine::read_experiment(json, catalogue);
    reid::engine::RunOptions options;
    options.output = argv[2];
    options.runtime = reid::engine::make_runtime("auto", 0);
    reid::engine::train_experiment(experiment, catalogue, options);
    const auto model = reid::engine::open_run(argv[2], catalogue);
    const auto dataset = reid::engine::open_dataset(experiment.data.evaluation(), {.train = false}, "", catalogue);
    const auto result = reid::engine::evaluate_model(*model, dataset, experiment.evaluation, catalogue.decoder,
                                                     options.runtime).json;
    std::printf("tiny_net: rank-1 %.2f %%, mAP %.2f %%\n", 100 * result["metrics"]["rank1"].get<double>(),
                100 * result["metrics"]["map"].get<double>());
    return 0;
  } catch (const reid::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
}
