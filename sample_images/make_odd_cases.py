"""Makes the small pictures that file formats stumble over, out of cat.png and arithmetic: no randomness, no clock.

    python sample_images/make_odd_cases.py            # beside this script
    python sample_images/make_odd_cases.py FOLDER

The same pixels and metadata come out every time; compressed bytes may change with Pillow's libraries.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

HERE = Path(__file__).resolve().parent
_ORIENTATION, _MAKE, _DATE, _GPS = 0x0112, 0x010F, 0x0132, 0x8825
_TURN_RIGHT = 6  # stored with its right side up: a viewer has to turn it by 90 degrees clockwise

# A position in the GPS fields and in XMP: what must never be readable in a .psic file without its key.
LATITUDE, LONGITUDE = (51, 28, 38), (0, 0, 5)
XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="51,28.6333N"/></rdf:RDF></x:xmpmeta>'
    b'<?xpacket end="w"?>'
)


def make(folder: Path) -> list[Path]:
    """Write every odd case into `folder` and return their paths."""
    with Image.open(HERE / "cat.png") as whole:
        face = Image.fromarray(np.array(whole.convert("RGB"))[60:156, 110:238])  # 128 x 96, without cat.png's profile
    made = []

    def save(picture: Image.Image, name: str, **options: Any) -> None:
        picture.save(folder / name, **options)
        made.append(folder / name)

    save(Image.new("RGB", (1, 1), (200, 120, 40)), "one_pixel.png")
    save(face.resize((37, 53), Image.Resampling.LANCZOS), "odd_size.png")
    save(face.convert("L"), "grey.png")
    save(_grey_16bit(), "grey_16bit.png")
    save(_with_alpha(face), "alpha.png")
    save(_with_alpha(face).convert("LA"), "grey_alpha.png")
    save(_palette(face.resize((64, 48))), "palette_transparent.png", transparency=15)
    save(_cmyk(face), "cmyk.jpg", quality=92)
    save(face, "profile.jpg", quality=92, icc_profile=_srgb_profile())
    save(face.transpose(Image.Transpose.ROTATE_90), "rotated_gps.jpg", quality=92, exif=_exif(), xmp=XMP)
    return made


def _grey_16bit() -> Image.Image:
    # Every value of a wide ramp lies above 255 somewhere: a reader that clips instead of scaling turns it white.
    ramp = np.linspace(0, 65535, 96 * 64).reshape(64, 96).astype(np.uint16)
    return Image.fromarray(ramp)


def _with_alpha(face: Image.Image) -> Image.Image:
    # Alpha falls from 255 to 0; where it is 0 the hidden colour is loud, so that a reader that drops alpha shows it.
    rows, columns = np.mgrid[0:96, 0:128]
    distance = np.hypot(rows - 47.5, columns - 63.5)
    alpha = np.clip(255 - (distance - 30) * 12, 0, 255).astype(np.uint8)
    pixels = np.array(face)
    pixels[alpha == 0] = (255, 0, 255)
    return Image.fromarray(np.dstack([pixels, alpha]))


def _palette(small: Image.Image) -> Image.Image:
    # Fifteen colours, and a sixteenth that is declared transparent when saved; its own colour is loud again.
    picture = small.quantize(15)
    picture.putpalette([*(picture.getpalette() or [])[:45], 255, 0, 255])
    picture.paste(15, (0, 0, 20, 20))
    return picture


def _cmyk(face: Image.Image) -> Image.Image:
    # Pillow's own conversion leaves black empty; move the common part of the inks there, as printers do.
    inks = 255 - np.array(face).astype(np.int16)
    black = inks.min(axis=2, keepdims=True)
    return Image.fromarray(np.concatenate([inks - black, black], axis=2).astype(np.uint8), mode="CMYK")


def _srgb_profile() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes.fromhex("07e8 0001 0001 0000 0000 0000")  # the creation date: not today's
    profile[84:100] = bytes(16)  # the profile's own hash, which covers it; zero means "not computed"
    return bytes(profile)


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[_ORIENTATION] = _TURN_RIGHT
    exif[_MAKE] = "psic sample"
    exif[_DATE] = "2024:01:01 12:00:00"
    exif[_GPS] = {1: "N", 2: _degrees(LATITUDE), 3: "W", 4: _degrees(LONGITUDE)}
    return exif


def _degrees(values: tuple[int, int, int]) -> tuple[TiffImagePlugin.IFDRational, ...]:
    return tuple(TiffImagePlugin.IFDRational(value, 1) for value in values)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
