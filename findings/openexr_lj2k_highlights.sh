#!/usr/bin/env bash
# Seen with OpenEXR 3.5.3 and 3.5.1, OpenImageIO 3.2.2.0 (with OpenEXR 3.5.2 inside) and numpy 2.4.6.
#
# One would have guessed: LJ2K, the lossy JPEG 2000 compression that came with OpenEXR 3.5, is off by the same few per
# cent at every brightness, as it is made to be, and clamps or refuses what it can not carry (NaN, infinity). The notes
# of 3.5.2 ask to write LJ2K files of 3.5.1 anew for best results, so the newer ones are the better ones.
# What happens with RGB in 3.5.3:
# 1. 32-bit float: where the brightest value of a picture is above 64,000 or so, that one can come back as a small part
#    of what it was: 65,504 as 186, 4 million as 300,000, 16.8 million as 102,000; but 1 million is right. All that is
#    less bright is right, and so is the same value in a picture that has a brighter pixel; then that pixel is wrong.
#    So the sun comes back darker than the sky. OpenImageIO writes such files too. 3.5.1 is right within 2 %.
# 2. NaN and infinity, one like the other, come back as 186, which nobody can tell from a pixel. (DWAA gives 65,248 for
#    infinity and 0 for NaN; HTJ2K, which is lossless, keeps both.)
# 3. 16-bit float: right at 60,000, but 65,000 comes back as 52,000, and NaN and infinity as 43,000.
#
# Needs: bash, a Python 3 that numpy 2.4.6 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
python3 -m venv older
venv/bin/python -m pip --disable-pip-version-check install --quiet openexr==3.5.3 openimageio==3.2.2.0 numpy==2.4.6
older/bin/python -m pip --disable-pip-version-check install --quiet openexr==3.5.1 numpy==2.4.6
venv/bin/python -m pip --disable-pip-version-check freeze
cat >seen.py <<'PYTHON'
import sys

import numpy as np
import OpenEXR

same, older = True, OpenEXR.__version__ == "3.5.1"


def seen(text, expected):
    global same
    same &= bool(expected)
    print(" ", text, "" if expected else "   <-- CHANGED")


def near(value, wanted):
    return abs(value / wanted - 1) < 0.03


def coded(picture, compression="LJ2K"):
    """The picture as it comes back from a file"""
    header = {"compression": getattr(OpenEXR, f"{compression}_COMPRESSION"), "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGB": picture}).write("a.exr")
    return OpenEXR.File("a.exr").channels()["RGB"].pixels


def square(value, dtype=np.float32):
    """A square of the value on a dim ground"""
    picture = np.full((64, 64, 3), 0.5, dtype)
    picture[16:48, 16:48] = value
    return picture


def middle(value, dtype=np.float32, **options):
    return float(coded(square(value, dtype), **options)[32, 32, 1])


print("OpenEXR", OpenEXR.__version__)
print("1. 32-bit float")
LOST = {65504: 1000, 262144: 60000, 4000000: 400000, 2**24: 200000}  # with what they stay below
for value in (60000, 1000000, *LOST):
    back = middle(value)
    seen(f"a square of {value}: {back:.0f}", near(back, value) if older or value not in LOST else back < LOST[value])
stops = np.exp2(np.linspace(0, 24, 256, dtype=np.float32))
ratio = coded(np.tile(stops[:, None], (64, 1, 3)))[32, :, 1] / stops
seen(f"a ramp from 1 to 2**24: all but the brightest column within {abs(ratio[:-1] - 1).max():.1%}, that one at "
     f"{ratio[-1]:.3f} of what it was", near(ratio[:-1], 1).all() and (near(ratio[-1], 1) if older else ratio[-1] < 0.1))
if older:
    sys.exit(0 if same else 1)

picture = square(4e6)
picture[2, 2] = 1e8
pixels = coded(picture)[:, :, 1]
seen(f"a square of 4000000 where one pixel is 100 million: {pixels[32, 32]:.0f}, and that pixel {pixels[2, 2]:.0f}",
     near(pixels[32, 32], 4e6) and pixels[2, 2] < 1e7)
import OpenImageIO

spec = OpenImageIO.ImageSpec(64, 64, 3, "float")
spec.attribute("compression", "lj2k")
out = OpenImageIO.ImageOutput.create("b.exr")
assert out.open("b.exr", spec) and out.write_image(square(65504)) and out.close()
back = OpenEXR.File("b.exr").channels()["RGB"].pixels[32, 32, 1]
seen(f"a square of 65504 written by OpenImageIO: {back:.0f}", back < 1000)

print("2. NaN and infinity")
for name, value in (("NaN", np.nan), ("infinity", np.inf)):
    lj2k, dwaa, htj2k = (middle(value, compression=way) for way in ("LJ2K", "DWAA", "HTJ2K256"))
    seen(f"{name}: LJ2K {lj2k:.0f}, DWAA {dwaa:.0f}, HTJ2K256 {htj2k}",
         150 < lj2k < 220 and (dwaa < 1 if name == "NaN" else dwaa > 60000) and str(htj2k) == str(value))

print("3. 16-bit float")
half = {value: middle(value, np.float16) for value in (60000, 65000, np.inf, np.nan)}
seen(f"squares come back as {half}", near(half[60000], 60000) and 45000 < half[65000] < 60000
     and 38000 < half[np.inf] < 48000 and half[np.inf] == half[np.nan])
print("as recorded" if same else "THE BEHAVIOUR HAS CHANGED")
sys.exit(0 if same else 1)
PYTHON
older/bin/python -I seen.py
venv/bin/python -I seen.py
