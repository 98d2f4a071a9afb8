"""One test for each exit code, by real causes."""

import struct
import zlib

import constriction
import numpy as np
import pytest

from psic_cli import codec, keys
from tests.cli.run import psic


def test_0_when_everything_was_done(photo):
    result = psic("encode", "-m", "tiny", photo)
    assert result.code == 0
    assert photo.with_suffix(".psic").exists()


def test_1_for_a_bug_which_is_said_to_be_one(photo, monkeypatch):
    monkeypatch.setattr(codec, "encode", lambda *args, **options: 1 / 0)
    result = psic("encode", "-m", "tiny", "--open", photo)
    assert result.code == 1
    assert result.errors == ["psic: error: internal error: ZeroDivisionError: division by zero"]
    assert "report" in result.stderr
    assert "Traceback" not in result.stderr


def test_1_for_a_panic_of_a_rust_library_which_is_no_exception(photo, monkeypatch):
    def panic(*args, **options):
        coder = constriction.stream.queue.RangeEncoder()
        coder.encode(np.array([0], np.int32), constriction.stream.model.QuantizedGaussian(-5, 5, 0.0, 0.0))

    monkeypatch.setattr(codec, "encode", panic)
    result = psic("encode", "-m", "tiny", "--open", photo)
    assert result.code == 1
    assert result.errors[0].startswith("psic: error: internal error: PanicException: ")
    assert not photo.with_suffix(".psic").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "--no-such-option", "x.png"],
        ["no-such-command"],
        ["encode", "-q", "0", "x.png"],
        ["encode", "-q", "101", "x.png"],
        ["encode", "--strength", "1.5", "x.png"],
        ["encode", "--strength", "nan", "x.png"],
        ["encode", "--open", "--condition", "key.bin", "x.png"],
        ["encode", "--effort", "10", "x.png"],
        ["encode", "--force", "--skip-existing", "x.png"],
        ["encode", "--device", "abacus", "x.png"],
        ["decode", "--full", "--condition", "key.bin", "x.psic"],
        ["decode", "--format", "gif", "x.psic"],
        ["decode", "-o", "x.jpg", "--format", "png", "x.psic"],
        ["decode", "-o", "x.unknown", "x.psic"],
        ["decode", "--for", "dogs", "x.psic"],
        ["decode", "--max-pixels", "0", "x.psic"],
        ["encode", ""],
        ["keygen"],
        ["keygen", "-"],
        ["keygen", "a.key", "-o", "b.key"],
    ],
)
def test_2_for_wrong_options_and_arguments(folder, arguments):
    result = psic(*arguments)
    assert result.code == 2
    assert len(result.errors) == 1
    assert "psic: hint: " in result.stderr or "strength" in result.stderr
    assert result == b""
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7 not a picture", b"\x89PNG\r\n\x1a\n"])
def test_3_for_what_is_no_picture(folder, data):
    (folder / "x.png").write_bytes(data)
    result = psic("encode", "-m", "tiny", "x.png")
    assert result.code == 3
    assert len(result.errors) == 1
    assert "x.png" in result.errors[0]
    assert [path.name for path in folder.iterdir()] == ["x.png"]
    assert not keys.own_key_path().exists(), "a key is made only when something is sealed with it"


def test_3_for_a_missing_input(folder):
    result = psic("encode", "-m", "tiny", "missing.png")
    assert result.code == 3
    assert result.errors == ["psic: error: cannot read missing.png: no such file or directory"]


def test_3_for_a_picture_over_the_limit_both_ways(photo, sealed):
    for arguments in (["encode", "-m", "tiny", photo, "-o", "x.psic"], ["decode", sealed, "-o", "x.png"]):
        result = psic(*arguments, "--max-pixels", "959")
        assert result.code == 3
        assert "40 x 24 = 960 pixels" in result.errors[0]
        assert "--max-pixels 960" in result.stderr
        assert psic(*arguments, "--max-pixels", "960").code == 0


@pytest.mark.parametrize(("width", "height"), [(2**18 + 1, 1), (40_000, 40_000)])
def test_3_for_a_picture_that_no_limit_lets_into_a_file(folder, png, width, height):
    """Said from the header alone, and no option is named that would not help."""
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    (folder / "x.png").write_bytes(png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:])
    for options in ([], ["--max-pixels", str(2**40)]):
        result = psic("encode", "-m", "tiny", "--open", "x.png", *options)
        assert result.code == 3
        assert result.errors == [
            f"psic: error: x.png: the picture has {width} x {height} pixels, more than a .psic file holds"
        ]
        assert "--max-pixels" not in result.stderr


def test_4_for_what_is_not_a_psic_file(folder):
    (folder / "letter.psic").write_bytes(b"%PDF-1.7")
    result = psic("decode", "letter.psic")
    assert result.code == 4
    assert result.errors == ['psic: error: letter.psic is not a .psic file (it starts with "%PDF")']


def test_4_for_a_damaged_or_truncated_file(sealed):
    data = sealed.read_bytes()
    for damaged in (data[:-1], data[:50], data + b"\0", data[:60] + bytes([data[60] ^ 1]) + data[61:]):
        sealed.write_bytes(damaged)
        result = psic("decode", sealed, "-o", "out.png")
        assert result.code == 4
        assert len(result.errors) == 1
        assert not (sealed.parent / "out.png").exists()


def test_5_for_a_key_file_that_is_missing_or_malformed(photo, sealed):
    (photo.parent / "bad.bin").write_bytes(b"not a key")
    for name in ("missing.bin", "bad.bin", str(photo.parent)):
        for arguments in (["encode", "-m", "tiny", photo, "-f"], ["decode", sealed, "-o", "out.png"]):
            result = psic(*arguments, "--condition", name)
            assert result.code == 5
            assert len(result.errors) == 1


def test_5_for_the_wrong_key(folder, sealed):
    keys.create_key_file(folder / "other.bin")
    result = psic("decode", "--condition", "other.bin", sealed, "-o", "out.png")
    assert result.code == 5
    assert "the key does not fit" in result.errors[0]
    assert not (folder / "out.png").exists()


def test_6_for_an_unknown_model(photo):
    result = psic("encode", "-m", "no-such-model", photo)
    assert result.code == 6
    assert "no-such-model" in result.errors[0]


def test_6_for_weights_that_differ_from_their_card(photo, tmp_path, tiny_models, monkeypatch):
    copy = tmp_path / "models" / "tiny"
    copy.mkdir(parents=True)
    for file in (tiny_models / "tiny").iterdir():
        (copy / file.name).write_bytes(file.read_bytes() + b"\n")
    monkeypatch.setenv("PSIC_MODELS", str(copy.parent))
    assert psic("models", "check", "tiny").code == 6
    assert psic("encode", "-m", "tiny", photo).code == 6


def test_7_for_an_existing_output(photo):
    photo.with_suffix(".psic").write_bytes(b"precious")
    result = psic("encode", "-m", "tiny", photo)
    assert result.code == 7
    assert result.errors == [f"psic: error: {photo.with_suffix('.psic')} exists"]
    assert "--force" in result.stderr
    assert photo.with_suffix(".psic").read_bytes() == b"precious"


def test_8_for_a_batch_in_which_some_failed(folder, png):
    (folder / "broken.png").write_bytes(png[:200])
    (folder / "ok.png").write_bytes(png)
    result = psic("encode", "-m", "tiny", "broken.png", "ok.png", "-o", "out")
    assert result.code == 8
    assert result.errors == ["psic: error: broken.png: the picture ends too early"]
    assert "ok.png -> out/ok.psic" in result.stderr
    assert result.stderr.splitlines()[-1] == "psic: 1 of 2 pictures failed"
    assert (folder / "out/ok.psic").exists()


# 130, for Ctrl-C, is in test_signals.py.
