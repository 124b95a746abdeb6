# SPDX-License-Identifier: Apache-2.0
include("${CMAKE_CURRENT_LIST_DIR}/../support/run.cmake")

file(REMOVE_RECURSE "${DATA}")
run(output "${BIN}/reid" datasets make market1501 --output "${DATA}" --identities 24 --images-per-identity 8
    --seed 1 --quiet)
