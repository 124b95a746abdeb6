# SPDX-License-Identifier: Apache-2.0
find_package(ZLIB REQUIRED)
reid_add_component(nn
  SOURCES src/nn/blocks.cpp src/nn/model.cpp src/nn/objective.cpp
          src/nn/pickle.cpp src/nn/safetensors.cpp src/nn/state_dict.cpp src/nn/torch_file.cpp
          src/nn/transformer.cpp
          src/nn/weight_file.cpp src/nn/zip.cpp
  DEPS reid::ops reid::core PRIVATE_DEPS fmt::fmt ZLIB::ZLIB)
