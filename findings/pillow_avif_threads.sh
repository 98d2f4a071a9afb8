#!/usr/bin/env bash
# Seen with Pillow 13.0.0, whose wheel carries libavif 1.4.2 and libaom 3.14.1.
#
# One would have guessed: how many threads encode an AVIF picture changes how long that takes, not the file; and what is
# saved without options is the same on every machine.
# What happens: one thread gives another file, with other pixels, than two threads; two, three and eight give the same
# one. Pillow's default is the number of processors that the process may use, so the same script writes other files in
# a container with one processor than in one with two. Tiles are not the cause: the picture is too small for several.
# With libaom's row-mt switched off (advanced={"row-mt": "0"}) all numbers of threads give one file. The file says
# nowhere which one it is.
#
# Needs: bash, a Python 3 that Pillow 13.0.0 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet pillow==13.0.0
venv/bin/python -m pip --disable-pip-version-check freeze
venv/bin/python -I -W always - <<'PYTHON'
import hashlib
import io
import random
import sys

from PIL import AvifImagePlugin, Image, ImageChops, _avif, features

print("libavif", features.version("avif"), _avif.codec_versions())
random.seed(1)
picture = Image.new("RGB", (300, 200))
for side in (3, 12, 48, 150):  # coarse to fine, as in a photograph
    coarse = Image.frombytes("RGB", (side, side), random.randbytes(3 * side * side))
    picture = ImageChops.blend(picture, coarse.resize(picture.size, Image.Resampling.BICUBIC), 0.35)


def saved(**options):
    stream = io.BytesIO()
    picture.save(stream, "AVIF", **options)
    return stream.getvalue()


def digest(data):
    return hashlib.sha256(data).hexdigest()[:8]


def pixels(data):
    with Image.open(io.BytesIO(data)) as opened:
        return opened.convert("RGB")


def differing(one, other):
    """How many pixels are others, and by how much at most"""
    off = [max(of_pixel) for of_pixel in zip(*(band.tobytes() for band in ImageChops.difference(one, other).split()))]
    return sum(value > 0 for value in off), max(off)


THREADS = (1, 2, 3, 8)
same = True
for about, options in {
    "no options": {},
    "autotiling off": {"autotiling": False},
    "speed 8": {"speed": 8},
    "row-mt off": {"advanced": {"row-mt": "0"}},
}.items():
    files = {threads: saved(max_threads=threads, **options) for threads in THREADS}
    print(f"{about:14}:", {threads: f"{len(data)} bytes {digest(data)}" for threads, data in files.items()})
    same &= files[1] == saved(max_threads=1, **options) and files[2] == saved(max_threads=2, **options)  # each time
    same &= files[2] == files[3] == files[8]
    same &= (files[1] == files[2]) == (about == "row-mt off")
    if files[1] != files[2]:
        count, most = differing(pixels(files[1]), pixels(files[2]))
        print(f"{'':14}  1 and 2 threads: {count} of {picture.width * picture.height} pixels differ, by up to {most}")
        same &= count > 100

for processors in (1, 2):
    AvifImagePlugin.DEFAULT_MAX_THREADS = processors  # what Pillow fills in from the processors that there are
    data = saved()
    print(f"no max_threads, where there are {processors}:", digest(data))
    same &= data == saved(max_threads=processors)
print("as recorded" if same else "THE BEHAVIOUR HAS CHANGED")
sys.exit(not same)
PYTHON
