"""psic train as a user runs it, with a network and pictures so small that a step takes no time."""

import json
import signal
import subprocess
import sys
import time

import pytest

from psic_cli import keys
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.training.config import load_config
from tests.cli.conftest import picture_bytes
from tests.cli.run import child_environment, command, psic

CONFIG = """
name = "mini"
seed = 3
save_every = 20
[data]
photos = ["photos"]
[network]
width = 8
latents = 12
hyper_width = 8
hyper_latents = 4
analysis_blocks = 1
synthesis_blocks = 1
cltg_hidden = 8
[compression]
steps = {steps}
batch = 1
crop = 64
[conditions]
steps = 0
"""


@pytest.fixture
def project(folder):
    """A folder with a configuration and two photos."""
    (folder / "photos").mkdir()
    for number in range(2):
        (folder / "photos" / f"{number}.png").write_bytes(picture_bytes(number, width=96, height=80))
    write_config(folder)
    return folder


def write_config(folder, steps=2, name="config.toml", **changes):
    text = CONFIG.format(steps=steps)
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / name).write_text(text)


def test_a_run_is_trained_exported_and_used(project, monkeypatch):
    (project / "card.json").write_text('{"training_data": "two pictures"}')
    options = ["--vlp", "witness:one", "--vlp", "open_clip:ViT-B-32:mine", "--card", "card.json"]
    done = psic("train", "config.toml", "-o", "run", "--export", "models/mini-two", "--name", "mini-two", *options)
    assert done.code == ExitCode.OK, done.stderr
    run = project / "run"
    assert load_config(run / "config.toml").conditions.vlps == []
    changed = load_config(run / "config.toml", run / "changes.toml").conditions  # what --resume goes on with
    assert (changed.vlps, changed.steps) == (["witness:one", "open_clip:ViT-B-32:mine"], 0)
    assert done == b""
    assert "conditions are not trained" in done.stderr
    assert (project / "run" / "config.toml").read_text() == (project / "config.toml").read_text()
    card = json.loads((project / "models" / "mini-two" / "card.json").read_text())
    assert (card["name"], card["training_data"], card["licence"]) == ("mini-two", "two pictures", "Apache-2.0")
    monkeypatch.setenv("PSIC_MODELS", str(project / "models"))
    assert psic("models", "check", "mini-two").code == ExitCode.OK
    encoded = psic("encode", "photos/0.png", "-m", "mini-two", "--open", "--effort", "0", "-o", "0.psic")
    assert encoded.code == ExitCode.OK, encoded.stderr
    assert psic("decode", "0.psic", "-o", "0.png").code == ExitCode.OK

    again = psic("train", "config.toml", "-o", "run")
    assert again.code == ExitCode.OUTPUT
    assert "--resume run" in again.stderr
    refused = psic("train", "--resume", "run", "--as-is", "--export", "models/mini-two")
    assert refused.code == ExitCode.OUTPUT
    replaced = psic("train", "--resume", "run", "--as-is", "--export", "models/mini-two", "--force")
    assert replaced.code == ExitCode.OK
    assert json.loads((project / "models" / "mini-two" / "card.json").read_text())["name"] == "mini"


def test_words_come_once_where_a_library_has_set_up_logging(project):
    start = "import logging, runpy; logging.basicConfig(); runpy.run_module('psic_cli', run_name='__main__')"
    arguments = [sys.executable, "-c", start, "train", "config.toml", "-o", "run"]
    done = subprocess.run(arguments, capture_output=True, env=child_environment(), text=True)
    assert done.returncode == ExitCode.OK, done.stderr
    assert done.stderr.count("compression 2 validation") == 1


def test_ctrl_c_saves_a_checkpoint_and_the_run_goes_on(project):
    write_config(project, steps=100000)
    process = subprocess.Popen(
        command("train", "config.toml", "-o", "run"), stderr=subprocess.PIPE, env=child_environment(), text=True
    )
    try:
        deadline = time.monotonic() + 200
        while not (project / "run" / "checkpoint.pt").exists() and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == ExitCode.INTERRUPTED
    assert "interrupted" in words
    assert "Traceback" not in words
    write_config(project / "run", steps=1)  # so that going on means to end
    done = psic("train", "--resume", "run", "--export", "model")
    assert done.code == ExitCode.OK, done.stderr
    assert json.loads((project / "model" / "card.json").read_text())["finished_stages"] == ["compression"]
    assert "nothing is left to train" not in done.stderr
    write_config(project / "run", steps=5)  # more steps do not wake a finished stage: that must be said
    ended = psic("train", "--resume", "run")
    assert ended.code == ExitCode.OK
    assert "nothing is left to train" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], ExitCode.USAGE, "name either a configuration or --resume DIR"),
        (["config.toml", "--resume", "run"], ExitCode.USAGE, "name either a configuration or --resume DIR"),
        (["config.toml"], ExitCode.USAGE, "a new run needs it"),
        (["config.toml", "-o", "run", "--as-is"], ExitCode.USAGE, "--as-is needs --resume DIR"),
        (["config.toml", "-o", "run", "--name", "x"], ExitCode.USAGE, "--name and --card need --export"),
        (["config.toml", "-o", "r", "--export", "m", "--name", "A b"], ExitCode.USAGE, "is not 1..32 characters"),
        (["missing.toml", "-o", "run"], ExitCode.INPUT, "missing.toml: cannot read the configuration"),
        (["typo.toml", "-o", "run"], ExitCode.INPUT, "unknown key 'batchsize'"),
        (["kind.toml", "-o", "run"], ExitCode.INPUT, "seed must be of the kind int, not 'three'"),
        (["data.toml", "-o", "run"], ExitCode.INPUT, "names nowhere, which does not exist"),
        (["vlp.toml", "-o", "run"], ExitCode.MODEL, "missing.safetensors: not a witness file"),
        (["vlp.toml", "-o", "run", "--vlp", "clip"], ExitCode.MODEL, "unknown vision-language model 'clip'"),
        (["--resume", "missing"], ExitCode.INPUT, "cannot read the configuration"),
        (["config.toml", "-o", "r", "--export", "m", "--card", "config.toml"], ExitCode.INPUT, "is not JSON"),
        (["config.toml", "-o", "r", "--export", "m", "--card", "own.json"], ExitCode.INPUT, "sets sha256"),
    ],
)
def test_wrong_arguments_are_one_clear_line(project, arguments, code, words):
    write_config(project, name="typo.toml", **{"batch =": "batchsize ="})
    write_config(project, name="kind.toml", **{"seed = 3": 'seed = "three"'})
    write_config(project, name="data.toml", **{'"photos"': '"nowhere"'})
    stage = '[conditions]\nvlps = ["witness:missing.safetensors"]'
    write_config(project, name="vlp.toml", **{"[conditions]\nsteps = 0": stage})
    (project / "own.json").write_text('{"sha256": "00"}')
    done = psic("train", *arguments)
    assert done.code == code
    assert len(done.errors) == 1
    assert words in done.errors[0]
    assert not (project / "run").exists()


@pytest.mark.parametrize("name", ["config.toml", "checkpoint.pt", "checkpoint.partial", "log.jsonl"])
def test_a_key_in_the_place_of_a_runs_file_is_kept(project, name):
    (project / "run").mkdir()
    key = project / "run" / name
    keys.create_key_file(key)
    content = key.read_bytes()
    assert psic("train", "config.toml", "-o", "run").code == ExitCode.OUTPUT
    assert key.read_bytes() == content


def test_a_key_in_the_place_of_an_exported_file_is_kept(project):
    (project / "model").mkdir()
    keys.create_key_file(project / "model" / "weights.safetensors")
    done = psic("train", "config.toml", "-o", "run", "--export", "model", "--force")
    assert done.code == ExitCode.OUTPUT
    assert "is a key file" in done.errors[0]
    assert not (project / "run").exists()
    keys.read_key_file(project / "model" / "weights.safetensors")
