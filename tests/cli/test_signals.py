"""Stopping psic: nothing half-written stays, and the exit code tells what happened."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from psic_cli.shell import streams
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.conftest import picture_bytes
from tests.cli.run import child_environment, command, psic

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

# Runs psic with a network that takes for ever, or a disk on which nothing is ever safe. Only the first loads torch.
_SLOW_NETWORK = "from psic_cli import codec; codec.encode = lambda *a, **o: (say(), time.sleep(600))"
_NO_NETWORK = """
import types
from psic_cli import zoo
zoo.load = zoo.choose_device = lambda *a, **o: None
sys.modules["psic_cli.codec"] = psic_cli.codec = types.SimpleNamespace(encode=lambda *a, **o: b"picture")
"""
_SLOW_DISK = _NO_NETWORK + "import os; os.fsync = lambda descriptor: (say(), time.sleep(600))"
_SCRIPT = """
import sys, time
import psic_cli
def say():
    sys.__stderr__.write("working\\n"); sys.__stderr__.flush()
{patch}
from psic_cli.__main__ import main
sys.argv = ["psic", *sys.argv[1:]]
main()
"""


def stop(process: subprocess.Popen, number: int, *, after: bytes) -> tuple[int, str]:
    """Send a signal once a line has been said; gives the exit code and the rest of standard error.

    Fails if the process waits for what it has in work.
    """
    assert process.stderr is not None
    while (line := process.stderr.readline()) and not line.startswith(after):
        pass
    time.sleep(0.1)
    process.send_signal(number)
    _, rest = process.communicate(timeout=300)
    return process.returncode, rest.decode()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("patch", "names"),
    [(_SLOW_NETWORK, ["a.png", "b.png"]), (_SLOW_DISK, ["a.png", "b.png"]), (_SLOW_DISK, ["a.png"])],
    ids=["network", "disk", "disk, one picture"],
)
def test_an_interrupted_encode_leaves_nothing_behind(folder, number, code, patch, names):
    for name in names:
        (folder / name).write_bytes(picture_bytes())
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT.format(patch=patch), "encode", "-m", "tiny", "--open", *names],
        stderr=subprocess.PIPE,
        env=child_environment(),
    )
    returned, rest = stop(process, number, after=b"working")
    assert returned == code
    assert sorted(path.name for path in folder.iterdir()) == names
    assert "Traceback" not in rest
    if number == signal.SIGINT:
        assert rest.splitlines()[-1] == "psic: interrupted"


def test_an_interrupt_while_waiting_for_input(folder):
    process = subprocess.Popen(
        command("encode", "-m", "tiny", "--open", "--debug", "-o", "x.psic"),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(),
    )
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == ExitCode.INTERRUPTED
    assert said.decode().splitlines()[-1] == "psic: interrupted"
    assert not Path("x.psic").exists()


# Reading a wide picture takes for ever, and all others are coded in no time.
_SLOW_READING = (
    _NO_NETWORK
    + """
from psic_cli.shell import pictures
read = pictures.read_picture
def read_slowly(data, **options):
    picture = read(data, **options)
    time.sleep(600 if picture.width == 99 else 0)
    return picture
pictures.read_picture = read_slowly
"""
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_report_has_a_line_for_every_finished_picture_whenever_psic_is_stopped(folder, number, jobs):
    slow, quick = "a.png" if jobs == "2" else "z.png", ["b.png", "c.png", "d.png"]
    (folder / slow).write_bytes(picture_bytes(width=99))
    for name in quick:
        (folder / name).write_bytes(picture_bytes())
    names = sorted([slow, *quick])
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _SCRIPT.format(patch=_SLOW_READING),
            "encode",
            "--open",
            *names,
            "-j",
            jobs,
            "--report",
            "r.jsonl",
        ],
        stderr=subprocess.PIPE,
        env=child_environment(),
    )
    until = time.monotonic() + 60
    while not (folder / "d.psic").exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=60)
    records = [json.loads(line) for line in (folder / "r.jsonl").read_text().splitlines()]
    assert [record["input"] for record in records] == quick
    assert {record["status"] for record in records} == {"done"}
    assert {record["bytes_out"] for record in records} == {len(b"picture")}
    assert sorted(path.name for path in folder.glob("*.psic")) == ["b.psic", "c.psic", "d.psic"]


def test_a_process_that_was_told_to_stop_runs_another_command_line(folder, photo):
    streams.abandon_unfinished()  # as after a signal
    assert psic("encode", photo, "--open", "--effort", "0", "-m", "tiny").code == ExitCode.OK
    assert (folder / "photo.psic").exists()
