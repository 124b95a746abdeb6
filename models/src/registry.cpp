// SPDX-License-Identifier: Apache-2.0
#include "reid/models/registry.hpp"

#include "reid/models/body.hpp"

namespace reid::models {

void add_mobilenet_v2_body(BodyRegistry& registry);
void add_resnet_bodies(BodyRegistry& registry);

nn::ModelRegistry empty_registry() { return nn::ModelRegistry("model"); }

BodyRegistry& bodies() {
  static BodyRegistry instance = [] {
    BodyRegistry registry("body");
    add_mobilenet_v2_body(registry);
    add_resnet_bodies(registry);
    return registry;
  }();
  return instance;
}

}  // namespace reid::models
