// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>
#include <vector>

#include "reid/core/io.hpp"
#include "reid/data/dataset.hpp"
#include "reid/engine/experiment.hpp"
#include "reid/losses/losses.hpp"
#include "support/tiny_model.hpp"

namespace reid::test {

/// A data set without files: `identities` people, three cameras, two pictures on each, told by the colours.
class DrawnSet : public data::DataSetReader {
 public:
  struct Options {
    template <class V>
    void fields(V&&) {}
  };
  explicit DrawnSet(const Options&) {}

  data::DataSet read(const std::filesystem::path& root, const data::Parts& parts, const std::string&) const override {
    if (root == "nowhere") throw DatasetError("nowhere: folder must exist, got none");
    data::DataSet set;
    set.name = "drawn";
    set.default_protocol = "market1501";
    set.notes = {"drawn for a test"};
    if (parts.train) {
      for (int64_t id = 0; id < 8; ++id) add(set.train, 10 * id + 3, 2);
    }
    if (parts.evaluation) {
      data::EvaluationSplit split;
      for (int64_t id = 100; id < 108; ++id) {
        add(split.query, id, 1);
        add(split.gallery, id, 2);
      }
      set.splits.push_back(split);
    }
    return set;
  }
  std::vector<std::string> protocols() const override { return {"market1501"}; }
  std::vector<data::DocumentedCount> counts(const std::filesystem::path&) const override { return {}; }
  std::string terms() const override { return "none"; }

 private:
  static void add(std::vector<Sample>& list, int64_t id, int64_t each) {
    for (int64_t camera = 1; camera <= 3; ++camera) {
      for (int64_t k = 0; k < each; ++k) {
        Sample sample;
        sample.path = std::to_string(id) + " " + std::to_string(camera) + " " + std::to_string(k);
        sample.identity = id;
        sample.camera = camera;
        list.push_back(sample);
      }
    }
  }
};

/// Two colours by identity, noise by picture.
inline torch::Tensor draw(const std::string& path) {
  if (path.find("corrupt") != std::string::npos) throw DatasetError(path + ": picture must be whole, got a cut one");
  const auto id = static_cast<uint64_t>(std::stoll(path));
  Random person{id, 1};
  Random noise{fingerprint(path)};
  auto pixels = torch::empty({20, 10, 3}, torch::kUInt8);
  int colour[2][3];
  for (auto& half : colour) {
    for (int& c : half) c = static_cast<int>(person.below(200)) + 20;
  }
  auto* out = pixels.data_ptr<uint8_t>();
  for (int y = 0; y < 20; ++y) {
    for (int x = 0; x < 10; ++x) {
      for (int c = 0; c < 3; ++c) *out++ = static_cast<uint8_t>(colour[y / 10][c] + static_cast<int>(noise.below(36)));
    }
  }
  return pixels;
}

/// Knows so many cameras and adds each picture's to its feature.
template <int64_t known>
class CameraModel : public TinyModel {
 public:
  using TinyModel::TinyModel;
  int64_t cameras() const override { return known; }
  nn::ModelOutput encode_image_from(const torch::Tensor& images, const torch::Tensor& cameras, uint32_t want) override {
    auto output = encode_image(images, want);
    output.embedding = output.embedding + cameras.to(output.embedding.scalar_type()).unsqueeze(1);
    if (output.neck.defined()) output.neck = output.embedding;
    return output;
  }
};

/// The registries of these tests; two of them don't share anything but the built-in losses.
struct World {
  World() : models("model"), datasets("data set") {
    models.add<TinyModel>("tiny");
    models.add<CameraModel<2>>("two_cameras");
    datasets.add<DrawnSet>("drawn");
  }
  engine::Catalogue catalogue() const { return {models, losses::objectives(), datasets, draw}; }
  nn::ModelRegistry models;
  data::DataSetRegistry datasets;
};

/// A small experiment of `epochs` epochs, 3 steps each.
inline Json small_experiment(int64_t epochs = 3) {
  return Json{{"seed", 5},
              {"data", {{"name", "drawn"}, {"root", "anywhere"}}},
              {"model", {{"name", "tiny"}}},
              {"optimizer", {{"name", "adam"}, {"rate", 0.01}, {"weight_decay", 5e-4}}},
              {"schedule", {{"name", "cosine"}, {"warmup_epochs", 1}}},
              {"sampler", {{"name", "random"}, {"batch", 16}}},
              {"augment", Json::array({"flip", "random_erasing"})},
              {"objective", {{"name", "classify_and_rank"}, {"losses", Json::array({"cross_entropy", "triplet"})}}},
              {"epochs", epochs}};
}

inline engine::RunOptions run_options(const std::filesystem::path& output, bool resume = false) {
  engine::RunOptions options;
  options.output = output;
  options.resume = resume;
  options.runtime = engine::make_runtime("cpu", 2);
  return options;
}

inline engine::RunSummary train(const World& world, const Json& json, const engine::RunOptions& options) {
  const auto catalogue = world.catalogue();
  return engine::train_experiment(engine::read_experiment(json, catalogue), catalogue, options);
}

}  // namespace reid::test
