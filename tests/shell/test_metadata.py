"""EXIF and XMP: the orientation is reset in place, and nothing else changes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psic_cli.shell.metadata import upright_exif, upright_xmp


def exif_block(order: str, orientation: int) -> bytes:
    """A camera's block: two tags in the first directory, and one behind it where maker notes would be."""
    entries = struct.pack(order + "HHII", 0x010F, 2, 4, 0x61626300)
    entries += struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8)
    return head + struct.pack(order + "H", 2) + entries + struct.pack(order + "I", 0) + b"maker notes \x12\x01"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_only_the_orientation_changes(order, orientation):
    assert upright_exif(exif_block(order, orientation)) == exif_block(order, 1)


@given(
    st.binary(max_size=80), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II*\0\x08\0\0\0", b"II*\0\x08\0\0\0\xff\xff"])
)
def test_no_bytes_make_it_fail_or_change_length(data, start):
    assert len(upright_exif(start + data)) == len(start + data)


@pytest.mark.parametrize("length", range(len(exif_block("<", 6))))
def test_a_block_cut_anywhere_is_left_alone_or_mended(length):
    assert len(upright_exif(exif_block("<", 6)[:length])) == length


def test_xmp_as_attribute_and_as_element():
    for before, after in (
        (b'<a tiff:Orientation="6" b="6"/>', b'<a tiff:Orientation="1" b="6"/>'),
        (b"<a tiff:Orientation = '8'/>", b"<a tiff:Orientation = '1'/>"),
        (b"<tiff:Orientation>3</tiff:Orientation>", b"<tiff:Orientation>1</tiff:Orientation>"),
        (b"<x>orientation 6</x>", b"<x>orientation 6</x>"),
    ):
        assert upright_xmp(before) == after
