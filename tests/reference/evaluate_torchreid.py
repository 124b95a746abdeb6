#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fixtures/evaluate_torchreid.json: what torchreid's scorer says of inputs made by a formula.

    python tests/reference/evaluate_torchreid.py --rank PATH/torchreid/metrics/rank.py

PATH is a checkout of KaiyangZhou/deep-person-reid that the user has. The inputs are whole numbers whose squared
distances float32 holds exactly. The order of equal distances is undefined there: either seeds are searched until no two
of a query are equal, or ("ties") the features are so coarse that many are, and each distance that the scorer is given
tells them apart by the gallery's index, which is our rule. Junk (id -1) is dropped before, as torchreid's reader of
Market-1501 does. tests/metrics/parity_test.cpp makes the same inputs.
"""
import argparse
import importlib.util
import json
import os
import sys

import numpy as np

MASK = (1 << 64) - 1


def numbers(seed, count, below):
    """SplitMix64 from `seed`, each output modulo `below`."""
    state, out = seed, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        out.append((z ^ (z >> 31)) % below)
    return np.array(out, dtype=np.int64)


def case(seed, queries, gallery, identities, cameras, ties, junk, columns=4):
    largest = 5 if ties else 2048
    q = numbers(seed, queries * columns, largest).reshape(queries, columns)
    g = numbers(seed + 1, gallery * columns, largest).reshape(gallery, columns)
    # With junk: identities from 1, and in the gallery -1 (junk) and 0 (distractors) too.
    q_ids, g_ids = numbers(seed + 2, queries, identities), numbers(seed + 3, gallery, identities + 2 * junk)
    return (q, g, q_ids + junk, g_ids - junk, numbers(seed + 4, queries, cameras), numbers(seed + 5, gallery, cameras))


# queries, gallery, identities, cameras, ties, junk
SHAPES = ((60, 200, 12, 4, False, False), (25, 90, 40, 3, False, False), (40, 30, 6, 6, False, False), (7, 300, 3, 2, False, False),
          (50, 120, 10, 4, True, False), (30, 150, 60, 5, True, True), (45, 250, 15, 6, False, True), (1, 40, 2, 3, True, True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", required=True)
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("rank", options.rank)
    rank = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rank)
    cases = []
    for queries, gallery, identities, cameras, ties, junk in SHAPES:
        for seed in range(1000, 100000, 10):
            q, g, q_ids, g_ids, q_cams, g_cams = case(seed, queries, gallery, identities, cameras, ties, junk)
            kept = g_ids != -1
            g, g_ids, g_cams = g[kept], g_ids[kept], g_cams[kept]
            distances = ((q[:, None] - g[None]) ** 2).sum(2)
            equal = [len(g) - len(np.unique(row)) for row in distances]
            matched = ((q_ids[:, None] == g_ids[None]) & (q_cams[:, None] != g_cams[None])).any(1)
            if (min(equal) > 0 if ties else max(equal) == 0) and matched.any():
                break
        else:
            sys.exit("no such seed")
        told_apart = distances * len(g) + np.arange(len(g)) if ties else distances
        cmc, mean_ap = rank.evaluate_rank(told_apart.astype(np.float64), q_ids, g_ids, q_cams, g_cams, max_rank=20,
                                          use_cython=False)
        cases.append({"seed": seed, "queries": queries, "gallery": gallery, "identities": identities,
                      "cameras": cameras, "ties": ties, "junk": junk, "unmatched": int((~matched).sum()),
                      "rank1": float(cmc[0]), "rank5": float(cmc[4]), "rank10": float(cmc[9]),
                      "rank20": float(cmc[19]), "map": float(mean_ap)})
    target = os.path.join(os.path.dirname(__file__), "..", "fixtures", "evaluate_torchreid.json")
    with open(target, "w") as out:
        json.dump({"reference": "KaiyangZhou/deep-person-reid torchreid/metrics/rank.py, evaluate_rank, python version",
                   "numpy": np.__version__, "cases": cases}, out, indent=1)
        out.write("\n")


if __name__ == "__main__":
    main()
