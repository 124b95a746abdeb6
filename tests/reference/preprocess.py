# SPDX-License-Identifier: Apache-2.0
"""Makes tests/fixtures/data/{resize,normalise,jitter}_v1.txt: fingerprints of what Pillow and torchvision make of
pictures that a formula gives. Run with Pillow 13 and torchvision 0.26: python tests/reference/preprocess.py"""
import pathlib

import numpy as np
import torchvision.transforms.functional as F
from PIL import Image

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "data"


def picture(height, width):
    """The formula of tests/data/support.hpp."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    noise = ((x * 2654435761) ^ (y * 40503) ^ (c * 97)) & 0xFFFFFFFF
    return ((x * x * 7 + y * 13 + x * y * 3 + c * 91 + (noise >> 7)) & 255).astype(np.uint8)


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


SIZES = [  # height, width -> height, width
    (128, 64, 256, 128), (128, 64, 288, 144), (128, 64, 384, 128), (128, 64, 128, 64), (128, 64, 64, 32),
    (128, 64, 128, 100), (128, 64, 100, 64), (1, 1, 7, 5), (1, 1, 1, 1), (7, 5, 1, 1), (2, 3, 31, 1), (3, 1, 5, 9),
    (101, 57, 64, 33), (57, 101, 33, 64), (200, 64, 100, 128), (64, 200, 128, 100), (300, 40, 17, 39), (61, 37, 60, 36),
    (61, 37, 59, 36), (61, 37, 58, 36), (33, 400, 32, 20), (250, 110, 256, 128), (400, 180, 256, 128), (5, 300, 256, 4),
]


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / "resize_v1.txt", "w") as out:
        for h, w, height, width in SIZES:
            source = Image.fromarray(picture(h, w))
            for name, kind in (("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)):
                result = np.asarray(source.resize((width, height), kind))
                out.write(f"{h} {w} {height} {width} {name} {fnv1a(result.tobytes()):016x}\n")
    with open(OUT / "normalise_v1.txt", "w") as out:
        for mean, std in (((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5,) * 3, (0.5,) * 3)):
            source = Image.fromarray(picture(50, 30)).resize((16, 40), Image.BILINEAR)
            result = F.normalize(F.to_tensor(source), list(mean), list(std)).numpy()
            out.write(" ".join(map(str, mean + std)) + f" {fnv1a(result.tobytes()):016x}\n")
    with open(OUT / "jitter_v1.txt", "w") as out:
        source = Image.fromarray(picture(64, 48))
        for name, change, factors in (
                ("brightness", F.adjust_brightness, (0, 0.37, 1, 1.9)), ("contrast", F.adjust_contrast, (0, 0.37, 1, 1.9)),
                ("saturation", F.adjust_saturation, (0, 0.37, 1, 1.9)), ("hue", F.adjust_hue, (-0.5, -0.123, 0, 0.37, 0.5))):
            for factor in factors:
                out.write(f"{name} {factor} {fnv1a(np.asarray(change(source, factor)).tobytes()):016x}\n")


if __name__ == "__main__":
    main()
