# SPDX-License-Identifier: Apache-2.0
"""Makes tests/fixtures/mat: small MATLAB files of version 5 as SciPy 1 writes them, plain and compressed, laid out as
CUHK03's new-protocol configuration and GRID's partitions. Run: python tests/reference/mat5.py"""
import pathlib

import numpy as np
import scipy.io

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "mat"
NAMES = ["1_001_1_01.png", "1_001_2_06.png", "1_002_1_01.png", "1_002_2_06.png", "2_001_1_01.png", "2_001_2_06.png", "2_002_2_06.png"]


def cells(values):
    array = np.empty((len(values), 1), object)
    for i, value in enumerate(values):
        array[i, 0] = value
    return array


def column(values, dtype):
    return np.array(values, dtype).reshape(-1, 1)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    config = {
        "camId": column([1, 2, 1, 2, 1, 2, 2], np.uint8),
        "filelist": cells(NAMES),
        "labels": column([1, 1, 2, 2, 3, 3, 4], np.uint16),
        "query_idx": column([5], np.float64),
        "gallery_idx": column([6, 7], np.int32),
        "train_idx": column([1, 2], np.uint16),
    }
    split = [{"trainProbe": column([1.0], np.float64), "trainGallery": column([2.0], np.float64),
              "trainPersonID": column(ids, np.float64).T} for ids in ([1, 3], [2, 3])]
    for name, compress in (("plain", False), ("packed", True)):
        scipy.io.savemat(OUT / f"config_{name}.mat", config, do_compression=compress)
        scipy.io.savemat(OUT / f"partitions_{name}.mat", {"trainIdxAll": cells(split)}, do_compression=compress)


if __name__ == "__main__":
    main()
