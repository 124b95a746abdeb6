# SPDX-License-Identifier: Apache-2.0
if(NOT TARGET reid::ops)
  return()
endif()
reid_add_component(nn
  SOURCES src/nn/blocks.cpp src/nn/model.cpp
  DEPS reid::ops reid::core PRIVATE_DEPS fmt::fmt)
