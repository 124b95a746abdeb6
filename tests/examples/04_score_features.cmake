# SPDX-License-Identifier: Apache-2.0
include("${CMAKE_CURRENT_LIST_DIR}/../support/run.cmake")

run(output "${EXAMPLES}/04_score_features")
must_contain("${output}" "^queries 2, without match 0, gallery 5 \\(one junk picture dropped\\)
rank-1 100.00 %, mAP 91.67 % \\(step\\), 89.58 % \\(trapezoid\\)
ranking of query 1: 1 3 2 4\n$")
