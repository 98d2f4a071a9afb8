"""Help, version and start-up: short, on standard output, and without waiting for torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from psic_cli import __version__
from psic_cli.bitstream.container import VERSION
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.run import ROOT, child_environment, psic, psic_process

COMMANDS = ("encode", "decode", "info", "keygen", "models", "audit", "evaluate", "bench", "train")
PAGES = ("", *COMMANDS, "models list", "models check", "models show")

_LOADED = """
import json, sys
from psic_cli.app import run
code = run(sys.argv[1:])
heavy = {"torch", "numpy", "PIL", "constriction", "torchvision", "compressai", "open_clip", "timm"}
sys.stderr.write(json.dumps([code, sorted(heavy & set(sys.modules))]))
"""


def loaded(*arguments: object) -> set[str]:
    """Heavy modules that a command imports."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *map(str, arguments)], capture_output=True, env=child_environment(), timeout=300
    )
    code, modules = json.loads(done.stderr.decode().splitlines()[-1])
    assert code == 0, done.stderr
    return set(modules)


def test_light_commands_load_nothing_heavy(sealed, tmp_path):
    for arguments in (
        ["--help"],
        ["--version"],
        ["encode", "--help"],
        ["info", sealed],
        ["keygen", tmp_path / "new.bin"],
        ["models"],
        ["models", "check"],
    ):
        assert loaded(*arguments) == set(), arguments


def test_a_refused_input_does_not_wait_for_torch(folder):
    (folder / "x.png").write_bytes(b"broken")
    script = _LOADED.replace("code = run", "code = 0 * run")
    for verb in ("encode", "decode"):
        done = subprocess.run(
            [sys.executable, "-c", script, verb, "x.png", "-o", "out.png"],
            capture_output=True,
            env=child_environment(),
            timeout=300,
        )
        assert "torch" not in json.loads(done.stderr.decode().splitlines()[-1])[1]


def test_a_batch_of_which_all_is_there_already_does_not_wait_for_torch(sealed, folder):
    for name in ("a", "b"):
        (folder / f"{name}.psic").write_bytes(Path(sealed).read_bytes())
        (folder / f"{name}.png").write_bytes(b"mine")
    assert "torch" not in loaded("decode", "--skip-existing", "a.psic", "b.psic")


def test_encode_and_decode_never_load_training_libraries(photo):
    script = _LOADED.replace("code = run", "run('encode -m tiny --open photo.png -o x.psic'.split()); code = run")
    done = subprocess.run(
        [sys.executable, "-c", script, "decode", "x.psic"], capture_output=True, env=child_environment(), timeout=300
    )
    code, modules = json.loads(done.stderr.decode().splitlines()[-1])
    assert code == 0
    assert set(modules) == {"torch", "numpy", "PIL", "constriction"}


def test_version():
    for flag in ("--version", "-V"):
        result = psic(flag)
        assert (result.code, result.stderr) == (0, "")
        assert result.stdout == f"psic {__version__}, reads and writes .psic format {VERSION}\n"


def test_no_command_shows_the_help_and_fails():
    result = psic()
    assert result.code == ExitCode.USAGE
    assert "Usage: psic" in result.stdout
    for command in COMMANDS:
        assert f" {command} " in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_goes_to_standard_output(command, flag):
    result = psic(command, flag)
    assert (result.code, result.stderr) == (0, "")
    assert f"Usage: psic {command}" in result.stdout
    assert "--debug" in result.stdout


def test_every_option_that_people_rely_on_is_in_the_help(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    batches = {"-f", "-r", "-j", "--skip-existing", "--report", "--max-pixels", "--device", "-v", "--quiet", "--debug"}
    expected = {
        "encode": {"-o", "-q", "-m", "--condition", "--open", "--strip", "--strength"} | batches,
        "decode": {"-o", "--condition", "--full", "--for", "--format", "--precision"} | batches,
        "info": {"--json", "--symbols", "--condition"},
        "keygen": {"--show", "-o"},
    }
    for command, options in expected.items():
        words = set(psic(command, "--help").stdout.split())
        assert options <= words, options - words


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("width", ["80", "160"])
def test_help_shows_nothing_of_python(page, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    text = psic(*page.split(), "--help").stdout
    assert "--help" in text
    for noise in ("<bool>", "<str>", "<int>", "<float>", "<path>", "<file>", "list[", "[default: False]", "None", "()"):
        assert noise not in text


def test_protection_is_never_called_encryption():
    for command in ("", *COMMANDS):
        text = psic(*command.split(), "--help").stdout.lower()
        assert "encrypt" not in text
        assert "secure" not in text


def test_mistyped_words_get_a_suggestion():
    result = psic("encod", "x.png")
    assert result.code == ExitCode.USAGE
    assert result.stderr.splitlines() == [
        "psic: error: no such command 'encod'",
        "psic: hint: did you mean 'encode', 'decode', 'bench'? see psic --help",
    ]
    result = psic("encode", "--forc", "x.png")
    assert result.errors == ["psic: error: no such option: --forc"]
    assert "--force" in result.stderr


def test_a_foreign_module_in_the_current_folder_is_not_imported(folder):
    for name in ("rich", "models", "numpy", "json"):
        (folder / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    result = psic_process("models", cwd=folder, PYTHONPATH=str(ROOT))
    assert result.code == 0, result.stderr
    assert "tiny" in result.stdout
