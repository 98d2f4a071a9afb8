"""Who may read what: the protected version never touches the seal, and nothing behind it opens without its key."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from psic_cli import codec, keys, zoo
from psic_cli.bitstream.container import Container, Section, pack, unpack
from psic_cli.codec import Version
from psic_cli.errors import ConditionError, FormatError
from psic_cli.picture import Picture

TESTS = Path(__file__).parent
OWNER, STRANGER = bytes(range(32)), bytes(range(100, 132))
WITH_KEY = [version for version in Version if version is not Version.PROTECTED]

with Image.open(TESTS.parent / "sample_images" / "odd_size.png") as _image:
    RGB = np.array(_image.convert("RGB"))
PICTURE = Picture(RGB, alpha=RGB[:, :, 0], icc=b"a profile", exif=b"II*\0 place", xmp=b"<x/>")


@pytest.fixture(scope="module", autouse=True)
def _tiny_models():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PSIC_MODELS", str(TESTS / "vectors" / "models"))
        yield


EFFORT = 4  # enough for a shield that is seen in any decode


@pytest.fixture(scope="module")
def sealed(_tiny_models) -> bytes:
    return codec.encode(PICTURE, OWNER, model=zoo.load("tiny"), effort=EFFORT)


@pytest.fixture(scope="module")
def plain(_tiny_models) -> bytes:
    return codec.encode(PICTURE, None, model=zoo.load("tiny"), effort=EFFORT)


def pixels(data: bytes, secret: bytes | None, version: Version) -> np.ndarray:
    return codec.decode(data, secret, version=version, precision="float32").rgb


def changed(data: bytes, sections: dict[Section, bytes] | None = None, **header: object) -> bytes:
    """The file with some payloads or header fields replaced and a checksum that fits; nothing is sealed anew."""
    container = unpack(data)
    fields = {**vars(container.header), **header}
    return pack(Container(type(container.header)(**fields), {**container.sections, **(sections or {})}))


def error(rgb: np.ndarray) -> float:
    return float(np.square(rgb.astype(float) - RGB).mean())


# The protected version


@settings(max_examples=10)
@given(noise=st.binary(max_size=400))
def test_the_protected_version_never_reads_the_seal(sealed, noise):
    tampered = changed(sealed, {Section.SEALED: noise})
    assert (pixels(tampered, None, Version.PROTECTED) == pixels(sealed, None, Version.PROTECTED)).all()
    for version in WITH_KEY:
        with pytest.raises((FormatError, ConditionError)):
            codec.decode(tampered, OWNER, version=version)


def test_the_protected_version_does_not_use_a_key_that_is_given(sealed, monkeypatch):
    expected = pixels(sealed, None, Version.PROTECTED)

    def never(*_):
        raise AssertionError("the seal was opened")

    monkeypatch.setattr(keys, "open_sealed", never)
    for secret in (OWNER, STRANGER):
        assert (pixels(sealed, secret, Version.PROTECTED) == expected).all()


def test_the_protected_version_of_an_open_file_does_not_read_the_moves_either(plain, sealed):
    tampered = changed(plain, {Section.MOVES: b"not moves"})
    assert (pixels(tampered, None, Version.PROTECTED) == pixels(sealed, None, Version.PROTECTED)).all()
    with pytest.raises(FormatError):
        codec.decode(tampered, version=Version.FULL)


def test_versions_do_not_depend_on_whether_the_file_was_sealed(plain, sealed):
    for version in Version:
        assert (pixels(plain, None, version) == pixels(sealed, OWNER, version)).all()


def test_the_protected_version_has_the_strength_in_the_header(sealed):
    strengths = [pixels(changed(sealed, strength=strength), None, Version.PROTECTED) for strength in (0, 50, 100)]
    asked = [codec.decode(sealed, precision="float32", condition=(s, 0.0)).rgb for s in (0.0, 0.5, 1.0)]
    for one, other in zip(strengths, asked, strict=True):
        assert (one == other).all()
    assert (strengths[0] != strengths[1]).any()
    assert (strengths[1] != strengths[2]).any()


def test_whatever_is_asked_of_what_is_public_is_not_the_full_picture(sealed):
    full = error(pixels(sealed, OWNER, Version.FULL))
    for condition in ((0.0, 0.0), (0.0, 1.0), (0.5, 0.0), (1.0, 0.0)):
        assert error(codec.decode(sealed, precision="float32", condition=condition).rgb) > 1.05 * full


def test_the_full_picture_hardly_depends_on_the_strength():
    model = zoo.load("tiny")
    files = [codec.encode(PICTURE, None, model=model, strength=strength) for strength in (0, 100)]
    assert unpack(files[0]).sections[Section.Y] != unpack(files[1]).sections[Section.Y]
    errors = [error(pixels(data, None, Version.FULL)) for data in files]
    assert errors[1] == pytest.approx(errors[0], rel=0.03)


def test_without_a_shield_nothing_is_moved(sealed):
    data = codec.encode(PICTURE, OWNER, model=zoo.load("tiny"), strength=0)
    assert codec._sealed_sections(data, unpack(data), OWNER)[Section.MOVES] == b""
    full, public = (pixels(data, OWNER, version) for version in (Version.FULL, Version.PROTECTED))
    assert (full == public).all()
    assert codec._sealed_sections(sealed, unpack(sealed), OWNER)[Section.MOVES] != b""


# Keys


@pytest.mark.parametrize("version", WITH_KEY)
def test_another_key_is_refused(sealed, version):
    with pytest.raises(ConditionError, match="does not fit"):
        codec.decode(sealed, STRANGER, version=version)


@pytest.mark.parametrize("version", WITH_KEY)
def test_no_key_is_refused(sealed, version):
    with pytest.raises(ConditionError, match="need the key") as caught:
        codec.decode(sealed, version=version)
    assert caught.value.hint is not None


def test_another_key_hashes_no_symbols(sealed):
    assert set(codec.symbols_hash(sealed)) == {"z", "y"}
    assert set(codec.symbols_hash(sealed, OWNER)) == {"z", "y", "moves"}
    with pytest.raises(ConditionError):
        codec.symbols_hash(sealed, STRANGER)


def test_an_open_file_needs_no_key_and_takes_any(plain):
    for secret in (None, OWNER, STRANGER):
        assert set(codec.symbols_hash(plain, secret)) == {"z", "y", "moves"}
        assert (pixels(plain, secret, Version.FULL) == pixels(plain, None, Version.FULL)).all()


# Changes by somebody without the key


@pytest.mark.parametrize("section", [Section.Z, Section.Y, Section.ALPHA, Section.ICC])
def test_a_changed_public_section_is_noticed_by_whoever_has_the_key(sealed, section):
    payload = bytearray(unpack(sealed).sections[section])
    payload[-1] ^= 1
    tampered = changed(sealed, {section: bytes(payload)})
    for version in WITH_KEY:
        with pytest.raises(FormatError, match="changed after sealing"):
            codec.decode(tampered, OWNER, version=version)


@pytest.mark.parametrize("field", [{"strength": 0}, {"quality": 51}, {"width": 38}, {"grey": True}])
def test_a_changed_header_is_noticed_by_whoever_has_the_key(sealed, field):
    with pytest.raises(FormatError, match="changed after sealing"):
        codec.decode(changed(sealed, **field), OWNER, version=Version.FULL)


def test_a_seal_does_not_fit_another_file_of_the_same_owner(sealed):
    other = codec.encode(Picture(RGB[::-1]), OWNER, model=zoo.load("tiny"), effort=EFFORT)
    moved = changed(sealed, {Section.SEALED: unpack(other).sections[Section.SEALED]})
    with pytest.raises(FormatError, match="changed after sealing"):
        codec.decode(moved, OWNER, version=Version.FULL)


@settings(max_examples=15)
@given(data=st.data())
def test_edits_with_a_fitting_checksum_give_a_picture_or_a_clear_error(plain, data):
    container = unpack(plain)
    section = data.draw(st.sampled_from([Section.Z, Section.Y, Section.MOVES]))
    payload = bytearray(container.sections[section])
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    payload = payload[: data.draw(st.sampled_from([None, -4, -1]))]
    tampered = changed(plain, {section: bytes(payload)})
    with contextlib.suppress(FormatError):
        assert pixels(tampered, None, Version.FULL).shape == RGB.shape


# Two encodes


def test_two_encodes_differ_in_the_seal_alone(sealed):
    again = codec.encode(PICTURE, OWNER, model=zoo.load("tiny"), effort=EFFORT)
    one, other = unpack(sealed), unpack(again)
    assert one.header == other.header
    assert {s: p for s, p in one.sections.items() if s != Section.SEALED} == {
        s: p for s, p in other.sections.items() if s != Section.SEALED
    }
    seals = [container.sections[Section.SEALED] for container in (one, other)]
    assert len(seals[0]) == len(seals[1])
    # salt, check, ciphertext: nothing shows that the owner or the content is the same
    for part in (slice(0, 16), slice(16, 20), slice(20, -16), slice(-16, None)):
        assert seals[0][part] != seals[1][part]
    assert codec._sealed_sections(sealed, one, OWNER) == codec._sealed_sections(again, other, OWNER)


def test_two_open_encodes_are_equal(plain):
    assert codec.encode(PICTURE, None, model=zoo.load("tiny"), effort=EFFORT) == plain
