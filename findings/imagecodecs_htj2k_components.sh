#!/usr/bin/env bash
# Seen with imagecodecs 2026.3.6 and numpy 2.4.6.
#
# One would have guessed: what htj2k_encode takes as rows x columns x components, htj2k_decode gives back in that order,
# whatever their number, as jpeg2k_encode and jpeg2k_decode of the same package do.
# What happens: 3 and 4 components come back as they went; 2 (grey with alpha) and 5 come back as components x rows x
# columns. The values are right. planar=False, said to the encoder, changes nothing. So a picture with alpha has another
# axis order than one without, depending on whether it is grey.
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
ROWS, COLUMNS = 96, 128
for count in (2, 3, 4, 5):
    picture = np.arange(ROWS * COLUMNS * count, dtype=np.uint32).reshape(ROWS, COLUMNS, count).astype(np.uint8)
    decoded = imagecodecs.htj2k_decode(imagecodecs.htj2k_encode(picture))
    told = imagecodecs.htj2k_decode(imagecodecs.htj2k_encode(picture, planar=False))
    turned = count not in (3, 4)
    wanted = np.moveaxis(picture, -1, 0) if turned else picture
    as_seen = np.array_equal(decoded, wanted) and np.array_equal(told, wanted)
    if count < 5:
        other = imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(picture))
        as_seen &= np.array_equal(other, picture)
    same &= as_seen
    print(f"  {picture.shape} -> htj2k {decoded.shape}", "" if as_seen else "   <-- CHANGED")
sys.exit(0 if same else 1)
PYTHON
