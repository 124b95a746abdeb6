# SPDX-License-Identifier: Apache-2.0
# A short training of a dual encoder through the program, and a search by sentence: the example's and the program's agree.
include("${CMAKE_CURRENT_LIST_DIR}/../support/run.cmake")

run(output "${BIN}/reid" datasets make cuhk_pedes --output "${WORK}/data" --identities 12 --seed 1 --quiet)
set(words "[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
foreach(word a an the man woman person is with and in wearing red green blue black white yellow gray bag hat shirt trousers)
  string(APPEND words "${word}\n")
endforeach()
file(WRITE "${WORK}/vocab.txt" "${words}")
file(WRITE "${WORK}/experiment.json" [=[{
  "seed": 1,
  "data": {"name": "cuhk_pedes", "root": "somewhere"},
  "model": {
    "name": "dual_encoder", "width": 16,
    "image": {"name": "vit_tiny", "width": 24, "heads": 3, "depth": 1, "preprocess": {"height": 64, "width": 32}},
    "text": {"encoder": {"name": "embedding", "width": 16}, "head": "pool", "tokenizer": {"vocab": "somewhere"}, "length": 32,
             "frozen": false}
  },
  "objective": "image_text",
  "optimizer": {"name": "adam", "rate": 0.001},
  "schedule": {"name": "cosine", "warmup_epochs": 0, "first_epoch": 0},
  "sampler": {"name": "random", "batch": 8},
  "augment": ["flip"],
  "epochs": 1
}
]=])
run(output "${BIN}/reid" train --config "${WORK}/experiment.json" --set "/data/root=${WORK}/data"
    --set "/model/text/tokenizer/vocab=${WORK}/vocab.txt" --output "${WORK}/run" --quiet)

set(sentence "a woman with a red bag")
run(output "${EXAMPLES}/06_search_by_sentence" "${WORK}/run" "${WORK}/data" "${sentence}")
must_contain("${output}" "^[0-9]+ pictures, model dual_encoder\n 1  -?[0-9.]+  [^\n]+\n 2  ")
string(REGEX MATCH " 1  -?[0-9.]+  ([^\n]+)\n" first "${output}")
set(best "${CMAKE_MATCH_1}")
run(output "${BIN}/reid" search --run "${WORK}/run" --input "${WORK}/data" --text "${sentence}" --top 3
    --output "${WORK}/sheet.jpg" --quiet)
string(FIND "${output}" "text: ${sentence}\n    1  " head)
string(FIND "${output}" "  ${best}\n    2  " place)
if(NOT head EQUAL 0 OR place EQUAL -1)
  message(FATAL_ERROR "reid search must find ${best} first, got:\n${output}")
endif()
if(NOT EXISTS "${WORK}/sheet.jpg")
  message(FATAL_ERROR "the contact sheet must be there, got none")
endif()

run_to_fail(output "${EXAMPLES}/06_search_by_sentence" "${WORK}/nowhere" "${WORK}/data" "${sentence}")
must_contain("${output}" "nowhere")
