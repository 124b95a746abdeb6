# SPDX-License-Identifier: Apache-2.0
"""Makes tests/fixtures/pictures: tiny pictures of every kind from a formula, and the fingerprints of what Pillow makes
of them. Run with Pillow 13: python tests/reference/pictures.py"""
import pathlib

import numpy as np
from PIL import Image, ImageOps

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "pictures"


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:18, 0:11]
    rgb = Image.fromarray(np.stack([x * 23 % 256, y * 13 % 256, (x * y * 7 + 40) % 256], -1).astype(np.uint8))
    alpha = Image.fromarray((x * 20 % 256).astype(np.uint8))
    rgba, la = rgb.copy(), rgb.convert("L")
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    palette = rgb.quantize(32)
    inks = Image.merge("CMYK", [*rgb.split(), alpha])
    made = []

    def save(picture, name, **options):
        picture.save(OUT / name, **options)
        made.append(name)

    save(rgb, "rgb.jpg", quality=90)
    for subsampling in range(3):
        save(rgb, f"subsampling{subsampling}.jpg", quality=60, subsampling=subsampling)
    save(rgb, "progressive.jpg", progressive=True)
    save(rgb, "not_ycc.jpg", keep_rgb=True)
    save(rgb.convert("L"), "gray.jpg")
    save(rgb.convert("CMYK"), "cmyk.jpg", quality=95)
    for kind, options in (("jpg", {}), ("png", {}), ("webp", {"lossless": True})):
        for orientation in (1, 2, 3, 4, 5, 6, 7, 8) if kind == "jpg" else (3, 6, 9):
            exif = Image.Exif()
            exif[0x112] = orientation
            save(rgb, f"orientation{orientation}.{kind}", exif=exif, **options)
    for orientation in (3, 6):
        save(rgb, f"orientation{orientation}.tif", tiffinfo={274: orientation})
    for kind in ("png", "bmp", "tif"):
        save(rgb, f"rgb.{kind}")
        save(rgb.convert("L"), f"gray.{kind}")
        save(rgb.convert("1"), f"bits.{kind}")
        save(palette, f"palette.{kind}")
    save(rgba, "rgba.png")
    save(la, "gray_alpha.png")
    save(palette, "palette_transparent.png", transparency=3)
    save(rgb, "rgb.webp", quality=80)
    save(rgba, "rgba.webp", lossless=True)
    save(rgba, "rgba.bmp")
    save(rgb, "lzw.tif", compression="tiff_lzw")
    save(rgba, "rgba.tif")
    save(rgba, "associated.tif", tiffinfo={338: 1})
    save(rgba, "associated_lzw.tif", tiffinfo={338: 1}, compression="tiff_lzw")
    save(rgba, "unspecified.tif", tiffinfo={338: 0})
    save(la, "gray_alpha.tif")
    save(rgb.convert("CMYK"), "cmyk.tif")
    save(inks, "inks.tif", compression="tiff_lzw")
    save(inks, "inks.jpg", quality=95)
    save(rgb, "deflate.tif", compression="tiff_adobe_deflate")
    save(rgb, "packbits.tif", compression="packbits")
    save(rgb.convert("1"), "group4.tif", compression="group4")
    save(rgb, "jpeg.tif", compression="jpeg")
    save(rgb, "pages.tif", save_all=True, append_images=[rgb.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    with open(OUT / "pictures_v1.txt", "w") as out:
        for name in made:
            pixels = np.asarray(ImageOps.exif_transpose(Image.open(OUT / name)).convert("RGB"))
            out.write(f"{name} {pixels.shape[0]} {pixels.shape[1]} {fnv1a(pixels.tobytes()):016x}\n")


if __name__ == "__main__":
    main()
