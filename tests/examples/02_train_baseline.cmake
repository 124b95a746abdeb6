# SPDX-License-Identifier: Apache-2.0
include("${CMAKE_CURRENT_LIST_DIR}/../support/run.cmake")

run(output "${EXAMPLES}/02_train_baseline" "${DATA}" "${WORK}/run" 10)
must_contain("${output}" "rank-1 [0-9.]+ %, mAP [0-9.]+ % under market1501 \\([0-9]+ queries, 95 % interval of rank-1 [0-9.]+ to [0-9.]+ %\\)\n")
foreach(file config.json log.jsonl model.safetensors checkpoint.safetensors done.json)
  if(NOT EXISTS "${WORK}/run/${file}")
    message(FATAL_ERROR "run must hold ${file}, got none")
  endif()
endforeach()

# Four epochs more than chance: a match is among the first five for most queries.
# Random features score 9.2 % on this set (six draws, standard deviation 1.2).
string(REGEX MATCH "mAP ([0-9]+)" found "${output}")
if(CMAKE_MATCH_1 LESS 14)
  message(FATAL_ERROR "mAP must be above chance after ten epochs, got ${found}")
endif()
