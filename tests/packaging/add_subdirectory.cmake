# SPDX-License-Identifier: Apache-2.0
# reid as a folder of somebody else's project: only libraries, the parent's build type, no tests, no install rules.
include("${CMAKE_CURRENT_LIST_DIR}/../support/run.cmake")

run(log "${CMAKE_COMMAND}" ${toolchain} -S "${CMAKE_CURRENT_LIST_DIR}/add_subdirectory" -B "${WORK}/build"
    "-DREID_SOURCE=${SOURCE}" "-DREID_TORCH_ROOT=${TORCH_ROOT}")
run(log "${CMAKE_COMMAND}" --build "${WORK}/build" --target consumer)
run(output "${WORK}/build/consumer")
must_contain("${output}" "reid ${VERSION}: 8 rooms")
run_to_fail(log "${CMAKE_COMMAND}" --build "${WORK}/build" --target test)
file(REMOVE_RECURSE "${WORK}")
