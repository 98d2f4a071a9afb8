"""Folders as they are: with pipes in them, with kinds that nobody reads, with names that clash."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from psic_cli.shell import plugins
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.conftest import picture_bytes
from tests.cli.run import psic, psic_process

ENCODE = ("encode", "-m", "tiny", "--open", "-r")
POSIX = pytest.mark.skipif(os.name != "posix", reason="pipes and sockets with names")


@pytest.fixture
def album(folder: Path) -> Path:
    """A folder with one picture in it."""
    (folder / "album").mkdir()
    (folder / "album/a.jpg").write_bytes(picture_bytes(kind="JPEG"))
    return folder / "album"


@POSIX
def test_pipes_sockets_and_devices_are_left_out_and_nothing_waits_for_them(album):
    os.mkfifo(album / "b.jpg")
    os.symlink("b.jpg", album / "c.jpg")
    os.symlink("/dev/zero", album / "d.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(album)  # names of sockets are short
        server.bind("e.jpg")
        os.chdir("..")
        quiet = psic_process(*ENCODE, "album", "--effort", "0")
        told = psic_process(*ENCODE, "album", "--effort", "0", "--force", "-v")
    assert quiet.code == told.code == 0
    assert "left out" not in quiet.stderr
    for name, what in (("b", "a pipe"), ("c", "a pipe"), ("d", "a device"), ("e", "a socket")):
        assert f"album/{name}.jpg is left out: it is {what}" in told.stderr
    assert sorted(path.name for path in album.glob("*.psic")) == ["a.psic"]


@POSIX
def test_a_pipe_in_a_folder_of_files_to_decode_is_left_out(album):
    assert psic(*ENCODE, "album").code == 0
    os.mkfifo(album / "b.psic")
    assert psic_process("decode", "-r", "album", "-o", "out").code == 0
    assert [path.name for path in Path("out").iterdir()] == ["a.png"]


@POSIX
def test_a_pipe_that_is_named_is_read(folder, png):
    os.mkfifo("pipe.png")
    writer = threading.Thread(target=Path("pipe.png").write_bytes, args=(png,))
    writer.start()
    assert psic("encode", "-m", "tiny", "--open", "pipe.png").code == 0
    writer.join()


def test_a_broken_link_is_a_failure_and_not_left_out(album):
    os.symlink("nowhere.jpg", album / "b.jpg")
    result = psic(*ENCODE, "album")
    assert result.code == ExitCode.PARTIAL
    assert "album/b.jpg" in result.errors[0]


def test_what_is_left_out_is_counted_in_one_line(album, monkeypatch):
    monkeypatch.setattr(plugins.Plugin, "is_installed", False)
    for name in ("raw.CR2", "raw2.cr2", "film.mov", "IMG_1.HEIC", "b.jxl", "README", ".hidden.mov"):
        (album / name).write_bytes(b"something")
    result = psic(*ENCODE, "album")
    assert result.code == 0
    (line,) = (line for line in result.stderr.splitlines() if "left out" in line)
    assert line == ("psic: 6 files left out, not pictures: 2 .cr2, 1 .heic, 1 without a suffix, 1 .jxl, 1 .mov")
    assert "pip install 'psic[formats]'" in result.stderr
    again = psic(*ENCODE, "album", "--force", "--quiet")
    assert again.stderr == "", "the .psic files of the first run are no news either"


def test_a_folder_with_nothing_but_other_kinds_says_which(folder):
    Path("raws").mkdir()
    Path("raws/a.cr2").write_bytes(b"x")
    result = psic(*ENCODE, "raws")
    assert result.code == ExitCode.INPUT
    assert "psic: 1 file left out, not pictures: 1 .cr2" in result.stderr


def test_plugin_kinds_in_a_folder_are_read_where_they_can_be(album):
    pytest.importorskip("pillow_heif").register_heif_opener()
    pytest.importorskip("pillow_jxl")
    for kind, name in (("HEIF", "b.HEIC"), ("JXL", "c.jxl")):
        (album / name).write_bytes(picture_bytes(kind=kind))
    result = psic(*ENCODE, "album")
    assert result.code == 0
    assert "left out" not in result.stderr
    assert {path.name for path in album.glob("*.psic")} == {"a.psic", "b.psic", "c.psic"}


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_clash_of_names_fails_one_picture_and_the_rest_is_done(album, jobs):
    (album / "a.png").write_bytes(picture_bytes(1))
    (album / "z.jpg").write_bytes(picture_bytes(2, kind="JPEG"))
    result = psic(*ENCODE, "album", "-o", "out", "-j", jobs, "--report", "report.jsonl")
    assert result.code == ExitCode.PARTIAL
    assert result.errors == ["psic: error: album/a.png: out/a.psic is the output of album/a.jpg"]
    assert "psic: hint: rename one" in result.stderr
    assert {path.name for path in Path("out").iterdir()} == {"a.psic", "z.psic"}
    assert psic("decode", "out/a.psic", "-o", "a.ppm").code == 0
    records = [json.loads(line) for line in Path("report.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records] == ["done", "failed", "done"]
    again = psic(*ENCODE, "album", "-o", "out", "-j", jobs, "--skip-existing")
    assert again.code == ExitCode.PARTIAL, "the picture that was not done is never taken for done"


def test_an_output_that_is_an_input_fails_one_picture_of_a_batch(folder, png):
    for name in ("a.png", "b.png"):
        Path(name).write_bytes(png)
    os.symlink("b.png", "a.psic")
    result = psic("encode", "-m", "tiny", "--open", "-f", "a.png", "b.png")
    assert result.code == ExitCode.PARTIAL
    assert result.errors == ["psic: error: a.psic is also an input"]
    assert Path("b.png").read_bytes() == png
    assert Path("b.psic").exists()


@pytest.mark.parametrize("name", ["album.psic", "album.PSIC", "album.jpg"])
def test_the_name_of_a_file_is_no_folder_for_several_outputs(album, photo, name):
    for inputs in (["-r", "album"], ["photo.png", "album/a.jpg"]):
        result = psic("encode", "-m", "tiny", "--open", *inputs, "-o", name)
        assert result.code == ExitCode.USAGE
        assert result.errors == [f"psic: error: several outputs need a folder, and {name} is the name of a file"]
    assert not Path(name).exists()
    assert psic("encode", "-m", "tiny", "--open", "-r", "album", "-o", f"{name}/").code == 0
    assert psic("encode", "-m", "tiny", "--open", "-r", "album", "-o", name, "-f").code == 0, "a folder that exists"


@pytest.mark.parametrize("name", ["x.png", "x.psic", "x.jpeg"])
def test_nor_is_it_for_decode(album, sealed, name):
    assert psic(*ENCODE, "album").code == 0
    result = psic("decode", "photo.psic", "album/a.psic", "-o", name)
    assert result.code == ExitCode.USAGE
    assert not Path(name).exists()
    assert psic("decode", "photo.psic", "album/a.psic", "-o", "2024.07").code == 0
