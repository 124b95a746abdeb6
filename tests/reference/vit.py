# SPDX-License-Identifier: Apache-2.0
"""Makes tests/fixtures/models/vit*.json from TransReID's vision transformer.

    python tests/reference/vit.py --transreid CLONE

CLONE is a clone of damo-cv/TransReID. The network is filled by formula (formula.py) and computes in double. Small
networks (as wide as needed for several heads) give features, the neck's features and gradients of one training step
without stochastic depth; tables of positions are resized as `resize_pos_embed` does.
"""
import argparse
import collections.abc
import functools
import importlib.util
import pathlib
import sys
import types

import torch

import formula

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "models"


def load(clone):
    # The module imports container_abcs from a part of PyTorch that is gone.
    six = types.ModuleType("torch._six")
    six.container_abcs = collections.abc
    sys.modules["torch._six"] = six
    spec = importlib.util.spec_from_file_location("reference_vit", clone / "model/backbones/vit_pytorch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network(vit, name, height, width, stride, size):
    net = vit.TransReID(img_size=(height, width), patch_size=16, stride_size=stride, qkv_bias=True, drop_path_rate=0.0,
                        norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6), num_classes=0, **size)
    neck = torch.nn.BatchNorm1d(size["embed_dim"])
    neck.bias.requires_grad_(False)
    formula.fill(net)
    formula.fill(neck, lambda parameter: "bottleneck." + parameter)
    net.double()
    neck.double()
    formula.momentum_one(neck)
    images = formula.images("train", 4, height, width).double()
    tensors = {}
    net.train()
    neck.train()
    feature = net(images)
    after = neck(feature)
    weight = 2 * formula.uniform("weight of the sum", feature.shape) - 1
    ((after * weight).sum() + (feature * weight.flip(1)).sum()).backward()
    tensors["train.embedding"], tensors["train.neck"] = feature, after
    named = list(net.named_parameters()) + [("bottleneck.weight", neck.weight)]
    for parameter, value in named:
        # Of a large gradient every few entries, so that the fixture stays small.
        flat = value.grad.flatten()
        step = max(1, flat.numel() // 64)
        tensors["gradient of " + parameter] = flat[::step]
    net.eval()
    neck.eval()
    with torch.no_grad():
        feature = net(formula.images("test", 2, height, width).double())
        tensors["eval.embedding"], tensors["eval.neck"] = feature, neck(feature)
    settings = {"height": height, "width": width, "stride": stride, "tokens": net.pos_embed.shape[1],
                "options": {"width": size["embed_dim"], "depth": size["depth"], "heads": size["num_heads"],
                            "mlp_ratio": size["mlp_ratio"]}}
    formula.write(FIXTURES / (name + ".json"), "damo-cv/TransReID model/backbones/vit_pytorch.py", tensors, settings, 12)


def positions(vit):
    tensors = {}
    table = (2 * formula.uniform("pos_embed", (1, 1 + 14 * 14, 4)) - 1)
    for height in (256, 384):
        for stride in (16, 12):
            rows, columns = (height - 16) // stride + 1, (128 - 16) // stride + 1
            new = torch.zeros(1, 1 + rows * columns, 4)
            tensors[f"{height} {stride}"] = vit.resize_pos_embed(table, new, rows, columns)
    formula.write(FIXTURES / "vit_positions.json", "damo-cv/TransReID resize_pos_embed", tensors, {"width": 4}, 12)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transreid", type=pathlib.Path, required=True)
    vit = load(parser.parse_args().transreid)
    small = {"embed_dim": 32, "depth": 3, "num_heads": 4, "mlp_ratio": 4.0}
    network(vit, "vit_stride16", 256, 128, 16, small)
    network(vit, "vit_stride12", 256, 128, 12, small)
    positions(vit)


if __name__ == "__main__":
    main()
