# SPDX-License-Identifier: Apache-2.0
# Installs the rooms, their headers and the package file: `find_package(reid COMPONENTS models ...)` loads the rooms
# asked for, the rooms below them and the packages that those need, nothing else.
include(CMakePackageConfigHelpers)

# The package that brings a foreign target, as find_dependency() takes it.
function(_reid_package_of target result)
  if(target STREQUAL "reid::torch")
    set(package "ReidTorch 2.11.0 EXACT")
  elseif(target MATCHES "^opencv_")
    set(package "OpenCV")
  elseif(target STREQUAL "ICU::uc")
    set(package "ICU COMPONENTS uc")
  elseif(target MATCHES "^(fmt|spdlog|nlohmann_json|Threads|ZLIB|JPEG|PNG|TIFF|HDF5)::")
    set(package "${CMAKE_MATCH_1}")
  elseif(target MATCHES "^(-|/)" OR target MATCHES "^(m|dl|pthread)$")
    set(package "")
  else()
    message(FATAL_ERROR "ReidInstall: '${target}' must belong to a known package: add it to _reid_package_of()")
  endif()
  set(${result} "${package}" PARENT_SCOPE)
endfunction()

set(_reid_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/reid")
set(REID_COMPONENT_NAMES "")
set(REID_COMPONENT_NEEDS "")
get_property(_reid_targets GLOBAL PROPERTY REID_COMPONENTS)
foreach(_target IN LISTS _reid_targets)
  get_target_property(_name ${_target} EXPORT_NAME)
  list(APPEND REID_COMPONENT_NAMES ${_name})
  install(TARGETS ${_target} EXPORT reid-${_name}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(EXPORT reid-${_name} NAMESPACE reid:: FILE reid-${_name}.cmake DESTINATION ${_reid_package_dir})

  # What a user of the room links: of a static library also what it uses privately.
  set(_rooms "")
  set(_packages "")
  get_target_property(_links ${_target} INTERFACE_LINK_LIBRARIES)
  foreach(_link IN LISTS _links)
    string(REGEX REPLACE "^\\$<LINK_ONLY:(.*)>$" "\\1" _link "${_link}")
    if(_link MATCHES "^reid(::|_)(.*)$" AND NOT _link STREQUAL "reid::torch")
      list(APPEND _rooms ${CMAKE_MATCH_2})
    else()
      _reid_package_of("${_link}" _package)
      if(_package)
        list(APPEND _packages "${_package}")
      endif()
    endif()
  endforeach()
  list(REMOVE_DUPLICATES _rooms)
  list(REMOVE_DUPLICATES _packages)
  string(APPEND REID_COMPONENT_NEEDS "set(_reid_${_name}_rooms \"${_rooms}\")\nset(_reid_${_name}_packages \"${_packages}\")\n")
endforeach()

get_property(_reid_include_dirs GLOBAL PROPERTY REID_INCLUDE_DIRS)
list(REMOVE_DUPLICATES _reid_include_dirs)
foreach(_dir IN LISTS _reid_include_dirs)
  install(DIRECTORY "${_dir}/reid" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
endforeach()
install(DIRECTORY "${PROJECT_BINARY_DIR}/generated/reid" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.hpp")

get_filename_component(REID_BUILT_WITH_TORCH "${ReidTorch_INCLUDE_DIR}/.." ABSOLUTE)
configure_package_config_file(reid/cmake/reid-config.cmake.in "${PROJECT_BINARY_DIR}/reid-config.cmake"
  INSTALL_DESTINATION ${_reid_package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/reid-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/reid-config.cmake" "${PROJECT_BINARY_DIR}/reid-config-version.cmake"
  "${PROJECT_SOURCE_DIR}/reid/cmake/FindReidTorch.cmake" DESTINATION ${_reid_package_dir})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
