"""psic train --backbone: conditions for a network of another codec's, as a user trains and uses them."""

import json
import shutil

import pytest

from psic_cli import zoo
from psic_cli.backbones.architectures import MEAN
from psic_cli.shell.exit_codes import ExitCode
from tests.backbones import made
from tests.cli.conftest import picture_bytes
from tests.cli.run import psic, psic_process

CONFIG = """
name = "steered"
[data]
photos = ["photos"]
[network]
cltg_hidden = 8
[compression]
steps = 3
[conditions]
steps = {steps}
batch = 1
learning_rate = 0.05
warm_up = 1
vlps = ["witness:lite0"]
"""


@pytest.fixture
def project(folder, monkeypatch):
    """A folder with configurations, two photos and a model of CompressAI's in the user's own folder."""
    monkeypatch.setenv("PSIC_MODELS", str(folder / "own"))
    (folder / "photos").mkdir()
    for number in range(2):
        (folder / "photos" / f"{number}.png").write_bytes(picture_bytes(number, width=240, height=230))
    path = made.save_state(made.state_of(MEAN), folder / "mean.pth")
    assert psic("models", "add", f"compressai:{MEAN}", path, "--name", "mine").code == ExitCode.OK
    for name, steps in (("config.toml", 2), ("idle.toml", 0)):
        (folder / name).write_text(CONFIG.format(steps=steps))
    return folder


def test_conditions_are_trained_on_a_model_that_was_added_exported_and_used(project):
    words = ("train", "config.toml", "--backbone", "mine", "-o", "run", "--export", "own/steered", "--threads", "1")
    done = psic_process(*words, PSIC_MODELS=str(project / "own"))
    assert done.code == ExitCode.OK, done.stderr
    assert "compression" not in done.stderr
    assert f'start_from = "{project / "own" / "mine"}"' in (project / "run" / "changes.toml").read_text()
    assert psic("models", "check", "steered").code == ExitCode.OK
    psic("keygen", "key")
    encoded = psic("encode", "photos/0.png", "-m", "steered", "--effort", "0", "--condition", "key", "-o", "0.psic")
    assert encoded.code == ExitCode.OK, encoded.stderr
    assert psic("decode", "0.psic", "-o", "protected.png").code == ExitCode.OK
    assert psic("decode", "0.psic", "--condition", "key", "-o", "full.png").code == ExitCode.OK
    assert psic("decode", "0.psic", "--condition", "key", "--for", "machine", "-o", "machine.png").code == ExitCode.OK
    versions = {(project / f"{name}.png").read_bytes() for name in ("protected", "full", "machine")}
    assert len(versions) == 3
    again = psic("train", "--resume", "run", "--export", "own/again", "--name", "again")
    assert again.code == ExitCode.OK, again.stderr  # it finds the backbone, of which the configuration says nothing
    assert zoo.find_card("again").data["made_of"] == zoo.find_card("mine").data["made_of"]


def family(project):
    """Makes a second one of `mine`'s name."""
    shutil.copytree(project / "own" / "mine", project / "own" / "two")
    for name in ("mine", "two"):
        path = project / "own" / name / "card.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"family": ["00" * 8, "11" * 8]}))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("config.toml", "--backbone", "nobody", "-o", "run"), ExitCode.MODEL, "no model named nobody"),
        (("config.toml", "--backbone", "photos", "-o", "run"), ExitCode.MODEL, "no model named photos"),
        (("config.toml", "--backbone", "psic-base", "-o", "run"), ExitCode.USAGE, "no model of another codec's"),
        (("idle.toml", "--backbone", "mine", "-o", "run"), ExitCode.INPUT, "nothing would be trained"),
        (("--resume", "run", "--backbone", "mine"), ExitCode.USAGE, "--backbone belongs to a new run"),
    ],
)
def test_what_is_no_backbone_is_one_clear_line(project, words, code, message):
    done = psic("train", *words)
    assert done.code == code
    assert len(done.errors) == 1
    assert message in done.errors[0]
    assert not (project / "run").exists()


def test_of_a_family_one_is_named_by_its_folder(project):
    family(project)
    refused = psic("train", "idle.toml", "--backbone", "mine", "-o", "run")
    assert refused.code == ExitCode.USAGE
    assert "is a family of models" in refused.errors[0]
    named = psic("train", "idle.toml", "--backbone", "own/two", "-o", "run")
    assert "nothing would be trained" in named.errors[0]
