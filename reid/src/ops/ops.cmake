# SPDX-License-Identifier: Apache-2.0
reid_add_component(ops
  SOURCES src/ops/batch_norm.cpp src/ops/check.cpp src/ops/distance.cpp src/ops/matmul.cpp src/ops/memory.cpp src/ops/mining.cpp
          src/ops/parallel.cpp src/ops/prepared_rows.cpp src/ops/rank.cpp src/ops/relation.cpp src/ops/scan.cpp src/ops/sparse.cpp
          src/ops/topk.cpp
  DEPS reid::core reid::torch
  PRIVATE_DEPS fmt::fmt)
# The one source with OpenMP, against the run time that LibTorch uses too (both are libgomp.so.1). Clang's own run time would be
# a second one beside it: with other compilers loops are serial.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set_source_files_properties(src/ops/parallel.cpp PROPERTIES COMPILE_OPTIONS "-fopenmp")
  target_link_libraries(reid_ops PRIVATE -lgomp)
endif()

# Kernels as a library of their own, which knows neither LibTorch nor the ops; the ops choose it by a tensor's device.
if(REID_WITH_CUDA)
  find_package(CUDAToolkit 13.0 REQUIRED)
  reid_add_component(ops_cuda
    SOURCES src/ops/cuda/mining.cu src/ops/cuda/rank.cu src/ops/cuda/reciprocal.cu src/ops/cuda/sparse.cu src/ops/cuda/topk.cu
    PRIVATE_DEPS -lcudart
    NO_TORCH)
  set_target_properties(reid_ops_cuda PROPERTIES CUDA_ARCHITECTURES "80-real;90" CUDA_RUNTIME_LIBRARY None
    POSITION_INDEPENDENT_CODE ON)
  target_compile_options(reid_ops_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>)  # CMake 3.25 knows none for nvcc 13
  if(REID_WERROR)
    target_compile_options(reid_ops_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror>)
  endif()
  target_link_directories(reid_ops_cuda PUBLIC ${CUDAToolkit_LIBRARY_DIR})
  target_sources(reid_ops PRIVATE src/ops/cuda/dispatch.cpp)
  target_compile_definitions(reid_ops PRIVATE REID_WITH_CUDA)
  target_include_directories(reid_ops SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(reid_ops PRIVATE reid::ops_cuda)
endif()
