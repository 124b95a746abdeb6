// SPDX-License-Identifier: Apache-2.0
// reid preprocess: exactly the tensor that a network sees of one picture.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "reid/core/error.hpp"
#include "reid/data/loader.hpp"
#include "reid/datasets/image_io.hpp"
#include "reid/metrics/npy.hpp"
#include "reid/models/registry.hpp"
#include "verb.hpp"

namespace reid::cli {
namespace {

struct PreprocessFlags {
  std::string model, config, image, output;
  std::vector<std::string> assignments;
};

void run(const PreprocessFlags& flags, const Common& common) {
  common.apply_threads();
  const Json configured = configuration(flags.model, flags.config, flags.assignments, {"model"});
  const auto model = models::registry().create(configured.at("model"), "/model");
  const auto& options = model->preprocess();
  const torch::Tensor pixels = datasets::decode_image(flags.image);
  const torch::Tensor result = torch::empty({3, options.height, options.width}, torch::kFloat32);
  Random unused({0});
  data::evaluation_transform(options)(pixels, unused, result.data_ptr<float>());
  metrics::write_npy(flags.output, result);
}

}  // namespace

void add_preprocess(CLI::App& app, Common& common) {
  auto* verb = app.add_subcommand("preprocess", "The tensor [3, H, W] float32 that a network sees of a picture at test time");
  const auto flags = std::make_shared<PreprocessFlags>();
  verb->add_option("--model", flags->model, "name of a model, with its default options");
  verb->add_option("--config", flags->config, "configuration file (an experiment, or only {\"model\": ...})");
  add_set(*verb, flags->assignments);
  verb->add_option("image", flags->image, "picture: JPEG, PNG, BMP, WebP or TIFF")->required();
  verb->add_option("--output", flags->output, "array file to write (.npy)")->required()->check(writable_file());
  add_common(*verb, common, common_threads);
  verb->callback([flags, &common] { run(*flags, common); });
}

}  // namespace reid::cli
