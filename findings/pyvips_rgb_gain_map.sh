#!/usr/bin/env bash
# Seen with pyvips 3.2.0 and pyvips-binary 8.18.7 (libvips 8.18.7), imagecodecs 2026.3.6 (libultrahdr 1.4.0) and numpy
# 2.4.6.
#
# One would have guessed: an Ultra HDR JPEG file that one package writes has the same light in the other; both have
# libultrahdr to open it with.
# What happens: pyvips's uhdr2scRGB shows a file of imagecodecs far too dark: 4.0 (four times the white of SDR) as 1.39,
# 1.0 as 0.56, 0.18 as 0.155. imagecodecs reads its own file right, and pyvips's too. The difference is the gain map:
# that of imagecodecs has three bands, that of pyvips one. Where there are three, libvips puts them through the sRGB
# curve, as if they were a picture, before it takes them for the logarithm of the gain; with one band it does not. The
# numbers are those of that mistake to three digits. The same gain map cut down to one band is read right. Saving without
# that step (uhdrload, uhdrsave) keeps the light; with it, the dark picture is what is saved.
#
# Needs: bash, a Python 3 that numpy 2.4.6 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet \
    pyvips==3.2.0 pyvips-binary==8.18.7 imagecodecs==2026.3.6 numpy==2.4.6
venv/bin/python -m pip --disable-pip-version-check freeze
venv/bin/python -I -W always - <<'PYTHON'
import sys

import imagecodecs
import numpy as np
import pyvips

same = True
LIGHT = np.array([0.18, 1.0, 4.0], np.float32)  # 1 is the white of SDR
picture = np.repeat(np.repeat(LIGHT, 32)[:, None], 64, 1)  # three stripes, each 32 rows
picture = np.stack([picture] * 3, -1)


def seen(text, expected):
    global same
    same &= bool(expected)
    print(" ", text, "" if expected else "   <-- CHANGED")


def stripes(pixels):
    return pixels[16::32, 32, 0].astype(float).round(4)


def near(light, wanted):
    return np.allclose(light, wanted, rtol=0.03)


def linear(srgb):
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def opened(data):
    """The base picture, and the gain map as it is stored, 0 to 1"""
    base = pyvips.Image.uhdrload_buffer(data)
    return base, pyvips.Image.new_from_buffer(base.get("gainmap-data"), "")


def hdr(base):
    return stripes(base.uhdr2scRGB().numpy())


files = {
    "pyvips": pyvips.Image.new_from_array(picture).copy(interpretation="scrgb").uhdrsave_buffer(Q=95),
    "imagecodecs": imagecodecs.ultrahdr_encode(np.dstack([picture, np.ones(picture.shape[:2])]).astype(np.float16)),
}
for writer, data in files.items():
    base, gains = opened(data)
    print(f"{writer}'s file of {LIGHT}: gain map of {gains.bands} band{'s' * (gains.bands > 1)}")
    most, least = base.get("gainmap-max-content-boost")[0], base.get("gainmap-min-content-boost")[0]
    assert least == base.get("gainmap-gamma")[0] == 1
    gain = gains.numpy().reshape(gains.height, gains.width, -1)[gains.height // 6 :: gains.height // 3, 9, 0] / 255
    white = linear(stripes(base.numpy()) / 255)
    seen(f"base picture times most**gain          {(white * most**gain).round(4)}", near(white * most**gain, LIGHT))
    seen(f"by imagecodecs                         {stripes(imagecodecs.ultrahdr_decode(data))}",
         near(stripes(imagecodecs.ultrahdr_decode(data)), LIGHT))
    mistaken = white * most ** linear(gain)
    wanted = LIGHT if gains.bands == 1 else mistaken
    seen(f"by pyvips                              {hdr(base)}", near(hdr(base), wanted))
    if gains.bands == 3:
        seen(f"base picture times most**linear(gain)  {mistaken.round(4)}", np.allclose(hdr(base), mistaken, rtol=1e-3))
        assert hdr(base)[2] < 0.5 * LIGHT[2]
        one = base.copy()
        one.set_type(pyvips.GValue.blob_type, "gainmap-data", gains[0].jpegsave_buffer(Q=100))
        seen(f"by pyvips, one band of the gain map    {hdr(one)}", near(hdr(one), LIGHT))
        for way, again in (("uhdrsave           ", base), ("uhdr2scRGB, uhdrsave", base.uhdr2scRGB())):
            light = stripes(imagecodecs.ultrahdr_decode(again.uhdrsave_buffer(Q=95)))
            seen(f"{way}, by imagecodecs {light}", near(light, LIGHT if again is base else mistaken))
print("as recorded" if same else "THE BEHAVIOUR HAS CHANGED")
sys.exit(not same)
PYTHON
