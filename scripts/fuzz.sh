#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/fuzz.sh [SECONDS [TARGET...]]
#
# Builds the libFuzzer targets (clang, address and undefined-behaviour sanitizers) and runs each for SECONDS (300), one after
# the other: weights npy json lists picture mat5 cuhk03 captions wordpiece clip_bpe sentence. Corpora grow in
# build/fuzz/corpus; an input that breaks a reader is written to build/fuzz/found and the status is 1: add it to
# tests/fuzz/found/<target>/, where the ordinary tests replay it.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case "${1:-}" in -h | --help) usage; exit 0 ;; esac
seconds=${1:-300}
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || die "seconds must be a positive number, got '$seconds'"
known=(weights npy json lists picture mat5 cuhk03 captions wordpiece clip_bpe sentence)
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=("${known[@]}")
for target in "${targets[@]}"; do
  [[ " ${known[*]} " == *" $target "* ]] || die "target must be one of ${known[*]}, got '$target'"
done
command -v clang++ >/dev/null || die "clang++ must be installed (Debian: clang), got none"

build=$root/build/fuzz
configure_and_build fuzz fuzzers
programs=$build/tests/fuzz
"$programs/fuzz_seeds" "$build/seeds" "${targets[@]}"
status=0
for target in "${targets[@]}"; do
  mkdir -p "$build/corpus/$target" "$build/found/$target"
  corpora=("$build/corpus/$target" "$build/seeds/$target")
  if [ -d "$root/tests/fuzz/found/$target" ]; then corpora+=("$root/tests/fuzz/found/$target"); fi
  options=(-max_len=16384)
  # HDF5's smallest file is larger, and it loses memory where it gives up a damaged one; it asks for what a damaged file claims
  # and gives up when there is none.
  sanitizer=
  if [ "$target" = cuhk03 ]; then
    options=(-max_len=65536 -malloc_limit_mb=300000000)
    sanitizer=allocator_may_return_null=1:detect_leaks=0
  fi
  say "$target for $seconds s"
  ASAN_OPTIONS=$sanitizer TMPDIR=$([ -d /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}") \
    "$programs/fuzz_$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 "${options[@]}" -print_final_stats=1 \
    -verbosity=1 -artifact_prefix="$build/found/$target/" "${corpora[@]}" 2>"$build/$target.log" || status=1
  grep -E '^(Done|stat::|SUMMARY|==[0-9]+== ?ERROR)' "$build/$target.log" || true
done
exit $status
