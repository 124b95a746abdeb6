# SPDX-License-Identifier: Apache-2.0
"""Pictures a second of the usual Python pipeline: PyTorch's DataLoader, Pillow and torchvision, whole recipe.
    python benchmarks/peers/input_pipeline_torch.py FOLDER [--workers 2] [--seconds 10]
The same recipe as micro_input_pipeline's third line: decode, resize, flip, pad and crop, normalise, erase."""
import argparse
import pathlib
import time

import torch
import torchvision.transforms as T
from PIL import Image


class Pictures(torch.utils.data.Dataset):
    def __init__(self, folder):
        self.paths = sorted(pathlib.Path(folder).glob("*.jpg"))
        self.transform = T.Compose([
            T.Resize((256, 128)), T.RandomHorizontalFlip(), T.Pad(10), T.RandomCrop((256, 128)), T.ToTensor(),
            T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            T.RandomErasing(p=0.5, scale=(0.02, 0.4), ratio=(0.3, 1 / 0.3))])

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10)
    flags = parser.parse_args()
    loader = torch.utils.data.DataLoader(Pictures(flags.folder), 64, shuffle=True, num_workers=flags.workers,
                                         drop_last=True, persistent_workers=True)
    done, start = 0, None
    while True:
        for i, batch in enumerate(loader):
            if start is None:
                if i == 8:
                    start = time.perf_counter()
                continue
            done += len(batch)
            if time.perf_counter() - start >= flags.seconds:
                rate = done / (time.perf_counter() - start)
                print(f"DataLoader, Pillow, torchvision, {flags.workers} workers: {rate:.0f} pictures/s")
                return


if __name__ == "__main__":
    main()
