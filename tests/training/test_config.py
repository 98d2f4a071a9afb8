"""Configurations: what is read, and that a typing mistake is an error."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest

from psic_cli.errors import InputError
from psic_cli.networks.config import NetworkConfig
from psic_cli.training.config import StageConfig, TrainingConfig, load_config
from psic_cli.training.stage import learning_rate

ROOT = Path(__file__).parent.parent.parent


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_configuration_is_the_default(tmp_path):
    assert load_config(written(tmp_path, "")) == TrainingConfig()


def test_what_is_written_is_what_is_meant(tmp_path):
    found = load_config(
        written(
            tmp_path,
            """
            name = "mine"
            lambda_low = 1
            [data]
            photos = ["a", "b"]
            [network]
            latents = 96
            [compression]
            steps = 5
            learning_rate = 1e-4
            [conditions]
            vlps = ["witness:x"]
            budget_db = 2
            """,
        )
    )
    assert found.name == "mine"
    assert found.lambda_low == 1
    assert found.data.photos == ["a", "b"]
    assert found.network == dataclasses.replace(NetworkConfig(), latents=96)
    assert (found.compression.steps, found.compression.learning_rate, found.compression.batch) == (5, 1e-4, 8)
    assert (found.conditions.vlps, found.conditions.budget_db) == (["witness:x"], 2)
    assert found.conditions.learning_rate == 4e-4


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("step = 5", "step"),
        ("[network]\nlatent = 5", "latent"),
        ("[compression]\nvlps = []", "vlps"),
        ("[conditions]\nbudget = 1.2", "budget"),
        ("[stages]\nx = 1", "stages"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_it(tmp_path, text, named):
    with pytest.raises(InputError, match=f"unknown key '{named}'") as caught:
        load_config(written(tmp_path, text))
    assert caught.value.hint is not None
    assert "known keys" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["seed = '1'", "network = 5", "[compression]\nsteps = 1.5", "[compression]\nbatch = true", "[seed]\nx = 1"]
)
def test_a_value_of_another_kind_is_an_error(tmp_path, text):
    with pytest.raises(InputError, match="must be of the kind"):
        load_config(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[compression]\noptimiser = 'sgd'", "optimiser cannot be 'sgd'"),
        ("[conditions]\nobjective = 'mdga'", "objective cannot be 'mdga'"),
        ("[conditions]\nshield = ''", "shield cannot be ''"),
        ("[network]\nblock = 'dense'", "block cannot be 'dense'"),
        ("[network]\nactivation = 'tanh'", "activation cannot be 'tanh'"),
    ],
)
def test_a_choice_that_does_not_exist_is_an_error(tmp_path, text, words):
    with pytest.raises(InputError, match=words) as caught:
        load_config(written(tmp_path, text))
    assert str(caught.value.hint).startswith("one of ")


def test_switches_are_true_or_false(tmp_path):
    assert not load_config(written(tmp_path, "[conditions]\nscale_condition = false")).conditions.scale_condition
    with pytest.raises(InputError, match="must be of the kind bool"):
        load_config(written(tmp_path, "compile = 1"))


def test_a_second_file_replaces_keys_of_the_first(tmp_path):
    first = written(tmp_path, "seed = 5\n[conditions]\nvlps = ['a', 'b']\nsteps = 7")
    (tmp_path / "more").mkdir()
    second = written(tmp_path / "more", "[conditions]\nvlps = ['c']\n[data]\npairs = 'x'")
    found = load_config(first, second)
    assert (found.seed, found.conditions.vlps, found.conditions.steps, found.data.pairs) == (5, ["c"], 7, "x")
    with pytest.raises(InputError, match=r"more/config\.toml: unknown key"):
        load_config(first, written(tmp_path / "more", "sed = 4"))


@pytest.mark.parametrize("text", ["name =", "name = 'a'\nname = 'b'", "\x00"])
def test_what_is_not_toml_is_an_error(tmp_path, text):
    with pytest.raises(InputError, match="cannot read the configuration"):
        load_config(written(tmp_path, text))


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot read the configuration"):
        load_config(tmp_path / "none.toml")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_the_configurations_of_the_project_are_valid(path):
    assert load_config(path).name


# The learning rate


def test_the_learning_rate_by_hand():
    config = StageConfig(steps=100, learning_rate=2.0, warm_up=4)
    assert learning_rate(config, 0) == pytest.approx(0.5)
    assert learning_rate(config, 1) == pytest.approx(1.0, rel=1e-3)
    assert learning_rate(config, 50) == pytest.approx(1.0)
    assert learning_rate(config, 100) == pytest.approx(0.0)


def test_the_learning_rate_rises_in_the_warm_up_and_falls_after_it():
    config = StageConfig(steps=1000, learning_rate=1.0, warm_up=100)
    rates = [learning_rate(config, step) for step in range(1000)]
    assert all(a < b for a, b in pairwise(rates[:100]))
    assert all(a > b for a, b in pairwise(rates[100:]))
    assert max(rates) < 1.0
    assert min(rates) > 0.0


def test_the_rate_falls_over_the_last_share_of_the_steps_alone():
    config = StageConfig(steps=100, learning_rate=2.0, warm_up=0, decay=0.25)
    assert [learning_rate(config, step) for step in (0, 50, 75)] == [2.0, 2.0, 2.0]
    assert learning_rate(config, 76) < 2.0
    assert learning_rate(config, 87) == pytest.approx(1.0, abs=0.1)
    assert learning_rate(config, 100) == pytest.approx(0.0)


def test_no_warm_up_starts_at_the_full_rate():
    assert learning_rate(StageConfig(steps=10, learning_rate=1.0, warm_up=0), 0) == pytest.approx(1.0)
