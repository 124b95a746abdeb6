#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/setup.sh
#
# Installs what a build of reid needs and nothing twice:
#   - the Debian packages named below that are missing (as root, or through sudo);
#   - LibTorch 2.11.0 into .deps/, pinned and checked by SHA-256 (about 560 MB to fetch, 1.1 GB on disk).
#
# REID_TORCH_ROOT=DIR  uses the LibTorch 2.11.0 in DIR (holds include/ and lib/) instead of fetching one.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case "${1:-}" in
  "") ;;
  -h | --help) usage; exit 0 ;;
  *) die "argument must be --help or none, got '$1'" ;;
esac

# What each is for: docs/dependencies.md.
packages=(
  g++ cmake ninja-build
  libfmt-dev libspdlog-dev nlohmann-json3-dev libcli11-dev
  libopencv-dev libhdf5-dev libjpeg-dev libpng-dev libtiff-dev zlib1g-dev libicu-dev
  catch2
)

lock=$root/scripts/libtorch.txt
deps=$root/.deps

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "packages must be installed by root or through sudo, got neither; missing: ${missing[*]}"
  fi
}

install_packages() {
  if ! command -v apt-get >/dev/null; then
    say "no apt-get here: install the equivalents of these yourself: ${packages[*]}"
    return
  fi
  missing=()
  local package
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "Debian packages to install: ${missing[*]}"
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# The version that a LibTorch folder says it has, or nothing.
torch_version() {
  [ -e "$1/lib/libtorch_cpu.so" ] || return 0
  awk '/^#define TORCH_VERSION_(MAJOR|MINOR|PATCH) / {v = v s $3; s = "."} END {print v}' \
    "$1/include/torch/headeronly/version.h" 2>/dev/null || true
}

fetch_libtorch() {
  [ "$(uname -sm)" = "Linux x86_64" ] ||
    die "machine must be Linux x86_64 to fetch LibTorch, got $(uname -sm): give REID_TORCH_ROOT"
  python3 -m pip --version >/dev/null 2>&1 || install_packages python3 python3-pip
  rm -rf "$deps"/new.*  # of a set-up that was killed
  work=$(mktemp -d "$deps/new.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say "fetching LibTorch 2.11.0 (about 560 MB, checked by SHA-256)"
  python3 -m pip download --quiet --progress-bar off --disable-pip-version-check --no-cache-dir \
    --no-deps --require-hashes --only-binary=:all: --implementation cp --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 --platform manylinux2014_x86_64 \
    --dest "$work/wheels" --requirement "$lock"
  say "unpacking LibTorch"
  python3 - "$work" <<'PY'
import pathlib, sys, zipfile
work = pathlib.Path(sys.argv[1])
for wheel in sorted((work / "wheels").glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            # Headers, libraries and licences; the Python package itself isn't needed.
            if name.startswith(("torch/include/", "torch/lib/", "nvidia/")) or "/licenses/" in name:
                archive.extract(name, work)
    wheel.unlink()
PY
  [ "$(torch_version "$work/torch")" = 2.11.0 ] || die "LibTorch must be 2.11.0, got something else from $lock"
  rm -rf "$deps/torch" "$deps/nvidia" "$deps/licenses"
  mkdir "$deps/licenses"
  mv "$work"/*.dist-info "$deps/licenses/"
  mv "$work/nvidia" "$deps/nvidia"
  mv "$work/torch" "$deps/torch"
  cp "$lock" "$deps/libtorch.txt"
}

install_libtorch() {
  if [ -n "${REID_TORCH_ROOT:-}" ]; then
    local version
    version=$(torch_version "$REID_TORCH_ROOT")
    [ "$version" = 2.11.0 ] ||
      die "REID_TORCH_ROOT must be a folder of LibTorch 2.11.0 (include/ and lib/), got '$REID_TORCH_ROOT'${version:+ with $version}"
    return
  fi
  mkdir -p "$deps"
  # Two set-ups at once: the second waits and then finds everything done.
  exec 9>"$deps/.lock"
  flock 9
  if [ -e "$deps/torch" ] && cmp -s "$lock" "$deps/libtorch.txt"; then return; fi
  if [ -e "$deps/torch" ] && [ ! -e "$deps/libtorch.txt" ]; then
    # Somebody put it there by hand: used if it fits, never replaced.
    [ "$(torch_version "$deps/torch")" = 2.11.0 ] ||
      die ".deps/torch must be LibTorch 2.11.0, got another version or a part of it; remove it and run again"
    return
  fi
  fetch_libtorch
}

install_packages "${packages[@]}"
install_libtorch
say "set up: everything that a build needs is here"
