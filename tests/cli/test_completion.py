"""What Tab offers in a shell: commands, options, models and formats; file names are left to the shell."""

import shlex
import shutil
import subprocess
import sys

import pytest

from psic_cli.shell.exit_codes import ExitCode
from tests.cli.run import ROOT, child_environment, psic, psic_process
from tests.cli.test_help import loaded


def offered(*words: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is offered for the last of the words, which may be empty."""
    monkeypatch.setenv("_PSIC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "\n".join(["psic", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    done = psic()
    assert (done.code, done.stderr) == (ExitCode.OK, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["enc"], ["encode"]),
        (["models", "sh"], ["show"]),
        (["encode", "--eff"], ["--effort"]),
        (["encode", "-m", "ti"], ["tiny"]),
        (["evaluate", "-m", "ti"], ["tiny"]),
        (["models", "show", "ti"], ["tiny"]),
        (["decode", "--format", ""], ["png", "jpg", "webp", "ppm", "tiff", "bmp"]),
        (["decode", "--format", "p"], ["png", "ppm"]),
        (["decode", "--for", "m"], ["machine"]),
        (["encode", "--device", "cu"], ["cuda"]),
    ],
)
def test_names_are_offered(folder, monkeypatch, words, expected):
    assert offered(*words, monkeypatch=monkeypatch) == expected


@pytest.mark.parametrize(
    "words", [["encode", "ph"], ["encode", "-o", ""], ["audit", "--original", "ph"], ["train", ""]]
)
def test_where_a_file_belongs_nothing_is_offered_so_that_the_shell_offers_files(photo, monkeypatch, words):
    assert offered(*words, monkeypatch=monkeypatch) == []


def test_a_damaged_model_card_spoils_no_line_that_is_being_typed(tmp_path, monkeypatch):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "card.json").write_text("{")
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path))
    assert offered("encode", "-m", "", monkeypatch=monkeypatch) == []


def test_nobody_waits_for_torch(folder, monkeypatch):
    monkeypatch.setenv("_PSIC_COMPLETE", "complete_bash")
    for words, heavy in (
        ("psic enc", set()),
        ("psic encode -m t", set()),
        ("psic decode --format p", {"PIL", "numpy"}),
    ):
        monkeypatch.setenv("COMP_WORDS", words.replace(" ", "\n"))
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        assert loaded() <= heavy


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_with_the_script_that_psic_gives_it(photo, monkeypatch):
    command = photo.parent / "bin" / "psic"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m psic_cli "$@"\n')
    command.chmod(0o755)
    script = psic_process(_PSIC_COMPLETE="source_bash").stdout
    typed = (
        'COMP_WORDS=(psic {}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _psic_completion psic; echo "${{COMPREPLY[*]}}"'
    )
    lines = [script, "complete -p psic", *(typed.format(words) for words in ("enc", "encode -m ti", "encode ph"))]
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(lines)],
        env=child_environment(PATH=f"{command.parent}:/usr/bin:/bin", PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout.splitlines() == ["complete -o default -F _psic_completion psic", "encode", "tiny", ""]


def test_an_unknown_shell_is_a_wrong_argument_and_not_a_bug(monkeypatch):
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: None)
    done = psic("--show-completion")
    assert done.code == ExitCode.USAGE
    assert "not supported" in done.stderr + done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a home folder of POSIX")
def test_completion_that_cannot_be_installed_says_where(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("typer._completion_shared._get_shell_name", lambda: "bash")
    done = psic("--install-completion")
    assert (done.code, len(done.errors)) == (ExitCode.OUTPUT, 1)
    assert "cannot write" in done.errors[0]
    assert "standard output" not in done.errors[0]
