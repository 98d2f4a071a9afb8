"""Pipes and terminals: data goes to standard output and nothing else does."""

import io
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from psic_cli import codec
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.run import child_environment, command, psic, psic_process


def test_a_pipe_gives_the_same_bytes_as_a_file(photo, key):
    assert psic("encode", "-m", "tiny", "--open", photo).code == 0
    from_file = photo.with_suffix(".psic").read_bytes()
    for arguments in ([], ["-"], ["-", "-o", "-"], [photo, "-o", "-"], [photo, "-o", "/dev/stdout"], ["/dev/stdin"]):
        piped = psic("encode", "-m", "tiny", "--open", *arguments, stdin=photo.read_bytes())
        assert piped.code == 0
        assert piped.stderr == "", "success of a single piped command is silent"
        assert piped == from_file

    assert psic("decode", photo.with_suffix(".psic"), "-o", "out.png").code == 0
    from_file = Path("out.png").read_bytes()
    for arguments in ([], ["-"], [photo.with_suffix(".psic"), "-o", "-"]):
        piped = psic("decode", *arguments, stdin=photo.with_suffix(".psic").read_bytes())
        assert (piped.code, piped.stderr) == (0, "")
        assert piped == from_file


def test_a_filter_in_two_processes(photo, key, folder):
    sealed = psic_process("encode", "-m", "tiny", "--effort", "0", "--condition", key, stdin=photo.read_bytes())
    assert (sealed.code, sealed.stderr) == (0, "")
    full = psic_process("decode", "--condition", key, stdin=sealed)
    assert (full.code, full.stderr) == (0, "")
    assert Image.open(io.BytesIO(full)).size == (40, 24)


def test_what_libraries_print_never_reaches_the_data(photo, monkeypatch):
    clean = psic("encode", "-m", "tiny", "--open", photo, "-o", "-")
    encode = codec.encode

    def chatty(*args, **options):
        sys.stdout.write("a warning on standard output")
        os.write(1, b"and one from C\n")
        return encode(*args, **options)

    monkeypatch.setattr(codec, "encode", chatty)
    noisy = psic("encode", "-m", "tiny", "--open", photo, "-o", "-")
    assert noisy == clean
    assert "and one from C" in noisy.stderr


def test_standard_input_to_a_file(photo, key):
    result = psic("encode", "-m", "tiny", "--condition", key, "-o", "x.psic", stdin=photo.read_bytes())
    assert result.code == 0
    assert result == b""
    assert psic("decode", "--condition", key, "-", "-o", "x.jpg", stdin=Path("x.psic").read_bytes()).code == 0
    assert Image.open("x.jpg").format == "JPEG"


def test_the_key_may_come_from_standard_input_but_not_together_with_the_picture(photo, key, sealed):
    data = key.read_bytes()
    assert psic("decode", "--condition", "-", sealed, "-o", "full.png", stdin=data).code == 0
    assert psic("decode", "--condition", key, sealed, "-o", "-") == Path("full.png").read_bytes()
    for operands in (["-"], [], ["/dev/stdin"]):
        for verb in ("encode", "decode"):
            result = psic(verb, "--condition", "-", *operands, stdin=data)
            assert result.code == ExitCode.USAGE
            assert "standard input" in result.errors[0]


@pytest.mark.parametrize("operands", [["-", "photo.png"], ["-", "-"], ["photo.png", "-"]])
def test_standard_input_stands_alone(photo, operands):
    assert psic("encode", "-m", "tiny", *operands, stdin=b"x").code == ExitCode.USAGE


def test_an_empty_standard_input_is_one_clear_error(folder):
    result = psic("encode", "-m", "tiny")
    assert result.code == ExitCode.INPUT
    assert result.errors == ["psic: error: standard input: the picture is empty: it has no bytes"]
    assert psic("decode").code == ExitCode.FORMAT


def test_devices_are_written_through(photo, sealed):
    assert psic("decode", sealed, "-o", "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_output_error(sealed):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command("info", sealed), stdout=full, stderr=subprocess.PIPE, env=child_environment(), timeout=300
        )
        helped = subprocess.run(
            command("--help"), stdout=full, stderr=subprocess.PIPE, env=child_environment(), timeout=300
        )
    assert done.returncode == ExitCode.OUTPUT
    assert done.stderr == b"psic: error: cannot write to standard output: no space left on device\n"
    assert helped.returncode == ExitCode.OUTPUT
    assert helped.stderr.count(b"\n") == 1


def test_a_closed_pipe_is_quiet(folder, sealed):
    for arguments in (["info", "--json", sealed], ["models", "list"], ["--help"]):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            command(*arguments), stdout=writing, stderr=subprocess.PIPE, env=child_environment(), timeout=300
        )
        os.close(writing)
        assert done.stderr == b""
        assert done.returncode == 1


def test_closed_standard_streams_do_no_harm(photo, folder):
    # Without care the first file opened gets descriptor 1, and what is printed lands in it.
    script = 'exec "$0" -m psic_cli encode -m tiny --open photo.png <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", script, sys.executable], env=child_environment(), timeout=300)
    assert done.returncode == 0
    assert psic("info", "photo.psic").code == 0
    script = 'exec "$0" -m psic_cli info photo.psic >&-'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable], stderr=subprocess.PIPE, env=child_environment(), timeout=300
    )
    assert done.returncode == ExitCode.OUTPUT


def in_terminal(*arguments, stdin_is_terminal: bool = True, stdin: bytes = b"") -> tuple[int, bytes]:
    """Run with a terminal for standard output and error; gives the exit code and all that appeared on it."""
    try:
        controller, terminal = pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminal can be had here ({error}): is devpts mounted?")
    process = subprocess.Popen(
        command(*arguments),
        stdin=terminal if stdin_is_terminal else subprocess.PIPE,
        stdout=terminal,
        stderr=terminal,
        env=child_environment(TERM="xterm", COLUMNS="100"),
    )
    os.close(terminal)
    if process.stdin is not None:
        process.stdin.write(stdin)
        process.stdin.close()
    screen: list[bytes] = []

    def watch() -> None:
        try:
            while data := os.read(controller, 4096):
                screen.append(data)
        except OSError:  # the other side is closed
            return

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait(timeout=300)
    watcher.join(timeout=10)
    os.close(controller)
    return code, b"".join(screen)


def test_without_input_a_terminal_gets_a_hint_and_no_waiting(folder):
    for verb in ("encode", "decode", "info"):
        code, screen = in_terminal(verb)
        assert code == ExitCode.USAGE
        assert screen.startswith(b"psic: error: no")
        assert f"psic {verb} --help".encode() in screen


def test_pictures_are_not_written_to_a_terminal_unless_forced(sealed):
    code, screen = in_terminal("decode", "-", stdin_is_terminal=False, stdin=sealed.read_bytes())
    assert code == ExitCode.OUTPUT
    assert b"terminal" in screen
    assert b"-o -" in screen
    code, screen = in_terminal("decode", sealed, "-o", "-")
    assert code == 0
    assert b"PNG" in screen


def test_a_batch_draws_a_bar_only_on_a_terminal(folder, png, key):
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(png)
    arguments = ["encode", "-m", "tiny", "--condition", key, "a.png", "b.png"]
    code, screen = in_terminal(*arguments)
    assert code == 0
    assert b"encoding" in screen
    assert screen.index(b"a.png -> a.psic") < screen.index(b"b.png -> b.psic")
    assert "encoding" not in psic(*arguments, "--force").stderr


def test_pixels_of_a_pipe_are_the_pixels_of_the_picture(sealed, key):
    as_png = np.asarray(Image.open(io.BytesIO(psic("decode", sealed, "-o", "-"))))
    for name in ("ppm", "bmp", "tiff", "webp"):
        data = psic("decode", "--format", name, stdin=sealed.read_bytes())
        assert (np.asarray(Image.open(io.BytesIO(data))) == as_png).all(), name
