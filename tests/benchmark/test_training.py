"""The measurement of training: what it runs in each checkout, and what it tells."""

import json
import subprocess
from pathlib import Path

import pytest

from psic_cli.benchmark import training
from psic_cli.benchmark.cost import network_cost
from psic_cli.training.config import load_config, read_toml
from tests.training.conftest import SMALL

CONFIG = """
name = "mini"
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
{network}
[compression]
steps = 7000
batch = {batch}
crop = 128
{stage}
[{later}]
steps = 9
"""


@pytest.fixture
def checkouts(tmp_path, monkeypatch):
    """This checkout's configuration and another one's, with keys that this one does not know."""
    for name, changes in (
        ("here", {"network": "activation = 'leaky'", "batch": 4, "stage": "", "later": "rounding"}),
        ("before", {"network": "guide_steps = 5", "batch": 8, "stage": "readable = 0.5", "later": "protection"}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.toml").write_text(CONFIG.format(**changes))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_both_checkouts_train_the_network_and_the_batches_of_the_other_one(checkouts, monkeypatch):
    seen = []

    def run(command, env, **_):
        path = Path(command[-3])
        seen.append((Path(env["PYTHONPATH"]).name, env["OMP_NUM_THREADS"], read_toml(path)))
        folder = Path(command[-1])
        folder.mkdir()
        pace = 0.5 if Path(env["PYTHONPATH"]).name == "before" else 0.25
        lines = [{"step": 50, "seconds_per_step": 2.0}, {"step": 100, "seconds_per_step": (100 + 50 * pace) / 100}]
        (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    text = training.compare(Path("c.toml"), checkouts / "before", steps=100, turns=2, threads=1)
    assert [name for name, _, _ in seen] == [training.ROOT.name, "before"] * 2
    (_, threads, here), (_, _, before) = seen[:2]
    assert threads == "1"
    assert here["compression"] == before["compression"] == {"batch": 8, "crop": 128, "steps": 100}
    assert before["network"] == here["network"] | {"guide_steps": 5}
    assert "activation" not in here["network"]
    assert (here["rounding"], before["protection"]) == ({"steps": 0}, {"steps": 0})
    # 50 steps of 8 crops of a quarter of 256 x 256 pixels, in 12.5 and in 25 seconds: what came before does not count
    assert "here:   8.00 crops/s  (8.00, 8.00)" in text
    assert "beside:   4.00 crops/s" in text
    assert "ratio:   2.00" in text
    assert "kMAC/px to encode" in text


def test_a_checkout_that_cannot_train_says_why(checkouts, monkeypatch):
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 2, "", "psic: error: no pictures")
    )
    with pytest.raises(RuntimeError, match="no pictures"):
        training.compare(Path("c.toml"), None, steps=100, turns=1, threads=1)


def test_what_is_written_as_toml_is_read_as_it_was(tmp_path):
    values = read_toml(training.ROOT / "configs" / "psic-base.toml")
    (tmp_path / "again.toml").write_text(training.to_toml(values))
    assert read_toml(tmp_path / "again.toml") == values
    assert load_config(tmp_path / "again.toml") == load_config(training.ROOT / "configs" / "psic-base.toml")


def test_a_network_costs_what_its_products_are():
    cost = network_cost(SMALL)
    w, m, h, n = SMALL.width, SMALL.latents, SMALL.hyper_width, SMALL.hyper_latents
    block = (w * w // 2 * 2 + 9 * (w // 2) ** 2) / 64
    synthesis = m * 4 * w / 256 + block + w * 192 / 64
    analysis = 192 * w / 64 + block + 4 * w * m / 256
    side = m * h / 256 + 4 * h * h / 1024 + 9 * h * h / 1024 + 4 * h * n / 4096
    hyper = (9 * n * h + 4 * h * h) / 4096 + (9 * h * h + 4 * h * h) / 1024 + (9 * h * h + 2 * h * m) / 256
    assert cost.decode_kmac > (synthesis + hyper) / 1000  # and the context models
    assert cost.encode_kmac - cost.decode_kmac == pytest.approx((analysis + side - synthesis) / 1000, rel=0.05)
