#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/demo.sh
#
# From nothing to a compared table: sets up what is missing, builds the program, draws a synthetic data set in the
# layout of Market-1501, trains the methods of benchmarks/suites/demo.json on it and prints their scores with 95 %
# intervals. About ten minutes on two cores after the build. What is done already is not done again.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case "${1:-}" in
  "") ;;
  -h | --help) usage; exit 0 ;;
  *) die "argument must be --help or none, got '$1'" ;;
esac

"$root/scripts/setup.sh"
configure_and_build release reid_cli

cd "$root"
reid=build/release/bin/reid
output=runs/demo
if [ ! -d "$output/data" ]; then
  say "drawing the synthetic data set"
  rm -rf "$output/data.new"
  "$reid" datasets make market1501 --output "$output/data.new" --seed 1
  mv "$output/data.new" "$output/data"
fi
say "training and comparing"
"$reid" compare benchmarks/suites/demo.json --output "$output/results"

cat <<EOF

The report is $output/results/report.md (and .html), each run is in $output/results/runs.

Next, with real data:
  1. Get Market-1501 from its authors and check your copy:
       $reid datasets check market1501 --root DIR/Market-1501-v15.09.15
  2. Start from ImageNet weights (9 MB) and compare the same methods on it:
       ./scripts/get_weights.sh mobilenet_v2
       $reid compare benchmarks/suites/market1501_mobilenet_v2.json \\
         --set /data/root=DIR/Market-1501-v15.09.15 --output runs/market1501
  3. Your own pictures, one folder for each person: docs/datasets.md. Everything else: docs/getting-started.md.
EOF
