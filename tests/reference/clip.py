# SPDX-License-Identifier: Apache-2.0
"""Makes tests/fixtures/models/clip_*.json from IRRA's copy of CLIP.

    python tests/reference/clip.py --irra CLONE

CLONE is a clone of anosorae/IRRA. Towers are filled by formula (formula.py) under our names, which are theirs, and compute
in double. Small ones give features, hidden states and gradients; of the text tower one has the published sizes but for
its vocabulary.
"""
import argparse
import importlib.util
import pathlib
import sys
import types

import torch

import formula

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "models"
MADE_BY = "anosorae/IRRA model/clip_model.py@cfc2378"


def load(clone):
    # Only its downloads use tqdm.
    sys.modules.setdefault("tqdm", types.SimpleNamespace(tqdm=None))
    spec = importlib.util.spec_from_file_location("reference_clip", clone / "model/clip_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def every_few(gradient):
    flat = gradient.flatten()
    return flat[::max(1, flat.numel() // 48)]


def write(name, tensors, settings):
    formula.write(FIXTURES / (name + ".json"), MADE_BY, tensors, settings, 12)


def text(clip, name, size, lengths, gradients):
    net = clip.CLIP(embed_dim=size["projection"], image_resolution=(32, 32), vision_layers=1, vision_width=64,
                    vision_patch_size=32, stride_size=32, context_length=size["positions"], vocab_size=size["vocabulary"],
                    transformer_width=size["width"], transformer_heads=size["heads"], transformer_layers=size["layers"])
    formula.fill(net)
    net.double().eval()
    hidden = []
    net.ln_final.register_forward_hook(lambda module, arguments, result: hidden.append(result))
    # The end token has the largest id, what follows is 0.
    n, length, end = len(lengths), size["positions"], size["vocabulary"] - 1
    tokens = (formula.uniform(name + " tokens", (n, length)) * (end - 1)).long() + 1
    for row, count in enumerate(lengths):
        tokens[row, count - 1] = end
        tokens[row, count:] = 0
    # LayerNorm there computes in single precision.
    for module in net.modules():
        if isinstance(module, clip.LayerNorm):
            module.__class__ = torch.nn.LayerNorm
    projected = net.encode_text(tokens)
    feature = projected[torch.arange(n), tokens.argmax(dim=-1)]
    tensors = {"tokens": tokens.double(), "feature": feature}
    if gradients:
        tensors["hidden"], tensors["projected"] = hidden[0], projected
        weight = 2 * formula.uniform("weight of the sum", feature.shape) - 1
        (feature * weight).sum().backward()
        for parameter, value in net.named_parameters():
            if not parameter.startswith("visual."):
                tensors["gradient of " + parameter] = every_few(value.grad)
    write(name, tensors, {"options": size, "lengths": lengths})


def image(clip, name, net, options, height, width, convolutional):
    formula.fill(net)
    net.double()
    for module in net.modules():
        if isinstance(module, clip.LayerNorm):
            module.__class__ = torch.nn.LayerNorm
    formula.momentum_one(net)
    tensors = {}
    first = (lambda x: x) if convolutional else (lambda x: x[:, 0, :])
    net.train()
    feature = first(net(formula.images("train", 4, height, width).double()))
    weight = 2 * formula.uniform("weight of the sum", feature.shape) - 1
    (feature * weight).sum().backward()
    tensors["train.embedding"] = feature
    for parameter, value in net.named_parameters():
        tensors["gradient of " + parameter] = every_few(value.grad)
    net.eval()
    with torch.no_grad():
        out = net(formula.images("test", 2, height, width).double())
    tensors["eval.embedding"] = first(out)
    if not convolutional:
        tensors["eval.tokens"] = out
    write(name, tensors, {"height": height, "width": width, "options": options})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--irra", type=pathlib.Path, required=True)
    clip = load(parser.parse_args().irra)
    text(clip, "clip_text", {"layers": 3, "width": 24, "heads": 4, "vocabulary": 60, "positions": 10, "projection": 16},
         [10, 6, 2], True)
    text(clip, "clip_text_whole",
         {"layers": 12, "width": 512, "heads": 8, "vocabulary": 600, "positions": 77, "projection": 512}, [77, 31], False)
    for stride in (16, 12):
        options = {"patch": 16, "stride": stride, "width": 24, "depth": 3, "heads": 4, "projection": 16}
        net = clip.VisionTransformer((96, 48), 16, stride, options["width"], options["depth"], options["heads"],
                                     options["projection"])
        image(clip, f"clip_vit_stride{stride}", net, options, 96, 48, False)
    options = {"width": 8, "blocks": [2, 1, 2, 1], "heads": 4, "projection": 24}
    net = clip.ModifiedResNet(options["blocks"], options["projection"], options["heads"], (128, 64), options["width"])
    image(clip, "clip_resnet", net, options, 128, 64, True)
    table = 2 * formula.uniform("positional_embedding", (1 + 14 * 14, 4)) - 1
    write("clip_positions", {f"{rows} {columns}": clip.resize_pos_embed(table, torch.zeros(1 + rows * columns, 4), rows, columns)
                             for rows, columns in ((24, 8), (16, 8))}, {"width": 4})


if __name__ == "__main__":
    main()
