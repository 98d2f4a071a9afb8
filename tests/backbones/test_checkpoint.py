"""Checkpoints that cannot become models are refused in one line, whatever is in them, and none of their code is run."""

import os

import pytest
import torch

from psic_cli.backbones.architectures import (
    CHANDELIER,
    CHEQUERBOARD,
    FACTORIZED,
    MEAN,
    MEAN_VBR,
    NAMES,
    OFFICIAL,
    SCALE,
    SCALE_VBR,
)
from psic_cli.backbones.checkpoint import SERIAL, check_name, read_checkpoint
from psic_cli.errors import ModelError, UsageError
from tests.backbones import made


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_comes_back_as_it_was_saved(name):
    state = made.state_of(name)
    check_name(name)
    found = read_checkpoint(made.save_state(state), name)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_names_of_older_versions_are_understood():
    state = made.state_of(MEAN)
    prefix, names = "entropy_bottleneck.", {"matrices": "_matrix", "biases": "_bias", "factors": "_factor"}
    old = {}
    for key, value in state.items():
        part, _, number = key.removeprefix(prefix).partition(".")
        old[prefix + names[part] + number if key.startswith(prefix) and number else key] = value
    assert f"{prefix}_matrix0" in old
    assert read_checkpoint(made.save_state(old), MEAN).keys() == state.keys()


OTHERS = [
    (MEAN, SCALE),
    (SCALE, MEAN),
    (FACTORIZED, MEAN),
    (MEAN, CHEQUERBOARD),
    (CHEQUERBOARD, FACTORIZED),
    (OFFICIAL, CHANDELIER),
    (CHANDELIER, OFFICIAL),
    (OFFICIAL, CHEQUERBOARD),
    (MEAN, MEAN_VBR),
    (MEAN_VBR, MEAN),
    (SCALE_VBR, SCALE),
    (SCALE_VBR, MEAN_VBR),
]


@pytest.mark.parametrize(("saved", "asked"), OTHERS)
def test_a_checkpoint_of_another_network_says_what_it_looks_like(saved, asked):
    with pytest.raises(ModelError, match=f"no checkpoint of {asked}: it looks like {saved}$"):
        read_checkpoint(made.save_state(made.state_of(saved)), asked)


def test_serial_networks_are_recognised():
    serial = {"context_prediction.weight": torch.zeros(24, 12, 5, 5)}
    for saved, looks_like in ((MEAN, "mbt2018"), (MEAN_VBR, "mbt2018-vbr")):
        with pytest.raises(ModelError, match=f"no checkpoint of {saved}: it looks like {looks_like}$"):
            read_checkpoint(made.save_state(made.state_of(saved) | serial), saved)


def test_foreign_and_empty_dicts_are_refused():
    with pytest.raises(ModelError, match="it is of another kind"):
        read_checkpoint(made.save_state({"conv.weight": torch.zeros(3)}), MEAN)
    less = {key: value for key, value in made.state_of(MEAN).items() if key != "g_a.6.weight"}
    with pytest.raises(ModelError, match=f"it looks like {SCALE}"):
        read_checkpoint(made.save_state(less), MEAN)
    for nothing in ({}, [torch.zeros(3)], {3: torch.zeros(3)}, torch.zeros(3)):
        with pytest.raises(ModelError, match="no state dict"):
            read_checkpoint(made.save_state(nothing), MEAN)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    path = made.save_state(made.state_of(MEAN) | {"extra": Harmful(str(tmp_path / "made"))})
    with pytest.raises(ModelError, match="holds more than tensors, and psic runs no code"):
        read_checkpoint(path, MEAN)
    assert not (tmp_path / "made").exists()


def test_damaged_files_are_refused(tmp_path):
    whole = made.save_state(made.state_of(MEAN)).read_bytes()
    for number, data in enumerate(
        (b"", b"hello", whole[:1000], whole[: len(whole) // 2], whole[:-30], b"\x80\x02}q\x00")
    ):
        path = tmp_path / f"{number}.pth"
        path.write_bytes(data)
        with pytest.raises(ModelError) as caught:
            read_checkpoint(path, MEAN)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="cannot be read"):
        read_checkpoint(tmp_path / "nothing.pth", MEAN)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value):
    state = made.state_of(MEAN)
    state["g_a.2.weight"][0, 0, 0, 0] = value
    with pytest.raises(ModelError, match=r"numbers in g_a\.2\.weight that are not finite"):
        read_checkpoint(made.save_state(state), MEAN)


def test_serial_and_unknown_networks_are_refused_by_name():
    for name in SERIAL:
        with pytest.raises(UsageError, match=f"{name} predicts each latent from the one before it"):
            check_name(name)
    with pytest.raises(UsageError, match="unknown architecture 'jpeg'"):
        check_name("jpeg")
