# SPDX-License-Identifier: Apache-2.0
include("${CMAKE_CURRENT_LIST_DIR}/../support/run.cmake")

file(GLOB queries "${DATA}/query/*.jpg")
list(LENGTH queries count)
run(output "${EXAMPLES}/01_extract_embeddings" "${DATA}/query" osnet_x0_25 "${WORK}/features.npy")
must_contain("${output}" "^osnet_x0_25: 0.20 M parameters, input 256x128, feature (before|after) BN neck\n")
must_contain("${output}" "\n${count} pictures -> features \\[${count}, 512\\], written to ")
file(SIZE "${WORK}/features.npy" size)
math(EXPR expected "128 + ${count} * 512 * 4")
if(NOT size EQUAL expected)
  message(FATAL_ERROR "features.npy must have ${expected} bytes, got ${size}")
endif()

run_to_fail(output "${EXAMPLES}/01_extract_embeddings" "${DATA}/query" osnet_x0_26 "${WORK}/none.npy")
must_contain("${output}" "did you mean 'osnet_x0_25'")
