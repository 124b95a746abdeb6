#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times torchreid, installed by the user, on the job of `reid evaluate`: pictures to scores on Market-1501.

    python benchmarks/peers/evaluate_torchreid.py --root DIR --model osnet_x0_25 --weights W.pth --threads 2

DIR holds query/ and bounding_box_test/. The network, the transforms, the DataLoader and the scorer are torchreid's
own; only the lists of files are read here, because its data-set class wants the set at a fixed place. Prints one
JSON object: seconds of each part and of the whole, rank-1 and mAP.
"""
import argparse
import glob
import json
import os
import re
import time


def samples(folder):
    rows = []
    for path in sorted(glob.glob(os.path.join(folder, "*.jpg"))):
        match = re.match(r"([-\d]+)_c(\d)", os.path.basename(path))
        identity, camera = int(match.group(1)), int(match.group(2))
        if identity != -1:
            rows.append((path, identity, camera - 1))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--model", default="osnet_x0_25")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--threads", type=int, default=2, help="threads of the network and loader processes")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--limit", type=int, default=0, help="use only the first N identities of each part")
    options = parser.parse_args()

    import torch
    import torchreid
    from PIL import Image
    from torchreid.metrics import compute_distance_matrix, evaluate_rank

    torch.set_num_threads(options.threads)
    _, transform = torchreid.data.transforms.build_transforms(256, 128)
    start = time.perf_counter()
    model = torchreid.models.build_model(options.model, num_classes=1, pretrained=False)
    torchreid.utils.load_pretrained_weights(model, options.weights)
    model.eval()

    class Pictures(torch.utils.data.Dataset):
        def __init__(self, rows):
            self.rows = rows

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, index):
            path, identity, camera = self.rows[index]
            with Image.open(path) as picture:
                return transform(picture.convert("RGB")), identity, camera

    def features(rows):
        loader = torch.utils.data.DataLoader(Pictures(rows), batch_size=options.batch, num_workers=options.threads)
        parts, identities, cameras = [], [], []
        with torch.no_grad():
            for images, ids, cams in loader:
                parts.append(model(images))
                identities.append(ids)
                cameras.append(cams)
        return torch.cat(parts), torch.cat(identities).numpy(), torch.cat(cameras).numpy()

    query = samples(os.path.join(options.root, "query"))
    gallery = samples(os.path.join(options.root, "bounding_box_test"))
    if options.limit:
        kept = sorted({row[1] for row in query})[: options.limit]
        query, gallery = ([row for row in part if row[1] in kept] for part in (query, gallery))
    query_features, query_ids, query_cameras = features(query)
    gallery_features, gallery_ids, gallery_cameras = features(gallery)
    extracted = time.perf_counter()
    distances = compute_distance_matrix(query_features, gallery_features, "euclidean").numpy()
    cmc, mean_ap = evaluate_rank(distances, query_ids, gallery_ids, query_cameras, gallery_cameras, use_cython=False)
    scored = time.perf_counter()
    print(json.dumps({
        "peer": "torchreid", "version": torchreid.__version__, "torch": torch.__version__, "threads": options.threads,
        "pictures": len(query) + len(gallery), "seconds": {"features": extracted - start, "ranking": scored - extracted,
                                                           "whole": scored - start},
        "pictures_per_second": (len(query) + len(gallery)) / (scored - start),
        "rank1": float(cmc[0]), "map": float(mean_ap)}))


if __name__ == "__main__":
    main()
