#!/usr/bin/env bash
# Seen with PyAV (av) 18.1.0, whose wheel carries libswscale 9.5.102, Pillow 13.0.0 and numpy 2.4.6.
#
# One would have guessed: a picture with halved chroma (4:2:0) that PyAV opens is within some tenths of a decibel of what
# Pillow makes of the same file; interpolation= says how the chroma is enlarged, FULL_CHR_H_INT that it is interpolated
# in full, ACCURATE_RND only how sums are rounded; and at the same size without halved chroma nothing is interpolated.
# What happens, on a smooth picture with strong colours:
# 1. to_ndarray(format="rgb24") is 9 to 10 dB below Pillow for AVIF, WebP and JPEG: each chroma sample is repeated.
# 2. reformat(format="rgb24", interpolation=...) gives the same bytes for every kernel (POINT, BILINEAR, BICUBIC,
#    LANCZOS, ...), for FULL_CHR_H_INT too; all are accepted and none is heeded. Only with ACCURATE_RND, the flag for
#    rounding, they are: BICUBIC | FULL_CHR_H_INT | ACCURATE_RND is as good as Pillow.
# 3. In two steps, by way of format="yuv444p", the kernel is heeded, and the picture is as good as Pillow's.
# 4. The other way, RGB to yuv444p, where nothing is scaled, FAST_BILINEAR alone halves the chroma and enlarges it again
#    with a drift, a pixel at the right edge: 23 dB are lost.
# Whoever measures AVIF or JPEG by what PyAV (or imageio's pyav plug-in) decodes, measures this.
#
# Needs: bash, a Python 3 that numpy 2.4.6 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet av==18.1.0 pillow==13.0.0 numpy==2.4.6
venv/bin/python -m pip --disable-pip-version-check freeze
venv/bin/python -I -W always - <<'PYTHON'
import io
import sys

import av
import numpy as np
from av.video.reformatter import Interpolation
from PIL import Image

print("libswscale", av.library_versions["libswscale"])
same = True
row, column = np.mgrid[:96, :128]
waves = np.sin(column / 6), np.cos(row / 5), np.sin((row + column) / 7)
picture = np.stack([128 + 100 * wave for wave in waves], -1).round().astype(np.uint8)
KERNELS = ("FAST_BILINEAR", "BILINEAR", "BICUBIC", "POINT", "AREA", "LANCZOS", "SPLINE")
FULL, ACCURATE = Interpolation.FULL_CHR_H_INT, Interpolation.ACCURATE_RND


def seen(text, expected):
    global same
    same &= bool(expected)
    print(" ", text, "" if expected else "   <-- CHANGED")


def psnr(other):
    return round(float(10 * np.log10(255**2 / np.square(picture - other.astype(float)).mean())), 1)


def rgb(frame, **options):
    return frame.reformat(format="rgb24", **options).to_ndarray()


for kind, quality in (("AVIF", 90), ("WEBP", 95), ("JPEG", 95)):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, quality=quality)
    with Image.open(stream) as opened:
        pillow = psnr(np.asarray(opened.convert("RGB")))
    with av.open(io.BytesIO(stream.getvalue())) as container:
        frame = next(container.decode(video=0))
    print(f"{kind}, {frame.format.name}: Pillow {pillow} dB")
    plain = rgb(frame)
    seen(f"1. PyAV {psnr(plain)}", np.array_equal(frame.to_ndarray(format="rgb24"), plain) and psnr(plain) < pillow - 6)
    ways = [Interpolation[name] for name in KERNELS] + [FULL, Interpolation.BICUBIC | FULL]
    files = {rgb(frame, interpolation=way).tobytes() for way in ways}
    seen(f"2. {len(ways)} ways to interpolate: {len(files)} picture", files == {plain.tobytes()})
    accurate = psnr(rgb(frame, interpolation=Interpolation.BICUBIC | FULL | ACCURATE))
    seen(f"   BICUBIC, FULL_CHR_H_INT and ACCURATE_RND: {accurate}", accurate > pillow - 1)
    steps = {name: psnr(rgb(frame.reformat(format="yuv444p", interpolation=name))) for name in KERNELS}
    seen(f"3. by way of yuv444p: {steps}", steps["BICUBIC"] > pillow - 1 and steps["POINT"] < pillow - 6)

print("RGB to yuv444p and back")
frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
back = {name: psnr(rgb(frame.reformat(format="yuv444p", interpolation=name))) for name in KERNELS}
seen(f"4. {back}", back.pop("FAST_BILINEAR") < 35 and min(back.values()) > 50)
print("as recorded" if same else "THE BEHAVIOUR HAS CHANGED")
sys.exit(not same)
PYTHON
