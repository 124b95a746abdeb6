// SPDX-License-Identifier: Apache-2.0
// Makes a network through the installed headers and libraries and prints all names there are to choose from.
#include <iostream>

#include "reid/core/error.hpp"
#include "reid/core/version.hpp"
#include "reid/models/registry.hpp"

int main() {
  auto& registry = reid::models::registry();
  const auto model = registry.create("resnet18", "/model");
  model->eval();
  const auto features = model->embed(torch::zeros({1, 3, model->preprocess().height, model->preprocess().width}));
  try {
    registry.create("resnet81", "/model");
    return 1;
  } catch (const reid::RegistryError& error) {
    std::cout << error.what() << "\n";
  }
  std::cout << "reid " << REID_VERSION << ": embedding " << features.sizes() << "\nmodels:";
  for (const auto& name : registry.names()) std::cout << " " << name;
  std::cout << "\n";
}
