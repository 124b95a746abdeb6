#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times `reid metrics` and the peers that the user has installed on the same features in one run, and writes the table.

    python benchmarks/peers/performance.py --reid build/release/reid/cli/reid --write docs/performance.md

Peers: PyTorch (bare product, and eager scoring by a full sort), torchreid and fastreid (their scorers and re-ranking), faiss
(exact search). A peer that can't be imported is listed as not installed. Every job is a process of its own with the same number of
threads; its seconds are those of the work, without imports and reading, and its memory is the peak of the process beyond what it
held before the work; of `reid`, all that the program holds beyond the files of features. Jobs take turns, round by round, and the best round counts. Features are centres of identities plus noise
from a fixed seed.
"""
import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time

SIZES = {"small": (400, 2000, 256), "market": (3368, 15913, 2048), "msmt17": (11659, 82161, 2048), "distractors": (3368, 519000, 512)}
MISSING = 3  # exit status of a job whose package isn't installed


def make_features(folder, queries, gallery, columns):
    import numpy as np
    random = np.random.default_rng(0)
    identities = max(2, gallery // 21)
    centres = random.standard_normal((identities, columns), dtype=np.float32)
    for name, rows in (("query", queries), ("gallery", gallery)):
        ids = random.integers(0, identities, rows)
        features = centres[ids] + random.standard_normal((rows, columns), dtype=np.float32)
        np.save(os.path.join(folder, name + ".npy"), features.astype(np.float32))
        np.save(os.path.join(folder, name + "_ids.npy"), ids + 1)
        np.save(os.path.join(folder, name + "_cams.npy"), random.integers(0, 6, rows))


def load(folder):
    import numpy as np
    return {name: np.load(os.path.join(folder, name + ".npy"))
            for name in ("query", "gallery", "query_ids", "gallery_ids", "query_cams", "gallery_cams")}


def squared(a, b):
    import torch
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    return torch.addmm(a.square().sum(1, True) + b.square().sum(1), a, b.t(), alpha=-2).numpy()


def torch_product(data):
    import torch
    q, g = torch.from_numpy(data["query"]), torch.from_numpy(data["gallery"])
    return lambda: torch.mm(q, g.t()), None


def torch_square_product(data):
    import numpy as np
    import torch
    x = torch.from_numpy(np.concatenate([data["query"], data["gallery"]]))

    def run():
        for begin in range(0, len(x), 1024):
            torch.mm(x[begin:begin + 1024], x.t())
    return run, None


def torch_eager(data):
    import torch
    t = {name: torch.from_numpy(value) for name, value in data.items()}

    def run():
        distance = torch.from_numpy(squared(data["query"], data["gallery"]))
        total, count = 0.0, 0
        for i, row in enumerate(distance):
            order = row.argsort(stable=True)
            same = t["gallery_ids"][order] == t["query_ids"][i]
            hits = same[~(same & (t["gallery_cams"][order] == t["query_cams"][i]))]
            if hits.any():
                places = hits.nonzero().view(-1) + 1
                total += float((torch.arange(1, len(places) + 1) / places).mean())
                count += 1
        return total / count
    return run, None


def torchreid_scorer(data):
    import torchreid
    from torchreid.metrics import evaluate_rank
    return lambda: evaluate_rank(squared(data["query"], data["gallery"]), data["query_ids"], data["gallery_ids"],
                                 data["query_cams"], data["gallery_cams"])[1], torchreid.__version__


def torchreid_rerank(data):
    import torchreid
    from torchreid.metrics import evaluate_rank
    from torchreid.utils import re_ranking

    def run():
        q, g = data["query"], data["gallery"]
        distance = re_ranking(squared(q, g), squared(q, q), squared(g, g))
        return evaluate_rank(distance, data["query_ids"], data["gallery_ids"], data["query_cams"], data["gallery_cams"])[1]
    return run, torchreid.__version__


def fastreid_rerank(data):
    import faiss
    import torch
    from fastreid.utils.compute_dist import build_dist, compute_jaccard_distance

    def run():
        q, g = (torch.nn.functional.normalize(torch.from_numpy(data[name]), dim=1) for name in ("query", "gallery"))
        jaccard = compute_jaccard_distance(torch.cat([q, g]), k1=20, k2=6, search_option=3)[:len(q), len(q):]
        return 0.7 * jaccard + 0.3 * build_dist(q, g, "cosine")
    return run, "faiss " + faiss.__version__


def faiss_search(data):
    import faiss

    def run():
        index = faiss.IndexFlatL2(data["gallery"].shape[1])
        index.add(data["gallery"])
        index.search(data["query"], 50)
    return run, faiss.__version__


def reid_job(*extra):
    return ["--metric", "euclidean", "--protocol", "generic_camera", *extra]


# name, what it does, the function of a peer or the arguments of `reid metrics`, whether the re-ranking product is its measure
JOBS = (
    ("product", "PyTorch, bare product Q x G", torch_product, False),
    ("square", "PyTorch, bare product N x N, in pieces", torch_square_product, True),
    ("reid", "reid metrics", reid_job(), False),
    ("reid_top", "reid metrics --ranking, first 50", reid_job("--ranking", "TOP.npy", "--top", "50"), False),
    ("eager", "PyTorch, full sort of each query", torch_eager, False),
    ("torchreid", "torchreid, evaluate_rank", torchreid_scorer, False),
    ("faiss", "faiss, IndexFlatL2, first 50", faiss_search, False),
    ("reid_zhong", "reid metrics --rerank zhong", reid_job("--rerank", "zhong"), True),
    ("torchreid_rerank", "torchreid, re_ranking", torchreid_rerank, True),
    ("reid_fastreid", "reid metrics --rerank fastreid --metric cosine",
     ["--metric", "cosine", "--protocol", "generic_camera", "--rerank", "fastreid"], True),
    ("fastreid_rerank", "fastreid, compute_jaccard_distance with faiss, not scored", fastreid_rerank, True),
)


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_peer(name, folder, threads):
    """A job in this process: prints one JSON object."""
    try:
        import torch
        torch.set_num_threads(threads)
        data = load(folder)
        run, version = next(job for job in JOBS if job[0] == name)[2](data)
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(MISSING)
    before, start = peak_mib(), time.perf_counter()
    with torch.no_grad():
        run()
    print(json.dumps({"seconds": time.perf_counter() - start, "mib": peak_mib() - before, "version": version or torch.__version__}))


def run_reid(program, arguments, folder, threads):
    path = lambda name: os.path.join(folder, name + ".npy")
    result = os.path.join(folder, "result.json")
    command = [program, "metrics", "--threads", str(threads), "--json", result]
    for name in ("query", "gallery"):
        command += ["--" + name, path(name), f"--{name}-ids", path(name + "_ids"), f"--{name}-cams", path(name + "_cams")]
    command += [os.path.join(folder, one) if one.endswith(".npy") else one for one in arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)}: status {status}")
    held = sum(os.path.getsize(path(name)) for name in ("query", "gallery")) / 2**20  # mapped, and read at least once
    with open(result) as file:
        return {"seconds": json.load(file)["seconds"]["ranking"], "mib": usage.ru_maxrss / 1024 - held, "version": None}


def measure(options, folder):
    best = {}
    environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads), MKL_NUM_THREADS=str(options.threads))
    for _ in range(options.rounds):
        for name, _, work, _ in JOBS:
            if name not in options.jobs or best.get(name, {}).get("missing"):
                continue
            if isinstance(work, list):
                one = run_reid(options.reid, work, folder, options.threads)
            else:
                done = subprocess.run([sys.executable, os.path.abspath(__file__), "--peer", name, "--folder", folder, "--threads",
                                       str(options.threads)], env=environment, capture_output=True, text=True)
                if done.returncode == MISSING:
                    best[name] = {"missing": True}
                    continue
                if done.returncode != 0:
                    sys.exit(f"{name}: {done.stderr}")
                one = json.loads(done.stdout.splitlines()[-1])
            if name not in best or one["seconds"] < best[name]["seconds"]:
                best[name] = one
    return best


def processor():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.processor()


def table(options, results):
    lines = ["# Speed against peers", "",
             "Written by `benchmarks/peers/performance.py`; not edited by hand. Seconds of the best of "
             f"{options.rounds} rounds in which the jobs take turns; memory is the peak beyond the features, in MiB (of reid: of the whole program).", "",
             f"- date {datetime.date.today().isoformat()}, {processor()}, {os.cpu_count()} processors, "
             f"{options.threads} thread{'s' if options.threads > 1 else ''}, load {os.getloadavg()[0]:.1f} at the end",
             f"- Python {platform.python_version()}, {platform.system()} {platform.machine()}",
             f"- `python benchmarks/peers/performance.py {' '.join(options.shown)}`", ""]
    for size, best in results.items():
        q, g, d = SIZES[size]
        lines += [f"## {size}: {q} queries, gallery of {g}, {d} columns", "", "| job | version | seconds | of the bare product | MiB |",
                  "|---|---|---|---|---|"]
        for name, title, _, square in JOBS:
            one = best.get(name)
            if one is None:
                continue
            if one.get("missing"):
                lines.append(f"| {title} | not installed | | | |")
                continue
            bare = best.get("square" if square else "product", {}).get("seconds")
            ratio = f"{one['seconds'] / bare:.2f}" if bare else ""
            lines.append(f"| {title} | {one['version'] or 'this one'} | {one['seconds']:.2f} | {ratio} | {one['mib']:.0f} |")
        lines.append("")
    return "\n".join(lines)


def main():
    names = [job[0] for job in JOBS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reid", default="build/release/reid/cli/reid", help="the program")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["market"])
    parser.add_argument("--jobs", nargs="+", choices=names, default=names)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", help="file for the table; standard output without")
    parser.add_argument("--peer", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return run_peer(options.peer, options.folder, options.threads)
    options.shown = [os.path.relpath(one) if os.path.isabs(one) else one for one in sys.argv[1:]]
    results = {}
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            make_features(folder, *SIZES[size])
            results[size] = measure(options, folder)
    text = table(options, results)
    if not options.write:
        return print(text)
    with open(options.write + ".tmp", "w") as file:
        file.write(text)
    os.replace(options.write + ".tmp", options.write)


if __name__ == "__main__":
    main()
