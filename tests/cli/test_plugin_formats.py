"""HEIC and JPEG XL: upright once, with what goes with the pixels, where their plug-ins are installed."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from psic_cli.shell import jpeg_xl, plugins
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.pictures import read_picture
from tests.cli.run import child_environment, psic

TURN_RIGHT = 6  # what EXIF calls it
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:title="secret"/></x:xmpmeta>'
# A picture of which the left upper corner is red and the right lower one blue.
PIXELS = np.full((48, 64, 3), 90, np.uint8)
PIXELS[:24, :32], PIXELS[24:, 32:] = (255, 0, 0), (0, 0, 255)


def exif() -> bytes:
    tags = Image.Exif()
    tags[0x0112] = TURN_RIGHT
    tags.get_ifd(0x8825)[1] = "N"
    return tags.tobytes()


def heic() -> bytes:
    pytest.importorskip("pillow_heif").register_heif_opener()
    return _saved("HEIF", quality=90)


def jxl() -> bytes:
    """The orientation stands in EXIF alone, as Pillow's plug-in writes it."""
    pytest.importorskip("pillow_jxl")
    return _saved("JXL", lossless=True)


def jxl_of_a_jpeg() -> bytes:
    """A repacked JPEG file, in which both EXIF and codestream say the orientation."""
    pytest.importorskip("pillow_jxl")
    Path("turned.jpg").write_bytes(_saved("JPEG", quality=95))
    stream = io.BytesIO()
    with Image.open("turned.jpg") as image:
        image.save(stream, "JXL", lossless_jpeg=True)
    return stream.getvalue()


def jxl_turned_by_its_codestream() -> bytes:
    """The same without what the JPEG file could be made of again; a stale EXIF says the orientation once more."""
    data = jxl_of_a_jpeg()
    kept = [_box(kind, content) for kind, content in jpeg_xl._boxes(data) if kind not in (b"jbrd", b"brob")]
    return b"".join([*kept[:2], _box(b"Exif", bytes(4) + exif().removeprefix(b"Exif\0\0")), *kept[2:]])


def _box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def _saved(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind, exif=exif(), xmp=XMP, **options)
    return stream.getvalue()


MAKERS = pytest.mark.parametrize("made", [heic, jxl, jxl_of_a_jpeg, jxl_turned_by_its_codestream])


@MAKERS
def test_a_picture_is_upright_once_and_its_metadata_needs_the_key(folder, made):
    Path("photo.bin").write_bytes(made())
    assert psic("encode", "-m", "tiny", "-q", "100", "photo.bin", "-o", "x.psic").code == 0
    for arguments, has_metadata in ((["--full"], True), ([], False)):
        data = psic("decode", *arguments, "x.psic", "-o", "-")
        back = Image.open(io.BytesIO(data))
        assert back.size == (48, 64)
        assert back.getexif().get(0x0112, 1) == 1
        assert bool(back.getexif().get_ifd(0x8825)) == has_metadata
        assert data.find(b"secret") < 0 or has_metadata
    upright = np.rot90(PIXELS, -1)
    assert np.abs(read_picture(made()).rgb - upright.astype(float)).mean() < 9


@pytest.mark.parametrize("made", [heic, jxl, jxl_of_a_jpeg])
def test_xmp_is_kept_and_says_upright(folder, made):
    assert (read_picture(made()).xmp or b"").count(b"secret") == 1
    assert b'tiff:Orientation="6"' not in (read_picture(made()).xmp or b"")


def test_compressed_metadata_is_said_to_be_left_out(folder):
    pytest.importorskip("pillow_jxl")
    Path("x.jxl").write_bytes(_saved("JXL", compress_metadata=True))
    result = psic("encode", "-m", "tiny", "x.jxl")
    assert result.code == 0
    assert "psic: warning: x.jxl: its compressed metadata is left out" in result.stderr


@pytest.mark.parametrize("size", [(8, 8), (64, 48), (64, 64), (1, 1), (1, 700), (513, 9), (600, 300), (3000, 17)])
def test_a_jpeg_xl_picture_that_is_too_large_is_refused_before_it_is_decoded(size):
    pytest.importorskip("pillow_jxl")
    stream = io.BytesIO()
    Image.new("L", size).save(stream, "JXL")
    header = jpeg_xl.read_header(stream.getvalue())
    assert (header.width, header.height, header.orientation) == (*size, 1)


@pytest.mark.parametrize("made", [heic, jxl])
def test_too_many_pixels_and_damage_are_input_errors(folder, made):
    data = made()
    Path("x.bin").write_bytes(data)
    result = psic("encode", "-m", "tiny", "--max-pixels", "3071", "x.bin")
    assert result.code == ExitCode.INPUT
    assert "3072 pixels" in result.errors[0]
    for cut in (len(data) // 2, len(data) - 5, 40):
        Path("x.bin").write_bytes(data[:cut])
        result = psic("encode", "-m", "tiny", "x.bin")
        assert result.code == ExitCode.INPUT
        assert len(result.errors) == 1
        assert "damaged or ends too early" in result.errors[0]


HEIC_HEADER = b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"


@pytest.mark.parametrize(
    ("name", "content", "kind"), [("x.heic", HEIC_HEADER, "HEIC"), ("x.jxl", b"\xff\x0a\0\0", "JPEG XL")]
)
def test_without_the_plugin_the_message_says_what_to_install(folder, monkeypatch, name, content, kind):
    monkeypatch.setattr(plugins.Plugin, "is_installed", False)
    Path(name).write_bytes(content)
    result = psic("encode", "-m", "tiny", name)
    assert result.code == ExitCode.INPUT
    assert kind in result.errors[0]
    assert "pip install 'psic[formats]'" in result.stderr


def test_an_avif_picture_needs_no_plugin(folder, monkeypatch):
    monkeypatch.setattr(plugins.Plugin, "is_installed", False)
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "AVIF")
    assert read_picture(stream.getvalue()).rgb.shape == PIXELS.shape


def test_plugins_are_loaded_for_their_pictures_alone(folder, photo):
    program = (
        "import sys; from psic_cli.app import run; code = run(sys.argv[1:]);"
        "assert code == 0 and not {'pillow_heif', 'pillow_jxl'} & set(sys.modules), sys.modules"
    )
    arguments = ("encode", "-m", "tiny", "--open", photo, "-o", "x.psic")
    done = subprocess.run([sys.executable, "-c", program, *arguments], env=child_environment(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
