# SPDX-License-Identifier: Apache-2.0
reid_add_component(data
  SOURCES src/data/augmentations.cpp src/data/cache.cpp src/data/jitter.cpp src/data/loader.cpp src/data/resize.cpp
          src/data/sampler.cpp src/data/support.cpp src/data/transforms.cpp
  DEPS reid::core
  PRIVATE_DEPS fmt::fmt)
# Exact by operation: no fused multiply-add, whatever flags a user sets.
set_source_files_properties(src/data/jitter.cpp src/data/resize.cpp src/data/transforms.cpp
  PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
