#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/test.sh [--nightly]
#
# Sets up what is missing, builds everything with warnings as errors and runs all tests through CTest.
#   --nightly  afterwards also all tests on shared libraries and under the address and undefined-behaviour sanitizers,
#              tokenizers and the sentence encoder with published vocabularies and weights (fetched), every network
#              in double against its authors' code, and scoring of more than 2^31 pairs
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

presets=(ci)
case "${1:-}" in
  "") ;;
  --nightly) presets=(ci shared asan) ;;
  -h | --help) usage; exit 0 ;;
  *) die "argument must be --nightly, --help or none, got '$1'" ;;
esac

"$root/scripts/setup.sh"
for preset in "${presets[@]}"; do
  configure_and_build "$preset"
  say "test ($preset)"
  (cd "$root" && ctest --preset "$preset")
done
if [ "${#presets[@]}" -gt 1 ]; then
  "$root/scripts/get_weights.sh" minilm_l6
  "$root/scripts/get_weights.sh" clip_bpe
  for room in text models metrics; do
    say "nightly cases ($room)"
    "$root/build/ci/tests/$room/test_$room" "[.nightly]"
  done
fi
