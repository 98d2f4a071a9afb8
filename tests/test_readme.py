"""The README holds: every command in it runs, in the order a reader would type them, and its tables are true."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image

from psic_cli import keys, pillow_plugin
from psic_cli.backbones.architectures import MEAN
from psic_cli.shell.exit_codes import ExitCode
from tests.backbones import made

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = re.findall(r"^    (psic (?!train ).*)$", README, re.MULTILINE)
TRAINING = re.findall(r"^    psic train (\S+)", README, re.MULTILINE)  # takes days, and pictures of one's own
TINY = ROOT / "tests" / "vectors" / "models" / "tiny"


@pytest.fixture
def readers_folder(tmp_path, monkeypatch):
    """A folder with the pictures and the checkpoint that the README speaks of; tiny networks stand in for both."""
    model = tmp_path / "models" / "psic-base"
    shutil.copytree(TINY, model)
    card = json.loads((model / "card.json").read_text("utf-8"))
    (model / "card.json").write_text(json.dumps(card | {"name": "psic-base"}), "utf-8")
    monkeypatch.setenv("PSIC_MODELS", str(model.parent))
    folder = tmp_path / "here"
    (folder / "album").mkdir(parents=True)
    with Image.open(ROOT / "sample_images" / "grey.png") as small:
        for name in ("photo.png", "holiday.jpg", "album/one.jpg"):
            small.convert("RGB").save(folder / name)
    made.save_state(made.state_of(MEAN), folder / "checkpoint.pth")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the README's pipes are written for a POSIX shell")
def test_every_command_in_the_readme_runs(readers_folder):
    tool = f"{shlex.quote(sys.executable)} -m psic_cli"
    script = "\n".join(["set -eu -o pipefail", f'psic() {{ {tool} "$@"; }}', *COMMANDS])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in re.findall(r"(?:-o |> )(\S+)", "\n".join(COMMANDS)):
        assert (readers_folder / name).exists(), name


def test_the_configuration_to_train_with_is_there():
    assert TRAINING
    assert all((ROOT / name).is_file() for name in TRAINING)


def test_the_python_in_the_readme_runs(readers_folder):
    block = re.search(r"(?:^    .*\n|^\n)+", README[README.index("    from PIL import Image") :], re.MULTILINE)
    assert block is not None
    keys.create_key_file(readers_folder / "shared.key")
    (readers_folder / "holiday.jpg").rename("photo.jpg")
    with Image.open("photo.jpg") as photo:
        pillow_plugin.register()
        photo.save("photo.psic", open=True)
    exec(textwrap.dedent(block[0]), {})
    with Image.open("photo.psic") as saved:
        assert saved.info["psic_sealed"]


def test_the_exit_code_table_is_the_real_one():
    rows = re.findall(r"^\| (\d+) \| ([A-Z]+) \|", README, re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(int(code), code.name) for code in ExitCode]


def test_every_make_target_in_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"^    make (\w+)", README, re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
