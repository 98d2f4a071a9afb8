#!/usr/bin/env bash
# Seen with albumentations 2.0.8, the last of that name, and its successor AlbumentationsX 2.5.1 with torch 2.14.1, each
# with opencv-python-headless 5.0.0.93, Pillow 13.0.0 and numpy 2.4.6.
#
# One would have guessed: ImageCompression(quality_range=(50, 50)) of a picture, in a library whose pictures are RGB,
# gives the pixels of a JPEG file of quality 50.
# What happens: it gives the pixels that a JPEG file of the picture with red and blue swapped has, swapped back. The
# array goes to cv2.imencode as it is, which takes it for BGR, so red gets blue's weight in the luminance and blue gets
# red's. Here red's mean squared error is 1.5 times that of a real file, blue's 0.7 times. The same holds for WebP and
# for pictures of floats; only pictures without colour are as in a file. Whoever trains or tests against JPEG this way
# does it against files that no camera or website makes, and nothing looks wrong.
#
# Needs: bash, a Python 3 that numpy 2.4.6 and torch 2.14.1 support, pip's usual source of packages. Exits 0 while it
# is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >shown.py <<'PYTHON'
import io
import sys

import albumentations
import cv2
import numpy as np
from PIL import Image

same = True
random = np.random.default_rng(0)
coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
picture = np.array(coarse.resize((160, 128), Image.Resampling.BICUBIC))
grey = np.stack([picture[..., 1]] * 3, -1)


def seen(text, expected):
    global same
    same &= bool(expected)
    print(" ", text, "" if expected else "   <-- CHANGED")


def augmented(picture, kind, quality):
    transform = albumentations.ImageCompression(compression_type=kind, quality_range=(quality, quality), p=1)
    return transform(image=picture)["image"]


def through_pillow(picture, kind, quality):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind.upper(), quality=quality)
    return np.array(Image.open(stream).convert("RGB"))


def through_opencv(picture, kind, quality):
    option = {"jpeg": cv2.IMWRITE_JPEG_QUALITY, "webp": cv2.IMWRITE_WEBP_QUALITY}[kind]
    coded = cv2.imencode(f".{kind}", swapped(picture), [option, quality])[1]
    return swapped(cv2.imdecode(coded, cv2.IMREAD_COLOR))


def swapped(picture):
    return np.ascontiguousarray(picture[..., ::-1])


def errors(decoded):
    """Mean squared errors of red, green and blue"""
    return [round(float(error), 1) for error in np.square(decoded.astype(float) - picture).mean((0, 1))]


for through, kind, quality in (
    (through_pillow, "jpeg", 20),
    (through_pillow, "jpeg", 50),
    (through_pillow, "jpeg", 90),
    (through_opencv, "jpeg", 50),
    (through_opencv, "webp", 50),
):
    found, real = augmented(picture, kind, quality), through(picture, kind, quality)
    as_bgr = swapped(through(swapped(picture), kind, quality))
    name = through.__name__.removeprefix("through_")
    as_file, as_swapped = np.array_equal(found, real), np.array_equal(found, as_bgr)
    seen(
        f"{kind} {quality}, {name}: as a file {as_file}, as one of the swapped picture {as_swapped}",
        as_swapped and not as_file,
    )
    red, _, blue = (there / here for there, here in zip(errors(found), errors(real), strict=True))
    seen(f"  errors of R, G, B {errors(real)} in a file, {errors(found)} here", red > 1.3 > 0.8 > blue)
found = augmented(grey, "jpeg", 50)
seen("a picture without colour: as in a file", np.array_equal(found, through_pillow(grey, "jpeg", 50)))
floats = augmented((picture / 255).astype(np.float32), "jpeg", 50)
seen("floats: as bytes", np.allclose(floats * 255, augmented(picture, "jpeg", 50), atol=1e-3))
sys.exit(0 if same else 1)
PYTHON
for packages in "albumentations==2.0.8" "albumentationsx==2.5.1 torch==2.14.1"; do
    rm -rf venv
    python3 -m venv venv
    # shellcheck disable=SC2086  # one word a package
    venv/bin/python -m pip --disable-pip-version-check install --quiet --no-compile $packages \
        opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy==2.4.6
    venv/bin/python -m pip --disable-pip-version-check freeze |
        grep -E '^(albumentationsx?|torch|opencv-python-headless|pillow|numpy)=='
    NO_ALBUMENTATIONS_UPDATE=1 venv/bin/python -I shown.py
done
