"""Messages, sizes, names and the table of exit codes."""

import pytest

from psic_cli import errors
from psic_cli.errors import FormatError, InputError, PsicError
from psic_cli.shell.exit_codes import ExitCode, exit_code_for
from psic_cli.shell.terminal import Terminal, name_of, seconds_text, size_text, with_name


def test_exit_codes_are_the_promised_ones():
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "INTERNAL": 1,
        "USAGE": 2,
        "INPUT": 3,
        "FORMAT": 4,
        "CONDITION": 5,
        "MODEL": 6,
        "OUTPUT": 7,
        "PARTIAL": 8,
        "INTERRUPTED": 130,
    }


def test_every_kind_of_error_has_its_own_exit_code():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PsicError)]
    codes = {kind: exit_code_for(kind("x")) for kind in kinds if kind is not PsicError}
    assert len(set(codes.values())) == len(codes) == 6
    assert ExitCode.INTERNAL not in codes.values()
    assert exit_code_for(KeyError("x")) == ExitCode.INTERNAL
    assert exit_code_for(KeyboardInterrupt()) == ExitCode.INTERRUPTED
    assert exit_code_for(type("SpecialInputError", (InputError,), {})("x")) == ExitCode.INPUT


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9949, "9.9 kB"),
        (9951, "10 kB"),
        (96_123, "96 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (1_900_000, "1.9 MB"),
        (4 * 10**9, "4.0 GB"),
    ],
)
def test_sizes_are_decimal(size_bytes, text):
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (0.84, "0.8 s"), (31.4, "31 s"), (200.2, "3 min 20 s")])
def test_durations(seconds, text):
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("photo.png", "photo.png"),
        ("my photo.png", '"my photo.png"'),
        ("häßlich.png", "häßlich.png"),
        ("two\nlines\x1b[31m", "two\\nlines\\x1b[31m"),
        ("\udcff.png", "\\udcff.png"),
        ("", '""'),
    ],
)
def test_names_in_messages_cannot_fake_a_line(path, text):
    assert name_of(path) == text


def test_errors_of_parts_that_know_no_names_get_one():
    for message, named in (
        ('this is not a .psic file (it starts with "%PDF")', 'x.psic is not a .psic file (it starts with "%PDF")'),
        (
            "the file is damaged or incomplete: its checksum does not fit",
            "x.psic is damaged or incomplete: its checksum does not fit",
        ),
        ("the file has format version 9", "x.psic has format version 9"),
        ("the key does not fit this file", "x.psic: the key does not fit this file"),
    ):
        error = with_name("x.psic", FormatError(message, "a hint"))
        assert type(error) is FormatError
        assert (str(error), error.hint) == (named, "a hint")


def test_quiet_leaves_errors_and_announcements(capsys):
    terminal = Terminal()
    terminal.quiet, terminal.verbosity = True, 2
    terminal.say("a result")
    terminal.detail("a detail")
    terminal.warn("a surprise", "a way out")
    assert capsys.readouterr().err == ""
    terminal.announce("a key was made")
    terminal.error(InputError("it is\nempty", "look\nelsewhere"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "psic: a key was made",
        "psic: error: it is empty",
        "psic: hint: look elsewhere",
    ]


def test_details_are_said_only_when_asked(capsys):
    terminal = Terminal()
    terminal.detail("a detail")
    assert capsys.readouterr().err == ""
    terminal.verbosity = 1
    terminal.detail("a detail")
    assert capsys.readouterr().err == "a detail\n"


def test_debug_shows_the_cause(capsys):
    terminal = Terminal()
    terminal.debug = True
    try:
        try:
            raise ValueError("deep inside")
        except ValueError as error:
            raise InputError("no picture") from error
    except InputError as error:
        terminal.error(error)
    said = capsys.readouterr().err
    assert "ValueError: deep inside" in said
    assert said.splitlines()[-1] == "psic: error: no picture"


def test_without_standard_error_words_are_lost_and_nothing_else(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    Terminal().say("nobody hears this")
