"""Which key is used, made, asked for and warned about."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from psic_cli import keys
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.run import psic


def key_fits(key: Path, file: str | Path) -> bool:
    code = psic("info", "--condition", key, file).code
    assert code in (0, ExitCode.CONDITION)
    return code == 0


def test_the_first_encode_makes_the_users_own_key_and_says_so_once(photo):
    first = psic("encode", "-m", "tiny", photo)
    own = keys.own_key_path()
    assert first.code == 0
    assert first.stderr.splitlines()[0] == (
        f"psic: made your key {own}: without this file only the protected picture can be decoded"
    )
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    assert key_fits(own, "photo.psic")
    content = own.read_bytes()
    second = psic("encode", "-m", "tiny", photo, "--force")
    assert "made your key" not in second.stderr
    assert own.read_bytes() == content


def test_a_new_key_is_announced_even_if_only_errors_are_wanted(photo):
    assert "made your key" in psic("encode", "-m", "tiny", "--quiet", photo).stderr
    assert psic("encode", "-m", "tiny", "--quiet", "--force", photo).stderr == ""


def test_condition_goes_before_the_environment_and_that_before_the_own_key(photo, monkeypatch):
    for name in ("option.bin", "environment.bin"):
        keys.create_key_file(Path(name))
    keys.create_key_file(keys.own_key_path())
    monkeypatch.setenv("PSIC_CONDITION", "environment.bin")
    assert psic("encode", "-m", "tiny", photo, "--condition", "option.bin", "-o", "a.psic").code == 0
    assert psic("encode", "-m", "tiny", photo, "-o", "b.psic").code == 0
    monkeypatch.setenv("PSIC_CONDITION", "")
    assert psic("encode", "-m", "tiny", photo, "-o", "c.psic").code == 0
    assert key_fits(Path("option.bin"), "a.psic")
    assert key_fits(Path("environment.bin"), "b.psic")
    assert key_fits(keys.own_key_path(), "c.psic")
    assert not key_fits(keys.own_key_path(), "b.psic")


def test_a_key_file_that_was_named_is_never_made(photo, monkeypatch):
    assert psic("encode", "-m", "tiny", photo, "--condition", "new.bin").code == ExitCode.CONDITION
    monkeypatch.setenv("PSIC_CONDITION", "new.bin")
    assert psic("encode", "-m", "tiny", photo).code == ExitCode.CONDITION
    assert not Path("new.bin").exists()
    assert not keys.own_key_path().exists()


def test_an_open_file_needs_and_makes_no_key(photo):
    result = psic("encode", "-m", "tiny", "--open", photo)
    assert result.code == 0
    assert not keys.own_key_path().exists()
    for arguments in (["--full"], ["--for", "machine"], []):
        assert psic("decode", "photo.psic", "--force", "-o", "out.png", *arguments).code == 0
    assert not keys.own_key_path().exists()


def test_versions_differ_and_only_the_key_gives_the_full_one(sealed, key):
    pixels = {}
    for version, arguments in {
        "protected": [],
        "full": ["--condition", key],
        "machine": ["--condition", key, "--for", "machine"],
    }.items():
        result = psic("decode", sealed, "-o", f"{version}.png", *arguments)
        assert result.code == 0
        assert f"  {version}  " in result.stderr
        pixels[version] = np.asarray(Image.open(f"{version}.png"))
    assert (pixels["protected"] != pixels["full"]).any()


def test_decode_uses_no_key_that_was_not_asked_for(photo, sealed, key, monkeypatch):
    protected = psic("decode", sealed, "-o", "-")
    keys.own_key_path().parent.mkdir(parents=True)
    keys.own_key_path().write_bytes(key.read_bytes())
    monkeypatch.setenv("PSIC_CONDITION", str(key))
    assert psic("decode", sealed, "-o", "-") == protected
    full = psic("decode", sealed, "-o", "-", "--condition", key)
    assert psic("decode", sealed, "-o", "-", "--full") == full != protected
    monkeypatch.delenv("PSIC_CONDITION")
    keys.own_key_path().chmod(0o600)
    assert psic("decode", sealed, "-o", "-", "--full") == full


def test_full_without_an_own_key_is_a_condition_error_and_makes_none(sealed):
    result = psic("decode", "--full", sealed, "-o", "out.png")
    assert result.code == ExitCode.CONDITION
    assert str(keys.own_key_path()) in result.errors[0]
    assert "--condition" in result.stderr
    assert not keys.own_key_path().exists()


def test_the_machine_version_of_a_sealed_file_needs_a_key(sealed):
    result = psic("decode", "--for", "machine", sealed, "-o", "out.png")
    assert result.code == ExitCode.CONDITION
    assert "machine" in result.errors[0]


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX matter")
def test_a_key_that_others_can_read_is_warned_about(sealed, key):
    key.chmod(0o644)
    result = psic("decode", "--condition", key, sealed, "-o", "out.png")
    assert result.code == 0
    assert f"psic: warning: others can read the key file {key}" in result.stderr
    assert f"chmod 600 {key}" in result.stderr
    key.chmod(0o600)
    assert "warning" not in psic("decode", "--condition", key, sealed, "-o", "again.png").stderr


def test_nothing_ever_shows_the_secret(sealed, key, photo):
    secret = keys.read_key_file(key)
    commands = (
        ["encode", "-m", "tiny", "--debug", "-v", "--condition", key, photo, "-o", "x.psic", "--report", "-"],
        ["decode", "--debug", "-v", "--condition", key, sealed, "-o", "x.png", "--report", "-"],
        ["info", "--json", "--condition", key, sealed],
        ["keygen", "--show", key],
        ["keygen", key, "--debug"],
    )
    for arguments in commands:
        result = psic(*arguments)
        said = bytes(result) + result.stderr.encode()
        assert secret not in said
        assert secret.hex() not in result.stdout + result.stderr


def test_without_its_key_a_file_gives_the_protected_picture_alone(photo):
    assert psic("encode", "-m", "tiny", photo, "-o", "sealed.psic").code == 0
    assert psic("decode", "sealed.psic", "-o", "protected.png").code == 0
    assert psic("decode", "--full", "sealed.psic", "-o", "full.png").code == 0
    with Image.open(photo) as original, Image.open("protected.png") as protected, Image.open("full.png") as full:
        rgb, *versions = (np.array(image.convert("RGB")).astype(float) for image in (original, protected, full))
    lost = [np.square(version - rgb).mean() for version in versions]
    assert lost[1] < lost[0]
    os.remove(keys.own_key_path())
    refused = psic("decode", "--full", "sealed.psic", "-o", "again.png")
    assert refused.code == ExitCode.CONDITION
    assert not Path("again.png").exists()
