#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fixtures/weights/: what torch.save makes in its two formats, and files that must be refused.

Made with PyTorch 2.11.0 and NumPy 2.x. Run from the repository root: python3 tests/reference/weights.py
Every tensor holds value(i) = 3 i - 5 at its i-th element (in C order), so no expected output is stored.
"""
import argparse
import collections
import io
import os
import pathlib
import zipfile

import numpy
import torch

OUT = pathlib.Path("tests/fixtures/weights")


def values(*shape, dtype=torch.float32):
    count = int(numpy.prod(shape)) if shape else 1
    return (torch.arange(count) * 3 - 5).reshape(shape).to(dtype)


def state():
    result = collections.OrderedDict()
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"):
        result[name] = values(2, 3, dtype=getattr(torch, name))
    result["scalar"] = values()
    result["empty"] = torch.empty(0, 4)
    # Strides: memory holds the transpose, the values follow the formula.
    result["transposed"] = values(3, 5).t().contiguous().t()
    # A window into a larger storage.
    whole = torch.full((40,), 99.0)
    whole[7:19] = values(12)
    result["window"] = whole[7:19].reshape(3, 4)
    # Two names for one storage.
    tied = values(4, 4)
    result["tied.a"] = tied
    result["tied.b"] = tied
    result["expanded"] = torch.tensor([-5.0]).expand(6)
    result["parameter"] = torch.nn.Parameter(values(2, 2))
    result._metadata = {"": {"version": 1}}
    return result


class Runs:
    """Unpickled by Python, this would create a file."""

    def __reduce__(self):
        return os.system, ("touch executed_by_reading_weights",)


def wrapped():
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "state_dict": collections.OrderedDict(("module." + k, values(*v.shape)) for k, v in net.state_dict().items()),
        "optimizer": optimizer.state_dict(),
        "epoch": 60,
        "arch": "linear",
        "best": 0.5,
        "rank1": numpy.float64(0.912),
        "args": argparse.Namespace(lr=0.1),
        "trap": Runs(),
    }


def save(name, value, **options):
    torch.save(value, OUT / name, **options)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    legacy = {"_use_new_zipfile_serialization": False}
    save("zip.pth", state())
    save("zip_protocol4.pth", state(), pickle_protocol=4)
    save("legacy.pth", state(), **legacy)
    save("legacy_protocol4.pth", state(), pickle_protocol=4, **legacy)
    save("wrapped_zip.pth.tar", wrapped())
    save("wrapped_legacy.pth.tar", wrapped(), **legacy)
    torch.serialization.set_crc32_options(False)
    save("no_check_sum.pth", {"w": values(3)})
    torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(OUT / "zip.pth") as source, zipfile.ZipFile(OUT / "deflated.pth", "w", zipfile.ZIP_DEFLATED) as to:
        for entry in source.infolist():
            to.writestr(zipfile.ZipInfo(entry.filename), source.read(entry), zipfile.ZIP_DEFLATED)

    save("refused_module.pth", torch.nn.Linear(1, 1))
    save("refused_module_legacy.pth", torch.nn.Linear(1, 1), **legacy)
    save("refused_trap.pth", {"w": values(3), "v": Runs()})
    save("refused_trap_root.pth", Runs())
    save("refused_array.pth", {"w": values(3), "v": numpy.ones(2)})
    save("refused_complex.pth", {"w": torch.ones(2, dtype=torch.complex64)})
    save("refused_tensor.pth", values(3))
    save("refused_several.pth", {"backbone": {"w": values(3)}, "head": {"w": values(3)}})
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), OUT / "refused_torchscript.pt")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
