#!/usr/bin/env bash
# Seen with Pillow 13.0.0, whose wheel carries littleCMS 2.19.
#
# One would have guessed: a grey picture with a linear (gamma 1.0) ICC profile, converted to sRGB with the default
# flags, is within a rounding of the exact sRGB curve, as the same picture is with a linear RGB profile.
# What happens: the shadows come out far too dark, up to 9.7 levels of 255 (value 1 gives 6 instead of 13, value 2
# gives 12 instead of 22), without a warning. The values are those of straight lines between 33 evenly spaced points
# of the curve: the grey transform is replaced by a table of that size. HIGHRESPRECALC makes it 49 points (6.7 levels
# off). With NOOPTIMIZE (0x0100) it is within half a level. An RGB profile with the same curves is right either way.
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
import io
import struct
import sys
import warnings

from PIL import Image, ImageCms

print("littleCMS", ImageCms.core.littlecms_version)


def s15(*values):
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


D50 = s15(0.9642, 1, 0.8249)


def profile(space, tags):
    """An ICC profile, version 2.4, of a display"""
    text = b"linear\0"
    tags = [
        (b"desc", b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)),
        (b"cprt", b"text" + bytes(4) + b"none\0"),
        (b"wtpt", b"XYZ " + bytes(4) + D50),
        *tags,
    ]
    start = 128 + 4 + 12 * len(tags)
    table = data = b""
    for name, value in tags:
        table += name + struct.pack(">II", start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    head = struct.pack(">I4xI4s4s4s6H4s28x", start + len(data), 0x02400000, b"mntr", space, b"XYZ ",
                       2026, 1, 1, 0, 0, 0, b"acsp") + D50 + bytes(48)
    assert len(head) == 128
    return head + struct.pack(">I", len(tags)) + table + data


def sRGB(value):
    return 255 * (12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055)


def lines(value, points):
    """The curve as straight lines between so many points"""
    place = value * (points - 1)
    low = min(int(place), points - 2)
    a, b = (sRGB(node / (points - 1)) for node in (low, low + 1))
    return a + (b - a) * (place - low)


exact = [sRGB(value / 255) for value in range(256)]
ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
Flags = ImageCms.Flags
ways = {"default": Flags.NONE, "HIGHRESPRECALC": Flags.HIGHRESPRECALC, "NOOPTIMIZE": Flags.NOOPTIMIZE}
curves = {
    "identity": b"curv" + bytes(4) + struct.pack(">I", 0),
    "gamma 1.0": b"curv" + bytes(4) + struct.pack(">IH", 1, 256),
}
primaries = {b"r": (0.4360, 0.2225, 0.0139), b"g": (0.3851, 0.7169, 0.0971), b"b": (0.1431, 0.0606, 0.7141)}
worst, off_lines, shadows = {}, {}, {}
with warnings.catch_warnings(record=True) as warned:
    for curve, tag in curves.items():
        profiles = {
            "grey": (ramp, profile(b"GRAY", [(b"kTRC", tag)])),
            "RGB": (ramp.convert("RGB"), profile(b"RGB ", [
                *((name + b"XYZ", b"XYZ " + bytes(4) + s15(*xyz)) for name, xyz in primaries.items()),
                *((name + b"TRC", tag) for name in primaries),
            ])),
        }
        for space, (picture, icc) in profiles.items():
            for way, flags in ways.items():
                out = ImageCms.profileToProfile(picture, io.BytesIO(icc), ImageCms.createProfile("sRGB"),
                                                outputMode="RGB", flags=flags).tobytes()
                pixels = [out[at : at + 3] for at in range(0, len(out), 3)]
                off = [max(abs(one - right) for one in pixel) for pixel, right in zip(pixels, exact)]
                key = curve, space, way
                worst[key], shadows[key] = max(off), [pixel[0] for pixel in pixels[:5]]
                off_lines[key] = {
                    points: max(abs(pixel[0] - lines(at / 255, points)) for at, pixel in enumerate(pixels))
                    for points in (33, 49)
                }
                print(f"{space:4} {curve:9} {way:14}: 0..4 give {shadows[key]}, furthest off {max(off):.2f} at "
                      f"{off.index(max(off))}, {sum(one > 1 for one in off)} values more than 1 off")
print("exact curve                  : 0..4 give", [round(one, 1) for one in exact[:5]])
for curve in curves:
    for way, points in (("default", 33), ("HIGHRESPRECALC", 49)):
        print(f"grey {curve:9} {way:14}: at most {off_lines[curve, 'grey', way][points]:.2f} from straight lines "
              f"between {points} points of the curve")
print("warnings:", len(warned))

same = not warned
for curve in curves:
    same &= 9 < worst[curve, "grey", "default"] < 10 and shadows[curve, "grey", "default"][:3] == [0, 6, 12]
    same &= 6 < worst[curve, "grey", "HIGHRESPRECALC"] < 7
    same &= off_lines[curve, "grey", "default"][33] < 1 and off_lines[curve, "grey", "HIGHRESPRECALC"][49] < 1
    same &= worst[curve, "grey", "NOOPTIMIZE"] < 0.6
    same &= all(worst[curve, "RGB", way] < 0.6 for way in ways)
print("as recorded" if same else "THE BEHAVIOUR HAS CHANGED")
sys.exit(not same)
PYTHON
