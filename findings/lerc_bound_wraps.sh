#!/usr/bin/env bash
# Seen with lerc 4.0.1, pylerc 4.1.1 (the same package under its newer name) and numpy 2.4.6. pylerc 4.2.0 is right.
#
# One would have guessed: LERC (limited error raster compression) keeps its promise: with a bound of 2 no value of an
# 8-bit RGB picture is off by more than 2.
# What happens, on a smooth RGB picture with black and white in it:
# 1. With bounds from 2 on, some hundred of its 36,864 values are off by 255: 0 where 255 was, or 255 where 0 was; with
#    16 bits by 65,535. The value and its permitted error have run over the end of the type and come in at the other end.
#    Nothing is said.
# 2. It is in the file: a newer package that reads it shows the same pixels.
# 3. It takes several values to a pixel (nValuesPerPixel=3), where those after the first are coded as differences. The
#    same values one colour plane after the other are within the bound, and so are a grey picture and bounds of 0 and 1.
# 4. The library's source has coded no differences in lossy files since 2023, but the packages before pylerc 4.2.0 of
#    July 2026 still do, and "pip install lerc" always will. The change log names neither this nor the files written so.
#
# Needs: bash, Linux, a Python 3 that numpy 2.4.6 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet numpy==2.4.6
for package in lerc==4.0.1 pylerc==4.1.1 pylerc==4.2.0; do # all of them are imported as lerc
    venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --target "$package" "$package"
done
cat >seen.py <<'PYTHON'
import sys
from pathlib import Path

package = sys.argv[1]
sys.path.insert(0, package)
import lerc
import numpy as np

same, right = True, package == "pylerc==4.2.0"
row, column = np.mgrid[:96, :128]
grey = 0.5 + 0.6 * np.sin(column / 9) * np.cos(row / 5)  # from -0.1 to 1.1, cut to 0 to 1
colours = np.stack([grey, 0.9 * grey + 0.02, 0.8 * grey + 0.05], -1).clip(0, 1)
picture = {8: np.rint(colours * 255).astype(np.uint8), 16: np.rint(colours * 65535).astype(np.uint16)}


def seen(text, expected):
    global same
    same &= bool(expected)
    print(" ", text, "" if expected else "   <-- CHANGED")


def encode(pixels, bound, values):
    code, size, blob = lerc.encode(pixels, values, False, None, bound, pixels.nbytes + 10000)
    assert code == 0
    return bytes(blob[:size])


def off(data, pixels, bound):
    """The largest error, and how many values are off by more than the bound"""
    code, back = lerc.decode(data)[:2]
    assert code == 0 and back.shape == pixels.shape
    error = np.abs(back.astype(int) - pixels)
    return int(error.max()), int((error > bound).sum())


print(package, "(36,864 values)")
for bits, bounds in ((8, (2, 3, 5, 10)), (16, (5, 20, 100, 500))):
    largest = 2**bits - 1
    for bound in bounds:
        data = encode(picture[bits], bound, 3)
        error, many = off(data, picture[bits], bound)
        seen(f"{bits} bits, bound {bound}: largest error {error}, {many} values over it, {len(data)} bytes",
             error <= bound if right else error > 0.99 * largest and many > 100)
        if package == "lerc==4.0.1":
            Path(f"{bits}.{bound}.lerc").write_bytes(data)
        else:
            error, many = off(Path(f"{bits}.{bound}.lerc").read_bytes(), picture[bits], bound)
            seen(f"  as lerc 4.0.1 wrote it: largest error {error}, {many}", error > 0.99 * largest and many > 100)
for name, pixels, bound, values in (
    ("colour planes one after the other", picture[8].transpose(2, 0, 1).copy(), 5, 1),
    ("grey", picture[8][..., 0].copy(), 5, 1),
    ("8 bits, bound 1", picture[8], 1, 3),
    ("8 bits, bound 0", picture[8], 0, 3),
):
    error, _ = off(encode(pixels, bound, values), pixels, bound)
    seen(f"{name}: largest error {error} for a bound of {bound}", error <= bound)
print("as recorded" if same else "THE BEHAVIOUR HAS CHANGED")
sys.exit(not same)
PYTHON
for package in lerc==4.0.1 pylerc==4.1.1 pylerc==4.2.0; do
    venv/bin/python -I seen.py "$package"
done
