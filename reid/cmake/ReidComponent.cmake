# SPDX-License-Identifier: Apache-2.0
# One way to make a room of the library, one way to make a program, one way to make a test.

# The precompiled LibTorch headers, made once and used by every target that links reid::torch.
function(_reid_pch_target)
  if(REID_PCH AND NOT TARGET reid_pch)
    file(GENERATE OUTPUT "${PROJECT_BINARY_DIR}/pch/reid_pch.cpp" CONTENT "int reid_pch_anchor;\n")
    add_library(reid_pch OBJECT "${PROJECT_BINARY_DIR}/pch/reid_pch.cpp")
    target_link_libraries(reid_pch PRIVATE reid::torch)
    _reid_target_defaults(reid_pch NO_TORCH)
    target_precompile_headers(reid_pch PRIVATE <torch/torch.h>)
  endif()
endfunction()

function(_reid_target_defaults target)
  cmake_parse_arguments(ARG "NO_TORCH" "" "" ${ARGN})
  target_compile_features(${target} PUBLIC cxx_std_20)
  # -fPIC everywhere, programs too: one set of precompiled headers serves libraries and programs.
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fPIC>)
  reid_set_warnings(${target})
  if(REID_PCH AND NOT ARG_NO_TORCH)
    _reid_pch_target()
    target_precompile_headers(${target} REUSE_FROM reid_pch)
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
    add_test(NAME ${room}.${unit} COMMAND test_${room} --filenames-as-tags --warn NoTests "[#${stem}]")
    set_tests_properties(${room}.${unit} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
  endforeach()
endfunction()
