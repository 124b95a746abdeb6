# SPDX-License-Identifier: Apache-2.0
include("${CMAKE_CURRENT_LIST_DIR}/../support/run.cmake")

run(output "${EXAMPLES}/03_own_model" "${DATA}" "${WORK}/run")
must_contain("${output}" "/model/widht: unknown key; did you mean 'width'[?]\n")
must_contain("${output}" "tiny_net: rank-1 [0-9.]+ %, mAP [0-9.]+ %\n")
file(READ "${WORK}/run/config.json" config)
string(JSON width GET "${config}" model width)
if(NOT width EQUAL 24)
  message(FATAL_ERROR "the saved configuration must hold the model's own option, got width ${width}")
endif()
