#!/usr/bin/env bash
# Seen with pillow-jxl-plugin 1.3.8 and Pillow 13.0.0.
#
# One would have guessed: what the plug-in saves as EXIF and XMP lies in the boxes as ISO/IEC 18181-2 has them, comes
# back when the plug-in opens the file, and a picture it has turned upright says so.
# What happens:
# 1. save(exif=...) writes an Exif box that begins right with the TIFF header ("MM\0*"); the four-byte offset to
#    that header, which the standard puts first, is missing (a leading "Exif\0\0" is taken off). A reader that takes
#    the offset from the file finds 0x4D4D002A. A caller who puts four zero bytes first gets a right box. The plug-in
#    reads both.
# 2. With compress_metadata=True the EXIF lies in a brob box, and the same plug-in's reader gives no EXIF.
# 3. XMP is written (box "xml "), but is not in Image.info on reading; only from a repacked JPEG it is.
# 4. A codestream's orientation is applied to the pixels, but the orientation of the Exif box stays as it is, so that
#    ImageOps.exif_transpose turns the upright picture again. A repacked JPEG is not turned, and is right.
#
# Needs: bash, a Python 3 that Pillow 13.0.0 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet \
    pillow==13.0.0 pillow-jxl-plugin==1.3.8 packaging==26.4
venv/bin/python -m pip --disable-pip-version-check freeze
venv/bin/python -I - <<'PYTHON'
import io
import struct
import sys
import warnings

import pillow_jxl  # registers the format
from PIL import Image, ImageOps

same = True


def seen(text, expected):
    global same
    same &= bool(expected)
    print(" ", text, "" if expected else "   <-- CHANGED")


def boxes(data):
    """The (type, content) of the boxes of an ISO base media file"""
    found, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        size = size or len(data) - at
        found.append((kind, data[at + head : at + size]))
        at += size
    return found


def box(kind, content):
    return struct.pack(">I4s", 8 + len(content), kind) + content


def saved(picture, **options):
    out = io.BytesIO()
    picture.save(out, "JXL", **options)
    return out.getvalue()


def opened(data):
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def only(data, kind):
    (content,) = [content for name, content in boxes(data) if name == kind]
    return content


RED, BLUE = (200, 30, 30), (20, 40, 220)
picture = Image.new("RGB", (64, 32), RED)  # red at the left, blue at the right
picture.paste(BLUE, (32, 0, 64, 32))
exif = Image.Exif()
exif[0x010F] = "Maker"
exif[0x0112] = 6  # to be turned by a quarter: then red is above
exif = exif.tobytes()
tiff = exif.removeprefix(b"Exif\0\0")
xmp = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
       b"</rdf:RDF></x:xmpmeta>")

print("1. the Exif box")
for name, given in (("Exif\\0\\0 and TIFF", b"Exif\0\0" + tiff), ("TIFF", tiff)):
    content = only(saved(picture, lossless=True, exif=given), b"Exif")
    seen(f"exif={name}: box begins {content[:8]}", content == tiff)
data = saved(picture, lossless=True, exif=bytes(4) + tiff)
seen(f"exif=four zero bytes and TIFF: box begins {only(data, b'Exif')[:8]}", only(data, b"Exif") == bytes(4) + tiff)
seen(f"read back from that: {opened(data).info['exif'][:8]}", opened(data).info["exif"] == tiff)

print("2. and 3. what is read back")
for compress in (False, True):
    data = saved(picture, lossless=True, exif=exif, xmp=xmp, compress_metadata=compress)
    kinds = [kind + (b":" + content[:4] if kind == b"brob" else b"") for kind, content in boxes(data)]
    info = opened(data).info
    seen(f"compress_metadata={compress}: boxes {b' '.join(kinds).decode()}",
         (b"brob:Exif" in kinds and b"brob:xml " in kinds) if compress else (b"Exif" in kinds and b"xml " in kinds))
    seen(f"  'exif' in info: {'exif' in info}", ("exif" in info) is not compress)
    seen(f"  'xmp' in info: {'xmp' in info}", "xmp" not in info)

print("4. orientation")
picture.save("a.jpg", quality=95, exif=exif, xmp=xmp)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says that it repacks the JPEG
    with Image.open("a.jpg") as jpeg:
        repacked = saved(jpeg)
info = opened(repacked).info
seen(f"repacked JPEG: size {opened(repacked).size}, EXIF orientation {opened(repacked).getexif().get(0x0112)}, "
     f"'xmp' in info: {'xmp' in info}",
     opened(repacked).size == (64, 32) and opened(repacked).getexif().get(0x0112) == 6 and "xmp" in info)
# The same codestream (its header says orientation 6) as a picture of its own: without what rebuilds the JPEG file,
# and the EXIF in a plain box with its offset.
parts = [(kind, content) for kind, content in boxes(repacked) if kind not in (b"jbrd", b"brob", b"Exif", b"xml ")]
parts.insert(2, (b"Exif", bytes(4) + tiff))
data = b"".join(box(*part) for part in parts)
upright = opened(data)
turned = ImageOps.exif_transpose(upright)


def corners(picture):
    """The colours at the top left, top right and bottom left"""
    right, low = picture.width - 4, picture.height - 4
    return ["red" if picture.getpixel(at)[0] > 100 else "blue" for at in ((3, 3), (right, 3), (3, low))]


seen(f"not repacked: boxes {b' '.join(kind for kind, _ in boxes(data)).decode()}", True)
seen(f"  opened: size {upright.size}, corners {corners(upright)}: already upright",
     upright.size == (32, 64) and corners(upright) == ["red", "red", "blue"])
seen(f"  EXIF orientation: {upright.getexif().get(0x0112)}", upright.getexif().get(0x0112) == 6)
seen(f"  after exif_transpose: size {turned.size}, corners {corners(turned)}: turned twice",
     turned.size == (64, 32) and corners(turned) == ["blue", "red", "blue"])

print("as recorded" if same else "THE BEHAVIOUR HAS CHANGED")
sys.exit(not same)
PYTHON
