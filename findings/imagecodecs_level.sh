#!/usr/bin/env bash
# Seen with imagecodecs 2026.3.6 and numpy 2.4.6.
#
# One would have guessed: `level=` of the lossy encoders is a quality from 0 to 100, or the same scale at least; a higher
# one means a larger file and a better picture, and 100 is the best there is.
# What happens, on one smooth RGB picture of 8 bits:
# 1. webp_encode is lossless at every level: the level is effort, and only lossless=False makes it a quality.
# 2. jpegxl_encode at level 100 is lossy, and the file is larger than the one without a level, which is lossless.
#    Level 5 gives a larger file and a lower PSNR than level 1.
# 3. jpeg2k_encode takes the level as a PSNR in decibels: 100 is no better than 90, and 0 alone is lossless.
# 4. htj2k_encode gives the same file for every level from 1 to 100, the coarsest there is; 0 is lossless.
# 5. jpegls_encode takes it as the largest error: a higher level is a worse picture.
# Whoever sweeps `level` over 0..100 to draw rate-distortion curves of several codecs compares five different things.
#
# Needs: bash, a Python 3 that numpy 2.4.6 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet imagecodecs==2026.3.6 numpy==2.4.6
venv/bin/python -m pip --disable-pip-version-check freeze
venv/bin/python -I - <<'PYTHON'
import sys

import imagecodecs
import numpy as np

same = True
row, column = np.mgrid[:96, :128]
grey = (128 + 80 * np.sin(column / 9) + 30 * np.cos(row / 5)).clip(0, 255).astype(np.uint8)
picture = np.ascontiguousarray(np.stack([grey, grey[::-1], 255 - grey], -1))


def seen(text, expected):
    global same
    same &= bool(expected)
    print(" ", text, "" if expected else "   <-- CHANGED")


def coded(codec, **options):
    """Bytes of the file, and PSNR in dB; infinite if nothing is lost"""
    data = getattr(imagecodecs, f"{codec}_encode")(picture, **options)
    error = np.square(getattr(imagecodecs, f"{codec}_decode")(data).astype(float) - picture).mean()
    return len(data), float("inf") if error == 0 else round(float(10 * np.log10(255**2 / error)), 1)


LOSSLESS = float("inf")
print("(bytes, PSNR) by level")
webp = {level: coded("webp", level=level) for level in (0, 50, 100)}
seen(f"webp {webp}", all(psnr == LOSSLESS for _, psnr in webp.values()))
lossy = coded("webp", level=50, lossless=False)
seen(f"webp 50, lossless=False: {lossy}", lossy[1] < LOSSLESS)
plain, jxl = coded("jpegxl"), {level: coded("jpegxl", level=level) for level in (1, 5, 100)}
seen(f"jpegxl without a level {plain}, {jxl}", plain[1] == LOSSLESS and jxl[100][1] < 60 and jxl[100][0] > plain[0])
seen("jpegxl 5 is larger and worse than 1", jxl[5][0] > jxl[1][0] and jxl[5][1] < jxl[1][1])
jpeg2k = {level: coded("jpeg2k", level=level) for level in (0, 50, 90, 100)}
seen(f"jpeg2k {jpeg2k}", jpeg2k[0][1] == LOSSLESS and abs(jpeg2k[50][1] - 50) < 3 and jpeg2k[90] == jpeg2k[100])
htj2k = {level: coded("htj2k", level=level) for level in (0, 1, 50, 100)}
seen(f"htj2k {htj2k}", htj2k[0][1] == LOSSLESS and htj2k[1] == htj2k[50] == htj2k[100] and htj2k[1][1] < 30)
jpegls = {level: coded("jpegls", level=level) for level in (0, 1, 50, 100)}
seen(f"jpegls {jpegls}", [psnr for _, psnr in jpegls.values()] == sorted((p for _, p in jpegls.values()), reverse=True))
sys.exit(0 if same else 1)
PYTHON
