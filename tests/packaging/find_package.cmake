# SPDX-License-Identifier: Apache-2.0
# Installs this build into a path with a space, moves the tree elsewhere, and builds a program on reid::models from it.
include("${CMAKE_CURRENT_LIST_DIR}/../support/run.cmake")

run(log "${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${WORK}/first place")
file(RENAME "${WORK}/first place" "${WORK}/second place")
set(prefix "${WORK}/second place")

# The installed program runs where it is now, and every public header came along.
run(version "${prefix}/bin/reid" --version)
must_contain("${version}" "^reid ${VERSION}\n")
foreach(dir IN LISTS INCLUDE_DIRS)
  file(GLOB_RECURSE headers RELATIVE "${dir}" "${dir}/*.hpp")
  foreach(header IN LISTS headers)
    if(NOT EXISTS "${prefix}/include/${header}")
      message(FATAL_ERROR "header must be installed, got none: ${header}")
    endif()
  endforeach()
endforeach()

# A program on reid::models alone: builds, runs, has all built-ins, pulls in no OpenCV.
set(project "${CMAKE_CURRENT_LIST_DIR}/find_package")
run(log "${CMAKE_COMMAND}" ${toolchain} -S "${project}" -B "${WORK}/build" "-DCMAKE_PREFIX_PATH=${prefix}"
    -DCMAKE_BUILD_TYPE=Release "-DREID_TORCH_ROOT=${TORCH_ROOT}")
run(log "${CMAKE_COMMAND}" --build "${WORK}/build")
run(output "${WORK}/build/consumer")
must_contain("${output}" "'resnet81'.*did you mean 'resnet")
must_contain("${output}" "reid ${VERSION}: embedding \\[1, 512\\]")
foreach(word IN LISTS MODELS)
  must_contain("${output}" "models:.* ${word}")
endforeach()
run(listed "${BUILD}/bin/reid" models list --json - --quiet)
string(JSON count LENGTH "${listed}" models)
string(REGEX MATCH "models:[^\n]*" names "${output}")
string(REGEX MATCHALL " " spaces "${names}")
list(LENGTH spaces linked)
if(NOT linked EQUAL count)
  message(FATAL_ERROR "models linked from the installed library must be ${count}, got ${linked}: ${names}")
endif()
run(libraries ldd "${WORK}/build/consumer")
must_contain("${libraries}" "libtorch_cpu")
must_not_contain("${libraries}" "opencv|not found")
if(SHARED)
  must_contain("${libraries}" "second place/lib/libreid_models")
endif()

# Every room can be asked for; one that isn't there is named, with those that are.
run(log "${CMAKE_COMMAND}" ${toolchain} -S "${project}" -B "${WORK}/all" "-DCMAKE_PREFIX_PATH=${prefix}"
    "-DCOMPONENTS=${ROOMS}" "-DREID_TORCH_ROOT=${TORCH_ROOT}")
run_to_fail(log "${CMAKE_COMMAND}" ${toolchain} -S "${project}" -B "${WORK}/none" "-DCMAKE_PREFIX_PATH=${prefix}"
    -DCOMPONENTS=modles "-DREID_TORCH_ROOT=${TORCH_ROOT}")
must_contain("${log}" "component must be one of.*'modles'")
file(REMOVE_RECURSE "${WORK}")
