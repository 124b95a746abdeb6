#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fixtures/rerank.json: what published re-ranking codes make of inputs by a formula.

    python tests/reference/rerank.py --torchreid DIR --fastreid DIR --transreid DIR

Each DIR is a checkout that the user has: KaiyangZhou/deep-person-reid, JDAI-CV/fast-reid, damo-cv/TransReID; the package faiss
is needed by the second. A feature is the centre of its identity plus noise, both whole numbers, whose squared
distances float32 holds; one column more keeps unit rows apart. Junk (id -1) is dropped before, as our scorer does. Scores are
torchreid's, of the re-ranked distances. tests/metrics/parity_test.cpp makes the same inputs.
"""
import argparse
import importlib.util
import json
import os
import sys
import types

import numpy as np
import torch

from evaluate_torchreid import numbers

COLUMNS = 6
SHAPES = (  # queries, gallery, identities, cameras, k1, k2, lambda
    (30, 90, 8, 3, 20, 6, 0.3), (12, 150, 20, 4, 7, 3, 0.3), (50, 40, 5, 2, 10, 1, 0.5),
    (5, 200, 4, 6, 30, 10, 0.1), (25, 60, 30, 3, 4, 2, 0.3))


def inputs(seed, queries, gallery, identities, cameras):
    """Gallery ids from -1 (junk) over 0 (a distractor) to `identities`; the last query id is in no gallery."""
    q_ids = numbers(seed + 2, queries, identities + 1) + 1
    g_ids = numbers(seed + 3, gallery, identities + 2) - 1
    centres = numbers(seed + 6, (identities + 3) * COLUMNS, 700).reshape(-1, COLUMNS)
    q = centres[q_ids + 1] + numbers(seed, queries * COLUMNS, 500).reshape(-1, COLUMNS)
    g = centres[g_ids + 1] + numbers(seed + 1, gallery * COLUMNS, 500).reshape(-1, COLUMNS)
    q_cams, g_cams = numbers(seed + 4, queries, cameras), numbers(seed + 5, gallery, cameras)
    keep = g_ids != -1
    return q.astype(np.float32), g[keep].astype(np.float32), q_ids, g_ids[keep], q_cams, g_cams[keep]


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def squared(a, b):
    return ((a[:, None].astype(np.float64) - b[None]) ** 2).sum(2).astype(np.float32)


def unit(x):
    return torch.nn.functional.normalize(torch.from_numpy(x), dim=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("torchreid", "fastreid", "transreid"):
        parser.add_argument("--" + name, required=True)
    options = parser.parse_args()
    rank = load(os.path.join(options.torchreid, "torchreid/metrics/rank.py"), "rank")
    torchreid = load(os.path.join(options.torchreid, "torchreid/utils/rerank.py"), "torchreid_rerank")
    ranklist = load(os.path.join(options.fastreid, "fastreid/evaluation/rerank.py"), "fastreid_rerank")
    aqe = load(os.path.join(options.fastreid, "fastreid/evaluation/query_expansion.py"), "fastreid_aqe")
    transreid = load(os.path.join(options.transreid, "utils/reranking.py"), "transreid_rerank")
    utils = types.ModuleType("fastreid_utils")
    utils.__path__ = [os.path.join(options.fastreid, "fastreid/utils")]
    sys.modules["fastreid_utils"] = utils
    compute = load(os.path.join(options.fastreid, "fastreid/utils/compute_dist.py"), "fastreid_utils.compute_dist")

    def cosine(a, b):
        return compute.compute_cosine_distance(torch.from_numpy(a), torch.from_numpy(b))

    def live(q, g, k1, k2, weight, metric):
        distance = cosine(q, g) if metric == "cosine" else squared(q, g)
        both = [unit(x) if metric == "cosine" else torch.from_numpy(x) for x in (q, g)]
        jaccard = compute.compute_jaccard_distance(torch.cat(both), k1=k1, k2=k2, search_option=3)
        return jaccard[:len(q), len(q):] * (1 - weight) + distance * weight

    def expanded(q, g, k):
        a, b = aqe.aqe(torch.from_numpy(q), torch.from_numpy(g), 1, k, 3.0)
        return cosine(a.numpy(), b.numpy())

    variants = (  # variant, metric, emulate_half, the code
        ("zhong_ranklist", "euclidean", False, "torchreid/utils/rerank.py",
         lambda q, g, k1, k2, w: torchreid.re_ranking(squared(q, g), squared(q, q), squared(g, g), k1, k2, w)),
        ("zhong_ranklist", "cosine", False, "fastreid/evaluation/rerank.py",
         lambda q, g, k1, k2, w: ranklist.re_ranking(cosine(q, g), cosine(q, q), cosine(g, g), k1, k2, w)),
        ("bot", "cosine", True, "TransReID utils/reranking.py",
         lambda q, g, k1, k2, w: transreid.re_ranking(unit(q), unit(g), k1, k2, w)),
        ("fastreid", "cosine", False, "fastreid/utils/compute_dist.py",
         lambda q, g, k1, k2, w: live(q, g, k1, k2, w, "cosine")),
        ("aqe_fastreid", "cosine", False, "fastreid/evaluation/query_expansion.py",
         lambda q, g, k1, k2, w: expanded(q, g, k1)))
    cases = []
    for variant, metric, half, source, code in variants:
        for number, (queries, gallery, identities, cameras, k1, k2, weight) in enumerate(SHAPES):
            seed = 5000 + 10 * number
            q, g, q_ids, g_ids, q_cams, g_cams = inputs(seed, queries, gallery, identities, cameras)
            distance = np.asarray(code(q, g, k1, k2, weight), dtype=np.float64)
            cmc, mean_ap = rank.evaluate_rank(distance, q_ids, g_ids, q_cams, g_cams, max_rank=5, use_cython=False)
            cases.append({"variant": variant, "metric": metric, "emulate_half": half, "code": source, "seed": seed,
                          "queries": queries, "gallery": gallery, "identities": identities, "cameras": cameras,
                          "k1": k1, "k2": k2, "lambda": weight, "rank1": float(cmc[0]), "rank5": float(cmc[4]),
                          "map": float(mean_ap), "first_row": [round(float(d), 7) for d in distance[0, :30]],
                          "mean": float(distance.mean())})
    target = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "rerank.json")
    with open(target, "w") as out:
        json.dump({"numpy": np.__version__, "torch": torch.__version__, "cases": cases}, out)
        out.write("\n")


if __name__ == "__main__":
    main()
