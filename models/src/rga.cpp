// SPDX-License-Identifier: Apache-2.0
// RGA networks: a body with an RGA module behind each stage. The module is in rga_module.cpp.
#include "reid/models/rga.hpp"

#include "entry.hpp"
#include "reid/core/error.hpp"
#include "reid/models/registry.hpp"

namespace reid::models {

void RgaOptions::validate(const std::string& where) const {
  head.validate(where);
  REID_CHECK(std::find(stages.begin(), stages.end(), true) != stages.end(), ConfigError,
             where + "/stages: stages must be true at least once, got none");
}

RgaModel::RgaModel(std::shared_ptr<ConvBody> body, const RgaModuleOptions& module_options, const RgaOptions& options)
    : ConvModel(std::move(body), options.head, options.preprocess, "feat_bn") {
  const auto channels = this->body().channels();
  const auto sizes = this->body().sizes(options.preprocess.height, options.preprocess.width);
  for (std::size_t i = 0; i < modules_.size(); ++i) {
    if (!options.stages[i]) continue;
    modules_[i] = register_module("rga_att" + std::to_string(i + 1),
                                  std::make_shared<RgaModule>(channels[i], sizes[i], module_options));
  }
}

torch::Tensor RgaModel::feature_map(const torch::Tensor& images, std::vector<torch::Tensor>* maps) {
  auto x = body().stem(images);
  for (std::size_t i = 0; i < modules_.size(); ++i) {
    x = body().stage(static_cast<int64_t>(i), x);
    if (!modules_[i]) continue;
    torch::Tensor map;
    x = modules_[i]->forward(x, maps != nullptr ? &map : nullptr);
    if (map.defined()) maps->push_back(map);
  }
  return x;
}

void RgaModel::fold_batch_norms() {
  for (const auto& module : modules_) {
    if (module) module->fold_batch_norms();
  }
  ConvModel::fold_batch_norms();
}

namespace {

RgaModuleOptions module_options(const RgaOptions& options, bool spatial, bool channel) {
  RgaModuleOptions result;
  result.spatial = spatial;
  result.channel = channel;
  result.directions = options.directions;
  result.own_feature = options.own_feature;
  result.relation = options.relation;
  result.start = options.start;
  result.bn_gamma_uniform = options.bn_gamma_uniform;
  result.channel_ratio = options.channel_ratio;
  result.spatial_ratio = options.spatial_ratio;
  result.head_ratio = options.head_ratio;
  return result;
}

/// Makes the body and writes its resolved options back.
std::shared_ptr<ConvBody> make_body(RgaOptions& options, const std::string& pointer) {
  auto body = bodies().create(options.body, pointer + "/body");
  options.body = body->spec();
  return body;
}

EntryInfo info(const std::string& summary) {
  return {summary,
          "Zhang et al., Relation-Aware Global Attention for Person Re-identification, CVPR 2020, arXiv:1904.02998",
          "microsoft/Relation-Aware-Global-Attention-Networks@cdc9965 reid/models",
          "faithful to the official code for the module and for the CUHK03 recipe, with the batch norm's gamma rule and "
          "the definition of average precision stated beside every number"};
}

}  // namespace

void register_rga(nn::ModelRegistry& registry) {
  struct Variant {
    const char* name;
    const char* summary;
    bool spatial, channel;
  };
  for (const auto& variant :
       {Variant{"rga_s", "A body with spatial relation-aware global attention behind each stage.", true, false},
        Variant{"rga_c", "A body with channel relation-aware global attention behind each stage.", false, true}}) {
    add_entry<nn::Model, RgaOptions>(
        registry, variant.name, info(variant.summary), {},
        [spatial = variant.spatial, channel = variant.channel](RgaOptions& options, const std::string& pointer) {
          return std::make_shared<RgaModel>(make_body(options, pointer), module_options(options, spatial, channel),
                                            options);
        });
  }
  add_entry<nn::Model, RgaScOptions>(
      registry, "rga_sc",
      info("A body with spatial and channel relation-aware global attention, one after the other, behind each stage."),
      {}, [](RgaScOptions& options, const std::string& pointer) {
        auto module = module_options(options, true, true);
        module.order = options.order;
        return std::make_shared<RgaModel>(make_body(options, pointer), module, options);
      });
}

}  // namespace reid::models
