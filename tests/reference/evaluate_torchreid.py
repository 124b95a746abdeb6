#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fixtures/evaluate_torchreid.json: what torchreid's scorer says of inputs made by a formula.

    python tests/reference/evaluate_torchreid.py --rank PATH/torchreid/metrics/rank.py

PATH is a checkout of KaiyangZhou/deep-person-reid that the user has. The inputs are whole numbers whose squared
distances float32 holds exactly; seeds are searched until no two distances of a query are equal, because the order
of equal ones is undefined there. tests/metrics/parity_test.cpp makes the same inputs.
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


def case(seed, queries, gallery, identities, cameras, columns=4, largest=2048):
    q = numbers(seed, queries * columns, largest).reshape(queries, columns)
    g = numbers(seed + 1, gallery * columns, largest).reshape(gallery, columns)
    return (q, g, numbers(seed + 2, queries, identities), numbers(seed + 3, gallery, identities),
            numbers(seed + 4, queries, cameras), numbers(seed + 5, gallery, cameras))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", required=True)
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("rank", options.rank)
    rank = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rank)
    cases = []
    for queries, gallery, identities, cameras in ((60, 200, 12, 4), (25, 90, 40, 3), (40, 30, 6, 6), (7, 300, 3, 2)):
        for seed in range(1000, 100000, 10):
            q, g, q_ids, g_ids, q_cams, g_cams = case(seed, queries, gallery, identities, cameras)
            distances = ((q[:, None] - g[None]) ** 2).sum(2)
            if all(len(np.unique(row)) == gallery for row in distances):
                break
        else:
            sys.exit("no seed without ties")
        cmc, mean_ap = rank.evaluate_rank(distances.astype(np.float64), q_ids, g_ids, q_cams, g_cams, max_rank=20,
                                          use_cython=False)
        cases.append({"seed": seed, "queries": queries, "gallery": gallery, "identities": identities,
                      "cameras": cameras, "rank1": float(cmc[0]), "rank5": float(cmc[4]), "rank10": float(cmc[9]),
                      "rank20": float(cmc[19]), "map": float(mean_ap)})
    target = os.path.join(os.path.dirname(__file__), "..", "fixtures", "evaluate_torchreid.json")
    with open(target, "w") as out:
        json.dump({"reference": "KaiyangZhou/deep-person-reid torchreid/metrics/rank.py, evaluate_rank, python version",
                   "numpy": np.__version__, "cases": cases}, out, indent=1)
        out.write("\n")


if __name__ == "__main__":
    main()
