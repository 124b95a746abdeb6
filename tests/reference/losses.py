# SPDX-License-Identifier: Apache-2.0
"""Makes tests/fixtures/losses_v1.json: values and gradients of the reference losses.

Usage: python tests/reference/losses.py --torchreid DIR --transreid DIR > tests/fixtures/losses_v1.json

DIR are checkouts of KaiyangZhou/deep-person-reid and damo-cv/TransReID; the inputs come from a formula, so that
nothing depends on a generator of random numbers.
"""
import argparse
import importlib.util
import json
import math
import pathlib

import torch


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wave(rows, columns, scale, phase):
    """Values without a pattern that a mistake in indexing could hide behind."""
    return torch.tensor([[scale * math.sin(1.7 * i * i + 0.9 * j + 0.31 * i * j + phase) for j in range(columns)]
                         for i in range(rows)], dtype=torch.float64).float()


def case(function, tensor):
    leaf = tensor.clone().requires_grad_(True)
    loss = function(leaf)
    loss.backward()
    return {"loss": loss.item(), "gradient": leaf.grad.flatten().tolist()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torchreid", required=True, type=pathlib.Path)
    parser.add_argument("--transreid", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    torchreid_triplet = load(arguments.torchreid / "torchreid/losses/hard_mine_triplet_loss.py", "a").TripletLoss
    torchreid_entropy = load(arguments.torchreid / "torchreid/losses/cross_entropy_loss.py", "b").CrossEntropyLoss
    transreid_triplet = load(arguments.transreid / "loss/triplet_loss.py", "c").TripletLoss

    rows, width, classes = 12, 7, 5
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 4, 4, 4])
    embeddings = wave(rows, width, 1.5, 0.2)
    logits = wave(rows, classes, 3.0, 0.7)

    def entropy(smoothing):
        module = torchreid_entropy(classes, eps=smoothing, use_gpu=False, label_smooth=smoothing > 0)
        return lambda x: module(x, labels)

    out = {
        "torch": torch.__version__,
        "labels": labels.tolist(),
        "embeddings": embeddings.flatten().tolist(),
        "logits": logits.flatten().tolist(),
        "width": width,
        "classes": classes,
        "cases": {
            "torchreid_triplet_0.3": case(lambda x: torchreid_triplet(0.3)(x, labels), embeddings),
            "torchreid_triplet_1.2": case(lambda x: torchreid_triplet(1.2)(x, labels), embeddings),
            "transreid_triplet_0.3": case(lambda x: transreid_triplet(0.3)(x, labels)[0], embeddings),
            "transreid_triplet_soft": case(lambda x: transreid_triplet()(x, labels)[0], embeddings),
            "torchreid_cross_entropy_0.0": case(entropy(0.0), logits),
            "torchreid_cross_entropy_0.1": case(entropy(0.1), logits),
        },
    }
    print(json.dumps(out))


if __name__ == "__main__":
    main()
