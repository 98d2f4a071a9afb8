#!/usr/bin/env bash
# Seen with opencv-python-headless 5.0.0.93 and 4.14.0.94, Pillow 13.0.0 and numpy 2.4.6.
#
# One would have guessed: IMREAD_COLOR_RGB gives red first for every file; IMREAD_COLOR passes over the alpha of a file
# and gives its colours as they are stored; IMREAD_UNCHANGED gives all four channels as they are stored.
# What happens, with the colour 200, 100, 30 and alpha 128 in files of Pillow that are lossless (AVIF within 1):
# 1. AVIF with alpha: IMREAD_COLOR_RGB gives blue first, 30, 100, 200: the bytes of IMREAD_COLOR_BGR. So do imread,
#    imdecode and imdecodemulti, for 8, 10 and 12 bits. AVIF without alpha is right, and so are PNG, WebP, JPEG 2000 and
#    TIFF with alpha. In a folder of AVIF files those with alpha alone have red and blue exchanged.
# 2. TIFF with straight alpha, 8 bits: the colours are multiplied by alpha, 100, 50, 15, and IMREAD_UNCHANGED too gives
#    100, 50, 15, 128. Where alpha is 0 they are lost. With 16 bits the multiplication is in IMREAD_COLOR alone. PNG and
#    WebP with the same picture are never multiplied.
#
# Needs: bash, a Python 3 that numpy 2.4.6 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet pillow==13.0.0 numpy==2.4.6 tifffile==2026.3.3
venv/bin/python -m pip --disable-pip-version-check freeze
for version in 5.0.0.93 4.14.0.94; do
    venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --target "$version" \
        "opencv-python-headless==$version"
done
cat >seen.py <<'PYTHON'
import io
import sys

sys.path.insert(0, sys.argv[1])
import cv2
import numpy as np
import tifffile
from PIL import Image

same = True
COLOUR, ALPHA = [200, 100, 30], 128
LOSSLESS = {"AVIF": {"quality": 100, "subsampling": "4:4:4"}, "WEBP": {"lossless": True}}


def seen(text, expected):
    global same
    same &= bool(expected)
    print(" ", text, "" if expected else "   <-- CHANGED")


def saved(kind, alpha):
    """A file of Pillow, as bytes"""
    file = io.BytesIO()
    Image.new("RGBA" if alpha else "RGB", (32, 32), (*COLOUR, ALPHA)[: 4 if alpha else 3]).save(
        file, kind, **LOSSLESS.get(kind, {}))
    return file.getvalue()


def decoded(data, flag):
    return cv2.imdecode(np.frombuffer(data, np.uint8), flag)[5, 5].tolist()


def near(pixel, wanted):
    return np.abs(np.array(pixel) - wanted).max() <= 1


print("OpenCV", cv2.__version__)
print("1. red first?")
for kind in ("PNG", "WEBP", "JPEG2000", "TIFF", "AVIF"):
    for alpha in (False, True):
        data = saved(kind, alpha)
        rgb, bgr = decoded(data, cv2.IMREAD_COLOR_RGB), decoded(data, cv2.IMREAD_COLOR_BGR)
        exchanged = kind == "AVIF" and alpha
        seen(f"{kind} {'with' if alpha else 'without'} alpha: COLOR_RGB {rgb}, COLOR_BGR {bgr}",
             rgb == (bgr if exchanged else bgr[::-1]) and bgr[2] > bgr[1] > bgr[0])
data = saved("AVIF", True)
with open("a.avif", "wb") as file:
    file.write(data)
read = cv2.imread("a.avif", cv2.IMREAD_COLOR_RGB)[5, 5].tolist()
several = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)[1][0][5, 5].tolist()
seen(f"AVIF with alpha: imread {read}, imdecodemulti {several}",
     near(read, COLOUR[::-1]) and near(several, COLOUR[::-1]))
for bits in (10, 12):
    for channels in (3, 4):
        pixels = np.empty((32, 32, channels), np.uint16)
        pixels[:] = np.array([*COLOUR[::-1], ALPHA][:channels]) << (bits - 8)
        data = cv2.imencode(".avif", pixels, [cv2.IMWRITE_AVIF_QUALITY, 100, cv2.IMWRITE_AVIF_DEPTH, bits])[1].tobytes()
        rgb = decoded(data, cv2.IMREAD_COLOR_RGB)
        seen(f"AVIF of OpenCV, {bits} bits, {channels} channels: COLOR_RGB {rgb}",
             near(rgb, COLOUR if channels == 3 else COLOUR[::-1]))

print("2. multiplied by alpha? (channels put in the order red, green, blue, alpha)")
HALF = [100, 50, 15]
for kind in ("PNG", "WEBP", "TIFF"):
    data = saved(kind, True)
    assert np.asarray(Image.open(io.BytesIO(data)))[5, 5].tolist() == [*COLOUR, ALPHA]
    blue, green, red, alpha = decoded(data, cv2.IMREAD_UNCHANGED)
    colour = decoded(data, cv2.IMREAD_COLOR)[::-1]
    wanted = HALF if kind == "TIFF" else COLOUR
    seen(f"{kind}, 8 bits: UNCHANGED {[red, green, blue, alpha]}, COLOR {colour}",
         [red, green, blue, alpha] == [*wanted, ALPHA] and colour == wanted)
file = io.BytesIO()
tifffile.imwrite(file, np.full((32, 32, 4), [257 * value for value in (*COLOUR, ALPHA)], np.uint16), photometric="rgb",
                 extrasamples=["unassalpha"])
blue, green, red, alpha = decoded(file.getvalue(), cv2.IMREAD_UNCHANGED)
colour = decoded(file.getvalue(), cv2.IMREAD_COLOR)[::-1]
values = [red, green, blue, alpha]
seen(f"TIFF, 16 bits, divided by 257: UNCHANGED {[value // 257 for value in values]}, COLOR {colour}",
     values == [257 * value for value in (*COLOUR, ALPHA)] and colour == HALF)
print("as recorded" if same else "THE BEHAVIOUR HAS CHANGED")
sys.exit(not same)
PYTHON
for version in 5.0.0.93 4.14.0.94; do
    venv/bin/python -I -W always seen.py "$version"
done
