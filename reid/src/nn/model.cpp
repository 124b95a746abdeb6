// SPDX-License-Identifier: Apache-2.0
#include "reid/nn/model.hpp"

#include <fmt/format.h>

#include "reid/core/error.hpp"

namespace reid::nn {

ModelOutput Model::encode_image_from(const torch::Tensor& images, const torch::Tensor&, uint32_t want) {
  return encode_image(images, want);
}

ModelOutput Model::encode_text(const torch::Tensor&, const torch::Tensor&, uint32_t) {
  const auto it = spec_.find("name");
  throw ConfigError("encode_text: model must have a text encoder, got " +
                    (it != spec_.end() ? "'" + it->get<std::string>() + "'" : std::string("one for pictures only")));
}

WeightPart Model::weight_part(const std::string& name) {
  REID_CHECK(name.empty(), ConfigError,
             fmt::format("weights: part must be empty (the whole) for a model without parts, got '{}'", name));
  return {this, layouts()};
}

torch::Tensor Model::embed(const torch::Tensor& images, const torch::Tensor& cameras) {
  if (feature() == Feature::before_neck) return encode_image_from(images, cameras, want_embedding).embedding;
  auto output = encode_image_from(images, cameras, want_embedding | want_neck);
  REID_CHECK(output.neck.defined(), ConfigError,
             "embed: feature must be 'before_neck' for a model without a neck, got 'after_neck'");
  return output.neck;
}

std::shared_ptr<Model> make_model(const ModelRegistry& registry, const Json& part, const std::string& pointer) {
  auto model = registry.create(part, pointer);
  if (model->spec().is_null()) model->set_spec(registry.expand(part, pointer));
  return model;
}

}  // namespace reid::nn
