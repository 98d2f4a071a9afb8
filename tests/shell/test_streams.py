"""Files appear whole or not at all, and nothing is replaced by accident."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from psic_cli.errors import InputError, OutputError
from psic_cli.shell import streams
from psic_cli.shell.streams import ReaderGone, check_destination, make_folder, read_file, remove_unfinished, write_file
from tests.cli.run import child_environment

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX file systems")


def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path):
    write_file(tmp_path / "a", b"data", overwrite=False)
    (tmp_path / "b").touch()
    assert (tmp_path / "a").read_bytes() == b"data"
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_of_two_writers_one_wins_and_the_other_is_told(tmp_path):
    results: list[str] = []
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait()
        try:
            write_file(tmp_path / "x", bytes([number]) * 100_000, overwrite=False)
            results.append("written")
        except OutputError as error:
            results.append(str(error).rsplit(" ", 1)[-1])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["exists"] * 7 + ["written"]
    data = (tmp_path / "x").read_bytes()
    assert data == data[:1] * 100_000
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@posix
def test_a_file_that_appears_at_the_last_moment_is_kept(tmp_path, monkeypatch):
    fsync = os.fsync

    def meanwhile(descriptor: int) -> None:
        (tmp_path / "x").write_bytes(b"somebody else's")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(OutputError, match="exists"):
        write_file(tmp_path / "x", b"ours", overwrite=False)
    assert (tmp_path / "x").read_bytes() == b"somebody else's"
    assert len(list(tmp_path.iterdir())) == 1


@posix
def test_file_systems_without_hard_links_keep_the_promise(tmp_path, monkeypatch):
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_file(tmp_path / "x", b"first", overwrite=False)
    assert (tmp_path / "x").read_bytes() == b"first"
    with pytest.raises(OutputError, match="exists"):
        write_file(tmp_path / "x", b"second", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failed_write_leaves_nothing_and_keeps_what_was_there(tmp_path, monkeypatch, overwrite):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    if overwrite:
        (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot write .*x: no space left on device"):
        write_file(tmp_path / "x", b"new", overwrite=overwrite)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([b"old"] if overwrite else [])


@posix
def test_a_replaced_file_keeps_its_permissions_and_a_link_its_target(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to(target)
    write_file(link, b"new", overwrite=True)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nothing")
    with pytest.raises(OutputError, match="exists"):
        write_file(dangling, b"x", overwrite=False)


@posix
def test_pipes_and_devices_are_written_through(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_file(pipe, b"x" * 200_000, overwrite=False)
    reader.join(timeout=10)
    assert received == [b"x" * 200_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_destinations_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    for path, words in (
        (tmp_path, "is a folder"),
        (tmp_path / "no" / "x", "there is no folder"),
        (tmp_path / "file" / "x", "not a directory"),
        (tmp_path / ("x" * 300), "name too long"),
        (tmp_path / "a\0b", "null"),
    ):
        with pytest.raises(OutputError, match=words):
            check_destination(path, overwrite=True)
    with pytest.raises(OutputError, match="cannot make the folder"):
        make_folder(tmp_path / "file" / "x")


def test_inputs_that_cannot_be_read(tmp_path):
    for path, words in ((tmp_path, "is a directory"), (tmp_path / "none", "no such file"), (Path("a\0b"), "null")):
        with pytest.raises(InputError, match=f"cannot read .*{words}"):
            read_file(path)


def test_an_endless_input_is_refused(monkeypatch):
    monkeypatch.setattr(streams, "MAX_INPUT_BYTES", 10**7)
    with pytest.raises(InputError, match="larger than"):
        read_file(Path("/dev/zero"))


def test_a_reader_that_left_is_not_an_error(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def glance() -> None:
        with open(pipe, "rb") as file:
            file.read(1)

    reader = threading.Thread(target=glance)
    reader.start()
    with pytest.raises(ReaderGone):
        write_file(pipe, b"x" * 10**7, overwrite=False)
    reader.join(timeout=10)


@posix
def test_what_a_killed_writer_has_left_is_removed_by_its_token_and_nothing_else_is(tmp_path):
    dying = (
        "import os, sys; from pathlib import Path; from psic_cli.shell import durable, streams;"
        "durable.sync = lambda descriptor: os.kill(os.getpid(), 9);"
        "streams.write_file(Path(sys.argv[1]), bytes(100), overwrite=True, token=sys.argv[2])"
    )
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "x"
    target.symlink_to("elsewhere/x")
    for token in ("1", "2"):
        subprocess.run([sys.executable, "-c", dying, target, token], env=child_environment())
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {".psic-1.tmp", ".psic-2.tmp"}
    remove_unfinished(target, "1", overwrite=True)
    remove_unfinished(target, "3", overwrite=True)
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == [".psic-2.tmp"]
