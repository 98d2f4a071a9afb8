"""Who may read what: the seal is never touched for keyless versions, and nothing behind it opens without its key."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from psic_cli import codec, keys, zoo
from psic_cli.bitstream.container import Container, Section, pack, unpack
from psic_cli.bitstream.header import quality_level
from psic_cli.codec import Version
from psic_cli.errors import ConditionError, FormatError
from psic_cli.picture import Picture

TESTS = Path(__file__).parent
OWNER, STRANGER = bytes(range(32)), bytes(range(100, 132))
KEYLESS = [version for version in Version if version.is_keyless]
WITH_KEY = [version for version in Version if not version.is_keyless]

with Image.open(TESTS.parent / "sample_images" / "odd_size.png") as _image:
    RGB = np.array(_image.convert("RGB"))
PICTURE = Picture(RGB, alpha=RGB[:, :, 0], icc=b"a profile", exif=b"II*\0 place", xmp=b"<x/>")


@pytest.fixture(scope="module", autouse=True)
def _tiny_models():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PSIC_MODELS", str(TESTS / "vectors" / "models"))
        yield


@pytest.fixture(scope="module")
def sealed(_tiny_models) -> bytes:
    return codec.encode(PICTURE, OWNER, model=zoo.load("tiny"))


@pytest.fixture(scope="module")
def hardened(_tiny_models) -> bytes:
    return codec.encode(PICTURE, OWNER, model=zoo.load("tiny"), hardened=True)


@pytest.fixture(scope="module")
def plain(_tiny_models) -> bytes:
    return codec.encode(PICTURE, None, model=zoo.load("tiny"))


def pixels(data: bytes, secret: bytes | None, version: Version) -> np.ndarray:
    return codec.decode(data, secret, version=version, precision="float32").rgb


def changed(data: bytes, sections: dict[Section, bytes] | None = None, **header: object) -> bytes:
    """The file with some payloads or header fields replaced and a checksum that fits; nothing is sealed anew."""
    container = unpack(data)
    fields = {**vars(container.header), **header}
    return pack(Container(type(container.header)(**fields), {**container.sections, **(sections or {})}))


# Keyless versions


@settings(max_examples=10)
@given(noise=st.binary(max_size=400))
def test_keyless_versions_never_read_the_seal(sealed, noise):
    tampered = changed(sealed, {Section.SEALED: noise})
    for version in KEYLESS:
        assert (pixels(tampered, None, version) == pixels(sealed, None, version)).all()
    for version in WITH_KEY:
        with pytest.raises((FormatError, ConditionError)):
            codec.decode(tampered, OWNER, version=version)


def test_keyless_versions_do_not_use_a_key_that_is_given(sealed, monkeypatch):
    expected = [pixels(sealed, None, version) for version in KEYLESS]

    def never(*_):
        raise AssertionError("the seal was opened")

    monkeypatch.setattr(keys, "open_sealed", never)
    for secret in (OWNER, STRANGER):
        for version, picture in zip(KEYLESS, expected, strict=True):
            assert (pixels(sealed, secret, version) == picture).all()


def test_keyless_versions_of_an_open_file_do_not_read_the_private_part_either(plain, sealed):
    tampered = changed(plain, {Section.Y_PRIVATE: b"not symbols"})
    for version in KEYLESS:
        assert (pixels(tampered, None, version) == pixels(sealed, None, version)).all()
    with pytest.raises(FormatError):
        codec.decode(tampered, version=Version.FULL)


def test_versions_do_not_depend_on_whether_the_file_was_sealed(plain, sealed):
    for version in Version:
        assert (pixels(plain, None, version) == pixels(sealed, OWNER, version)).all()


def test_the_protected_version_has_the_strength_in_the_header(sealed):
    strengths = [pixels(changed(sealed, strength=strength), None, Version.PROTECTED) for strength in (0, 50, 100)]
    assert (strengths[0] == pixels(sealed, None, Version.FORCED)).all()
    assert (strengths[2] == pixels(sealed, None, Version.PROTECTED)).all()
    distances = [np.abs(strengths[0].astype(int) - other).mean() for other in strengths]
    assert distances[0] == 0
    assert min(distances[1:]) > 0


def test_full_and_machine_do_not_depend_on_the_strength():
    model = zoo.load("tiny")
    files = [codec.encode(PICTURE, None, model=model, strength=strength) for strength in (0, 100)]
    for version in (Version.FULL, Version.MACHINE, Version.FORCED):
        one, other = (pixels(data, None, version) for data in files)
        assert (one == other).all()


def test_the_machine_version_is_the_full_one_where_that_reads_best(monkeypatch):
    model = zoo.load("tiny")
    monkeypatch.setattr(zoo, "load", lambda *_, **__: model)
    data = codec.encode(PICTURE, None, model=model, quality=50)
    own = pixels(data, None, Version.MACHINE)
    full = pixels(data, None, Version.FULL)
    assert (own != full).any()
    level = quality_level(50, model.network.config.levels, min(RGB.shape[:2]), model.network.config.even_from)
    for below, expected in ((level, full), (level + 1, own)):
        monkeypatch.setattr(model.network, "config", dataclasses.replace(model.network.config, machine_below=below))
        assert (pixels(data, None, Version.MACHINE) == expected).all()


# Hardened files


def test_without_its_key_nobody_gets_more_of_a_hardened_file_than_its_protected_version(hardened, sealed):
    protected, forced = (pixels(hardened, None, version) for version in (Version.PROTECTED, Version.FORCED))
    assert (protected == forced).all()
    assert (pixels(sealed, None, Version.PROTECTED) != pixels(sealed, None, Version.FORCED)).any()


def test_a_hardened_file_gives_with_its_key_what_any_other_gives(hardened, sealed):
    for version in WITH_KEY:
        errors = [np.square(pixels(data, OWNER, version).astype(float) - RGB).mean() for data in (hardened, sealed)]
        assert errors[0] < 1.1 * errors[1]
    full = codec.decode(hardened, OWNER, version=Version.FULL)
    assert (full.icc, full.exif, full.xmp) == (PICTURE.icc, PICTURE.exif, PICTURE.xmp)
    keyless = codec.decode(hardened)
    assert (keyless.icc, keyless.exif, keyless.xmp) == (PICTURE.icc, None, None)


def test_the_shield_of_a_hardened_file_is_in_its_public_part():
    model = zoo.load("tiny")
    without, with_shield = (
        unpack(codec.encode(PICTURE, OWNER, model=model, strength=strength, hardened=True)) for strength in (0, 100)
    )
    assert without.sections[Section.Y_PUBLIC] != with_shield.sections[Section.Y_PUBLIC]


@settings(max_examples=10)
@given(noise=st.binary(max_size=400))
def test_the_protected_version_of_a_hardened_file_never_reads_the_seal(hardened, noise):
    tampered = changed(hardened, {Section.SEALED: noise})
    assert (pixels(tampered, None, Version.PROTECTED) == pixels(hardened, None, Version.PROTECTED)).all()
    with pytest.raises((FormatError, ConditionError)):
        codec.decode(tampered, OWNER, version=Version.FULL)


def test_an_open_file_cannot_be_hardened():
    with pytest.raises(ValueError, match="a hardened file is sealed"):
        codec.encode(PICTURE, None, model=zoo.load("tiny"), hardened=True)


@pytest.mark.parametrize("quality", [1, 5, 100])
def test_the_public_quality_lies_below_the_other_where_there_is_one_below(quality):
    header = unpack(codec.encode(PICTURE, OWNER, model=zoo.load("tiny"), quality=quality, hardened=True)).header
    assert (header.quality, header.public_quality) == (quality, max(1, quality - codec.PUBLIC_BELOW))


def test_another_public_quality_is_noticed_by_whoever_has_the_key(hardened):
    with pytest.raises(FormatError, match="changed after sealing"):
        codec.decode(changed(hardened, public_quality=36), OWNER, version=Version.FULL)


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
    assert set(codec.symbols_hash(sealed)) == {"z", "y_public"}
    assert set(codec.symbols_hash(sealed, OWNER)) == {"z", "y_public", "y_private"}
    with pytest.raises(ConditionError):
        codec.symbols_hash(sealed, STRANGER)


def test_an_open_file_needs_no_key_and_takes_any(plain):
    for secret in (None, OWNER, STRANGER):
        assert set(codec.symbols_hash(plain, secret)) == {"z", "y_public", "y_private"}
        assert (pixels(plain, secret, Version.FULL) == pixels(plain, None, Version.FULL)).all()


# Changes by somebody without the key


@pytest.mark.parametrize("section", [Section.Z, Section.Y_PUBLIC, Section.ALPHA, Section.ICC])
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
    other = codec.encode(Picture(RGB[::-1]), OWNER, model=zoo.load("tiny"))
    moved = changed(sealed, {Section.SEALED: unpack(other).sections[Section.SEALED]})
    with pytest.raises(FormatError, match="changed after sealing"):
        codec.decode(moved, OWNER, version=Version.FULL)


@settings(max_examples=15)
@given(data=st.data())
def test_edits_with_a_fitting_checksum_give_a_picture_or_a_clear_error(plain, data):
    container = unpack(plain)
    section = data.draw(st.sampled_from([Section.Z, Section.Y_PUBLIC, Section.Y_PRIVATE]))
    payload = bytearray(container.sections[section])
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    payload = payload[: data.draw(st.sampled_from([None, -4, -1]))]
    tampered = changed(plain, {section: bytes(payload)})
    with contextlib.suppress(FormatError):
        assert pixels(tampered, None, Version.FULL).shape == RGB.shape


# Two encodes


def test_two_encodes_differ_in_the_seal_alone(sealed):
    again = codec.encode(PICTURE, OWNER, model=zoo.load("tiny"))
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
    assert codec._private_sections(sealed, one, OWNER) == codec._private_sections(again, other, OWNER)


def test_two_open_encodes_are_equal(plain):
    assert codec.encode(PICTURE, None, model=zoo.load("tiny")) == plain
