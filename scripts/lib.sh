# SPDX-License-Identifier: Apache-2.0
# Shared by the scripts beside it: sourced, never run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '== %s\n' "$*" >&2; }

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 2
}

# Prints the comment at the head of a script as its help.
usage() { sed -n '/^# Usage:/,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

# One compiler process for each core, fewer where memory is small: a source file of LibTorch's needs about 2 GiB.
build_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemTotal:/ {print int($2 / 2097152)}' /proc/meminfo)
  if [ "$memory" -lt "$cores" ]; then cores=$memory; fi
  if [ "$cores" -lt 1 ]; then cores=1; fi
  echo "$cores"
}

# configure_and_build PRESET [TARGET...]
configure_and_build() {
  local preset=$1
  shift
  local torch=()
  if [ -n "${REID_TORCH_ROOT:-}" ]; then torch=("-DREID_TORCH_ROOT=$REID_TORCH_ROOT"); fi
  say "configure ($preset)"
  (cd "$root" && cmake --preset "$preset" "${torch[@]}")
  say "build ($preset)"
  cmake --build "$root/build/$preset" --parallel "$(build_jobs)" ${1:+--target "$@"}
}
