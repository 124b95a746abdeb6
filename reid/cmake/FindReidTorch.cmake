# SPDX-License-Identifier: Apache-2.0
# Finds LibTorch without its own package file, which asks for a CUDA toolkit even where none is used.
#
# Input:   REID_TORCH_ROOT  folder that holds include/ and lib/ (a LibTorch, or the torch folder of a
#                           Python installation); default: the environment variable of that name, then
#                           <source>/.deps/torch, made by scripts/setup.sh; of an installed reid, the folder
#                           that it was built with
# Output:  imported target reid::torch, ReidTorch_VERSION, REID_TORCH_LIBRARY_DIRS (for run paths)
set(_reid_torch_candidates "${REID_TORCH_ROOT}" "$ENV{REID_TORCH_ROOT}"
    "${_reid_built_with_torch}" "${CMAKE_CURRENT_LIST_DIR}/../../.deps/torch")
if(REID_TORCH_ROOT)
  set(_reid_torch_candidates "${REID_TORCH_ROOT}")
endif()
find_path(ReidTorch_INCLUDE_DIR torch/csrc/api/include/torch/torch.h
          PATHS ${_reid_torch_candidates} PATH_SUFFIXES include NO_DEFAULT_PATH)
find_library(ReidTorch_CPU_LIBRARY torch_cpu PATHS ${_reid_torch_candidates} PATH_SUFFIXES lib NO_DEFAULT_PATH)
find_library(ReidTorch_C10_LIBRARY c10 PATHS ${_reid_torch_candidates} PATH_SUFFIXES lib NO_DEFAULT_PATH)

if(ReidTorch_INCLUDE_DIR)
  set(ReidTorch_VERSION "")
  foreach(_part MAJOR MINOR PATCH)
    file(STRINGS "${ReidTorch_INCLUDE_DIR}/torch/headeronly/version.h" _line
         REGEX "^#define TORCH_VERSION_${_part} ")
    string(REGEX MATCH "[0-9]+$" _number "${_line}")
    string(APPEND ReidTorch_VERSION "${_number}.")
  endforeach()
  string(REGEX REPLACE "\\.$" "" ReidTorch_VERSION "${ReidTorch_VERSION}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(ReidTorch
  REQUIRED_VARS ReidTorch_CPU_LIBRARY ReidTorch_C10_LIBRARY ReidTorch_INCLUDE_DIR
  VERSION_VAR ReidTorch_VERSION
  REASON_FAILURE_MESSAGE "run scripts/setup.sh, or give -DREID_TORCH_ROOT=<folder of LibTorch 2.11.0>")

if(ReidTorch_FOUND AND NOT TARGET reid::torch)
  get_filename_component(_reid_torch_lib "${ReidTorch_CPU_LIBRARY}" DIRECTORY)
  get_filename_component(_reid_torch_lib "${_reid_torch_lib}" REALPATH)
  set(REID_TORCH_LIBRARY_DIRS "${_reid_torch_lib}")
  # A LibTorch built with CUDA needs the CUDA run time beside it, even on the CPU.
  file(GLOB _reid_cuda_libs "${_reid_torch_lib}/../../nvidia/*/lib")
  foreach(_dir IN LISTS _reid_cuda_libs)
    get_filename_component(_dir "${_dir}" REALPATH)
    list(APPEND REID_TORCH_LIBRARY_DIRS "${_dir}")
  endforeach()
  add_library(reid::torch INTERFACE IMPORTED)
  # LibTorch's folder also holds copies of fmt and others; searched last, they don't hide the system's.
  foreach(_dir "${ReidTorch_INCLUDE_DIR}" "${ReidTorch_INCLUDE_DIR}/torch/csrc/api/include")
    target_compile_options(reid::torch INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter \"${_dir}\">")
  endforeach()
  target_compile_definitions(reid::torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
  set(_reid_torch_libs "${ReidTorch_CPU_LIBRARY}" "${ReidTorch_C10_LIBRARY}")
  foreach(_dir IN LISTS REID_TORCH_LIBRARY_DIRS)
    target_link_options(reid::torch INTERFACE "LINKER:-rpath,${_dir}")
  endforeach()
  if(REID_WITH_CUDA)
    find_library(ReidTorch_CUDA_LIBRARY torch_cuda PATHS "${_reid_torch_lib}" NO_DEFAULT_PATH REQUIRED)
    find_library(ReidTorch_C10_CUDA_LIBRARY c10_cuda PATHS "${_reid_torch_lib}" NO_DEFAULT_PATH REQUIRED)
    # torch_cuda registers its kernels when it is loaded; nothing refers to it by name.
    list(APPEND _reid_torch_libs "-Wl,--no-as-needed" "${ReidTorch_CUDA_LIBRARY}" "-Wl,--as-needed"
         "${ReidTorch_C10_CUDA_LIBRARY}")
    # The libraries below it are found by the run path, and may be missing where one only builds.
    target_link_options(reid::torch INTERFACE "LINKER:--allow-shlib-undefined")
  endif()
  target_link_libraries(reid::torch INTERFACE ${_reid_torch_libs})
endif()
mark_as_advanced(ReidTorch_INCLUDE_DIR ReidTorch_CPU_LIBRARY ReidTorch_C10_LIBRARY)
