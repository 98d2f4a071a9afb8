"""A file that is a key is never written over: not by any command, whoever named it and whatever it is called."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from psic_cli import keys
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.conftest import picture_bytes
from tests.cli.run import child_environment, command, psic

ENCODE = ("encode", "-m", "tiny", "--open", "--force")


def refused(*arguments: str | Path) -> None:
    """The command writes nothing over x.key, says so in one line, and ends with 7."""
    before = Path("x.key").read_bytes()
    result = psic(*arguments)
    assert result.code == ExitCode.OUTPUT, result.stderr
    assert len(result.errors) == 1
    assert "key" in result.errors[0]
    assert Path("x.key").read_bytes() == before


@pytest.fixture(autouse=True)
def _a_key(photo, sealed):
    """x.key, which no option names as a key; photo.png and photo.psic to work on."""
    keys.create_key_file(Path("x.key"))


def test_no_output_and_no_report_replaces_a_key():
    refused(*ENCODE, "photo.png", "-o", "x.key")
    refused(*ENCODE, "photo.png", "-o", "y.psic", "--report", "x.key")
    refused(*ENCODE[:-1], "photo.png", "-o", "y.psic", "--skip-existing", "--report", "x.key")
    refused("decode", "--force", "--format", "png", "photo.psic", "-o", "x.key")
    refused(*ENCODE, "-", "-o", "x.key")
    refused("bench", "--force", "--sizes", "0.01", "-m", "tiny", "-o", "x.key")


def test_neither_the_file_in_the_environment_nor_the_users_own_key_is_replaced(monkeypatch):
    monkeypatch.setenv("PSIC_CONDITION", "x.key")
    refused(*ENCODE, "photo.png", "-o", "x.key")
    refused("encode", "-m", "tiny", "-f", "photo.png", "-o", "x.key")
    monkeypatch.delenv("PSIC_CONDITION")
    keys.create_key_file(keys.own_key_path())
    content = keys.own_key_path().read_bytes()
    for option in ("-o", "--report"):
        assert psic(*ENCODE, "photo.png", option, keys.own_key_path()).code == ExitCode.OUTPUT
        assert keys.own_key_path().read_bytes() == content


def test_the_key_that_the_same_command_makes_is_not_replaced_by_its_picture():
    keys.own_key_path().parent.mkdir(parents=True)
    result = psic("encode", "-m", "tiny", "--force", "photo.png", "-o", keys.own_key_path())
    assert result.code == ExitCode.OUTPUT
    keys.read_key_file(keys.own_key_path())


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_name_that_leads_to_a_key_is_no_way_around(link):
    link("x.key", "photo2.psic")
    Path("photo2.png").write_bytes(picture_bytes())
    refused(*ENCODE, "photo2.png")
    refused(*ENCODE, "photo.png", "--report", "photo2.psic")


def test_in_a_batch_it_is_one_failure():
    Path("photo2.png").write_bytes(picture_bytes())
    os.symlink("x.key", "photo2.psic")
    result = psic(*ENCODE, "photo.png", "photo2.png")
    assert result.code == ExitCode.PARTIAL
    assert result.errors == ["psic: error: photo2.psic is a key file, and a key file is never overwritten"]
    keys.read_key_file(Path("x.key"))


@pytest.mark.parametrize(
    "changed",
    [
        lambda key: key.replace(b"\n", b"\r\n"),
        lambda key: key.replace(b"key 1", b"key 27"),
        lambda key: key[:-1],
        lambda key: key + b"\n",
    ],
    ids=["copied in text mode", "of a newer version", "cut", "longer"],
)
def test_a_key_in_any_state_may_be_the_only_one(changed):
    path = Path("x.key")
    path.write_bytes(changed(path.read_bytes()))
    refused(*ENCODE, "photo.png", "-o", "x.key")


def test_reports_of_other_commands_replace_no_key(folder):
    for name in ("audit.html", "figures.json"):
        shutil.copy("x.key", name)
    content = Path("x.key").read_bytes()
    for arguments in (
        ("audit", "photo.png", "-m", "tiny", "-f", "-o", "audit.html"),
        ("evaluate", "photo.png", "-m", "tiny", "-f", "-o", "figures.json"),
    ):
        result = psic(*arguments)
        assert (result.code, "key file" in result.errors[0]) == (ExitCode.OUTPUT, True), arguments
        assert Path(arguments[-1]).read_bytes() == content


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/fd to look into standard output")
def test_standard_output_that_leads_into_a_key_is_refused():
    content = Path("x.key").read_bytes()
    with open("x.key", "ab") as file:
        done = subprocess.run(
            command("info", "photo.psic"), stdout=file, stderr=subprocess.PIPE, env=child_environment(), check=False
        )
    assert done.returncode == ExitCode.OUTPUT
    assert b"standard output is a key file" in done.stderr
    assert Path("x.key").read_bytes() == content


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root can read everything")
def test_what_cannot_be_read_might_be_a_key():
    Path("x.key").chmod(0o200)
    try:
        result = psic(*ENCODE, "photo.png", "-o", "x.key")
    finally:
        Path("x.key").chmod(0o600)
    assert result.code == ExitCode.OUTPUT
    keys.read_key_file(Path("x.key"))


def test_a_copy_in_text_mode_is_said_to_be_one():
    Path("copy.key").write_bytes(Path("x.key").read_bytes().replace(b"\n", b"\r\n"))
    decode = ("decode", "--condition", "copy.key", "photo.psic", "-o", "y.png")
    for arguments in (decode, ("keygen", "--show", "copy.key")):
        result = psic(*arguments)
        assert result.code == ExitCode.CONDITION
        assert "text mode" in result.errors[0]
