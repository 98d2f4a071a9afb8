"""Permissions and times of what is written: as those of what it was made from."""

import os
import stat
from pathlib import Path

import pytest

from tests.cli.run import psic

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX matter")
ENCODE = ("encode", "-m", "tiny", "--open")
LONG_AGO = 1_000_000_000_123_456_789  # ns


@pytest.fixture(autouse=True)
def _umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(name: str | Path) -> int:
    return stat.S_IMODE(Path(name).stat().st_mode)


@pytest.mark.parametrize(
    ("source", "umask", "output"),
    [(0o600, 0o022, 0o600), (0o640, 0o022, 0o640), (0o664, 0o022, 0o644), (0o755, 0o022, 0o644), (0o644, 0o077, 0o600)],
)
def test_an_output_is_open_to_those_who_could_read_its_input_as_far_as_the_umask_allows(photo, source, umask, output):
    photo.chmod(source)
    os.umask(umask)
    assert psic(*ENCODE, photo).code == 0
    assert mode("photo.psic") == output
    Path("photo.psic").chmod(source)
    assert psic("decode", "photo.psic", "-o", "back.png").code == 0
    assert mode("back.png") == output


def test_a_private_picture_stays_private_in_a_folder_and_in_place_of_a_public_one(photo):
    photo.chmod(0o600)
    Path("photo.psic").write_bytes(b"old")
    Path("photo.psic").chmod(0o664)
    assert psic(*ENCODE, "--force", photo).code == 0
    assert mode("photo.psic") == 0o600
    assert psic(*ENCODE, photo, "-o", "out/").code == 0
    assert mode("out/photo.psic") == 0o600


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_permissions_of_a_group_are_not_given_to_another_group(photo):
    photo.chmod(0o640)
    os.chown(photo, -1, 12345)
    assert psic(*ENCODE, photo).code == 0
    assert mode("photo.psic") == 0o600


def test_an_output_is_as_old_as_its_input(photo):
    os.utime(photo, ns=(LONG_AGO, LONG_AGO))
    assert psic(*ENCODE, photo).code == 0
    assert Path("photo.psic").stat().st_mtime_ns == LONG_AGO
    assert psic("decode", "photo.psic", "-o", "back.png").code == 0
    assert Path("back.png").stat().st_mtime_ns == LONG_AGO


def test_standard_input_and_reports_have_neither(photo, png):
    photo.chmod(0o600)
    os.utime(photo, ns=(LONG_AGO, LONG_AGO))
    assert psic(*ENCODE, "-o", "x.psic", stdin=png).code == 0
    assert psic(*ENCODE, photo, "--report", "report.jsonl").code == 0
    for name in ("x.psic", "report.jsonl"):
        assert mode(name) == 0o644
        assert Path(name).stat().st_mtime_ns > LONG_AGO
