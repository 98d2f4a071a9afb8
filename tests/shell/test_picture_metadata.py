"""Orientation is applied, EXIF, XMP and profiles travel along."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from psic_cli.picture import Picture
from psic_cli.shell.pictures import PictureFormat, read_picture, write_picture
from tests.shell.made_pictures import RGB, SRGB, exif_with, saved


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_orientation_is_applied_once_and_its_tag_reset(orientation, kind):
    # What a viewer shows is known from the definition of the tag, not from Pillow.
    shown = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: RGB.transpose(1, 0, 2)[:, ::-1],
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: RGB.transpose(1, 0, 2)[::-1],
    }[orientation]
    lossless: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    options = lossless.get(kind, {})
    picture = read_picture(saved(Image.fromarray(RGB), kind, exif=exif_with(orientation), **options))
    assert picture.rgb.shape == shown.shape
    assert np.abs(picture.rgb.astype(int) - shown).max() <= (12 if kind == "JPEG" else 0)
    for out in (PictureFormat.PNG, PictureFormat.JPG, PictureFormat.WEBP):
        exif = Image.open(io.BytesIO(write_picture(picture, out))).getexif()
        assert exif.get(0x0112, 1) == 1
        assert exif[0x010F] == "Maker"


def test_orientation_in_xmp_alone_is_applied_and_reset():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    picture = read_picture(saved(Image.fromarray(RGB), "JPEG", xmp=xmp))
    assert picture.rgb.shape == (9, 12, 3)
    assert picture.xmp == xmp.replace(b'"6"', b'"1"')


def test_metadata_travels_into_png_jpeg_and_webp():
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>\xc3\xa4</x:xmpmeta>"
    ways: dict[str, dict[str, Any]] = {"JPEG": {"xmp": xmp}, "WEBP": {"xmp": xmp}, "PNG": {"pnginfo": _xmp_chunk(xmp)}}
    for kind, options in ways.items():
        picture = read_picture(saved(Image.fromarray(RGB), kind, exif=exif_with(1), icc_profile=SRGB, **options))
        assert picture.icc == SRGB, kind
        assert picture.xmp == xmp, kind
        assert picture.exif is not None
        assert picture.exif[:2] in (b"II", b"MM")
        for out in (PictureFormat.PNG, PictureFormat.JPG, PictureFormat.WEBP):
            again = read_picture(write_picture(picture, out))
            assert (again.icc, again.xmp, again.exif) == (SRGB, xmp, picture.exif), (kind, out)


def _xmp_chunk(xmp: bytes) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return chunks


def test_exif_in_the_text_of_a_png_as_older_programs_write_it():
    block = exif_with(6)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=True)
    picture = read_picture(saved(Image.fromarray(RGB), pnginfo=chunks))
    assert picture.rgb.shape == (9, 12, 3)
    assert picture.exif is not None
    exif = Image.Exif()
    exif.load(picture.exif)
    assert (exif[0x0112], exif[0x010F]) == (1, "Maker")


def test_strip_drops_exif_and_xmp_but_not_the_profile():
    data = saved(Image.fromarray(RGB), "JPEG", exif=exif_with(6), icc_profile=SRGB, xmp=b"<x/>")
    picture = read_picture(data, strip=True)
    assert (picture.exif, picture.xmp, picture.icc) == (None, None, SRGB)
    assert picture.rgb.shape == (9, 12, 3), "orientation is not metadata once it is applied"


def test_tiff_keeps_descriptions_but_not_the_layout_of_the_file():
    picture = read_picture(saved(Image.fromarray(RGB), "TIFF", exif=exif_with(1), compression="tiff_lzw"))
    assert picture.exif is not None
    exif = Image.Exif()
    exif.load(picture.exif)
    assert exif[0x010F] == "Maker"
    assert not {256, 257, 258, 259, 262, 273, 278, 279} & set(exif)


def test_metadata_too_large_for_jpeg_is_left_out_and_said():
    picture = Picture(RGB, exif=b"II*\0" + bytes(70000), xmp=b"<x/>" + b" " * 70000)
    warnings: list[str] = []
    assert read_picture(write_picture(picture, PictureFormat.JPG, warn=warnings.append)).exif is None
    assert len(warnings) == 2
