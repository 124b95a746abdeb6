# SPDX-License-Identifier: Apache-2.0
reid_add_component(ops
  SOURCES src/ops/check.cpp src/ops/distance.cpp src/ops/matmul.cpp src/ops/relation.cpp
  DEPS reid::core reid::torch
  PRIVATE_DEPS fmt::fmt)
