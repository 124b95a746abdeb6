# SPDX-License-Identifier: Apache-2.0
# A short training with x_reid through the program, and the sheet of its attention.
include("${CMAKE_CURRENT_LIST_DIR}/../support/run.cmake")

file(WRITE "${WORK}/experiment.json" [=[{
  "seed": 1,
  "data": {"name": "market1501", "root": "somewhere"},
  "model": {"name": "vit_tiny", "width": 48, "heads": 3, "depth": 2, "preprocess": {"height": 64, "width": 32}},
  "objective": {"name": "x_reid", "ramp_epochs": 0, "teacher_ema": 0.9},
  "optimizer": {"name": "adamw", "rate": 0.001},
  "schedule": {"name": "cosine", "warmup_epochs": 0, "first_epoch": 0},
  "sampler": {"name": "identity_bot", "identities": 4, "images": 4},
  "augment": ["flip"],
  "epochs": 2
}
]=])
run(output "${BIN}/reid" train --config "${WORK}/experiment.json" --set "/data/root=${DATA}" --output "${WORK}/run" --quiet)
file(READ "${WORK}/run/log.jsonl" log)
foreach(part r_pos inter_attention intra_kl intra_feature anchors)
  must_contain("${log}" "\"${part}\"")
endforeach()

# Nothing of the objective is deployed.
run(output "${BIN}/reid" weights inspect "${WORK}/run/model.safetensors")
must_contain("${output}" "blocks.1.attn.qkv.weight")
if(output MATCHES "cross|classifier|teacher")
  message(FATAL_ERROR "deployed weights must be the plain network's, got ${output}")
endif()

file(GLOB pictures "${DATA}/query/*.jpg" "${DATA}/query/*.png")
list(SORT pictures)
list(GET pictures 0 first)
list(GET pictures -1 last)
list(GET pictures 1 second)
run(output "${EXAMPLES}/05_attention_overlay" "${WORK}/run/checkpoint.safetensors" "${first}" "${second}" "${last}"
    "${WORK}/sheet.ppm")
must_contain("${output}" "attention to the positive 0\\.[0-9]+, to the negative 0\\.[0-9]+\n64x128 pixels written")
file(SIZE "${WORK}/sheet.ppm" size)
if(NOT size EQUAL 24590)  # 14 bytes of head, 64 x 128 x 3
  message(FATAL_ERROR "sheet must have 24590 bytes, got ${size}")
endif()
