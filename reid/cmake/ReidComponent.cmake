# SPDX-License-Identifier: Apache-2.0
# One way to make a room of the library, one way to make a program, one way to make a test.

# reid_make_precompiled_headers(), called once at the top: LibTorch's headers, precompiled in two sizes. A source that
# includes <torch/torch.h> gets the large one, every other the small one, each made once for all targets (CMake's own
# REUSE_FROM makes a copy a folder, of 700 MB). GCC only; without them everything builds too, more slowly.
function(reid_make_precompiled_headers)
  if(NOT REID_PCH OR NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    return()
  endif()
  foreach(size large small)
    set(header <torch/torch.h>)
    if(size STREQUAL small)
      set(header <torch/types.h>)
    endif()
    set(source "${PROJECT_BINARY_DIR}/pch/${size}.cpp")
    file(GENERATE OUTPUT "${source}" CONTENT "extern const int reid_pch_${size}_anchor = 0;\n")
    add_library(reid_pch_${size} OBJECT "${source}")
    target_link_libraries(reid_pch_${size} PRIVATE reid::torch)
    _reid_target_defaults(reid_pch_${size} NO_TORCH)
    target_precompile_headers(reid_pch_${size} PRIVATE ${header})
    set_property(GLOBAL PROPERTY REID_PCH_${size} "${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/reid_pch_${size}.dir/cmake_pch.hxx")
  endforeach()
endfunction()

function(_reid_use_precompiled_headers target)
  if(NOT TARGET reid_pch_large)
    return()
  endif()
  add_dependencies(${target} reid_pch_large reid_pch_small)
  get_target_property(sources ${target} SOURCES)
  foreach(source IN LISTS sources)
    get_filename_component(path "${source}" ABSOLUTE)
    set(size small)
    if(EXISTS "${path}")
      file(STRINGS "${path}" includes REGEX "include <torch/(torch|optim|nn/functional)[./]")
      if(includes)
        set(size large)
      endif()
    endif()
    get_property(header GLOBAL PROPERTY REID_PCH_${size})
    # Dependencies between targets don't order the compilation of their sources: without OBJECT_DEPENDS a source could meet
    # a header that is half written.
    set_source_files_properties("${source}" PROPERTIES COMPILE_OPTIONS "-Winvalid-pch;-include;${header}" OBJECT_DEPENDS
                                                                                                          "${header}.gch")
  endforeach()
endfunction()

function(_reid_target_defaults target)
  cmake_parse_arguments(ARG "NO_TORCH" "" "" ${ARGN})
  target_compile_features(${target} PUBLIC cxx_std_20)
  # -fPIC everywhere, programs too: one set of precompiled headers serves libraries and programs.
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fPIC>)
  reid_set_warnings(${target})
  if(NOT ARG_NO_TORCH)
    _reid_use_precompiled_headers(${target})
  endif()
endfunction()

# reid_add_component(name SOURCES a.cpp... [DEPS targets...] [PRIVATE_DEPS targets...] [NO_TORCH])
# makes the library reid_<name> with the alias reid::<name> and the public headers below include/.
function(reid_add_component name)
  cmake_parse_arguments(ARG "NO_TORCH" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  set(target reid_${name})
  add_library(${target} ${ARG_SOURCES})
  add_library(reid::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR} INSTALL_RPATH "$ORIGIN")
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
    $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/generated>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  if(ARG_NO_TORCH)
    _reid_target_defaults(${target} NO_TORCH)
  else()
    _reid_target_defaults(${target})
  endif()
  set_property(GLOBAL APPEND PROPERTY REID_COMPONENTS ${target})
  set_property(GLOBAL APPEND PROPERTY REID_INCLUDE_DIRS ${CMAKE_CURRENT_SOURCE_DIR}/include)
endfunction()

# reid_write_umbrella() writes <reid/reid.hpp>, which includes every public header of the rooms made so far.
function(reid_write_umbrella)
  get_property(dirs GLOBAL PROPERTY REID_INCLUDE_DIRS)
  list(REMOVE_DUPLICATES dirs)
  set(headers "")
  foreach(dir IN LISTS dirs)
    file(GLOB_RECURSE found CONFIGURE_DEPENDS RELATIVE "${dir}" "${dir}/*.hpp")
    list(APPEND headers ${found})
  endforeach()
  list(SORT headers)
  list(TRANSFORM headers REPLACE "(.+)" "#include \"\\1\"")
  list(JOIN headers "\n" REID_INCLUDES)
  configure_file("${PROJECT_SOURCE_DIR}/reid/cmake/reid.hpp.in" "${PROJECT_BINARY_DIR}/generated/reid/reid.hpp" @ONLY)
endfunction()

# reid_generate_builtins(room interface_header registry_type names...) writes builtin_<room>.cpp, which declares and calls
# register_<name>(registry_type&) for every name of the sorted list: a missing function is a link error.
function(reid_generate_builtins room header registry_type)
  set(REID_ROOM ${room})
  set(REID_HEADER ${header})
  set(REID_REGISTRY ${registry_type})
  set(REID_DECLARATIONS "")
  set(REID_CALLS "")
  foreach(name IN LISTS ARGN)
    string(APPEND REID_DECLARATIONS "void register_${name}(${registry_type}& registry);\n")
    string(APPEND REID_CALLS "  register_${name}(registry);\n")
  endforeach()
  configure_file("${PROJECT_SOURCE_DIR}/reid/cmake/builtin.cpp.in"
                 "${CMAKE_CURRENT_BINARY_DIR}/builtin_${room}.cpp" @ONLY)
  set_property(GLOBAL PROPERTY REID_BUILTIN_${room} ${ARGN})
endfunction()

# reid_add_program(name SOURCES a.cpp... DEPS targets... [NO_TORCH])
function(reid_add_program name)
  cmake_parse_arguments(ARG "NO_TORCH" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
  if(ARG_NO_TORCH)
    _reid_target_defaults(${name} NO_TORCH)
  else()
    _reid_target_defaults(${name})
  endif()
endfunction()

# reid_add_tests(room SOURCES x_test.cpp... DEPS targets... [TIMEOUT s] [NO_TORCH]): one executable test_<room>, one CTest entry
# <room>.<x> per source file. A file without a test case fails.
function(reid_add_tests room)
  cmake_parse_arguments(ARG "NO_TORCH" "TIMEOUT" "SOURCES;DEPS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  set(no_torch "")
  if(ARG_NO_TORCH)
    set(no_torch NO_TORCH)
  endif()
  reid_add_program(test_${room} SOURCES ${ARG_SOURCES} DEPS reid_test_support ${ARG_DEPS} ${no_torch})
  target_compile_definitions(test_${room} PRIVATE
    REID_FIXTURES="${PROJECT_SOURCE_DIR}/tests/fixtures" REID_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  foreach(source IN LISTS ARG_SOURCES)
    get_filename_component(stem ${source} NAME_WE)
    string(REGEX REPLACE "_test$" "" unit ${stem})
    add_test(NAME ${room}.${unit} COMMAND test_${room} --filenames-as-tags --warn NoTests "[#${stem}]~[.nightly]")
    set_tests_properties(${room}.${unit} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
  endforeach()
endfunction()
