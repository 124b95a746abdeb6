# SPDX-License-Identifier: Apache-2.0
if(NOT TARGET reid::ops)
  return()
endif()
reid_add_component(nn
  SOURCES src/nn/blocks.cpp src/nn/model.cpp
          src/nn/safetensors.cpp src/nn/state_dict.cpp src/nn/weight_file.cpp
  DEPS reid::ops reid::core PRIVATE_DEPS fmt::fmt)
