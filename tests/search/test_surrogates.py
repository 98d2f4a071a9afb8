"""Which models a shield is searched against, and how much it is searched."""

import itertools

import pytest
import torch

from psic_cli.errors import ModelError
from psic_cli.search import surrogates
from psic_cli.search.effort import DEFAULT_EFFORT, EFFORTS, MOST_EFFORT
from psic_cli.search.views import Journey, draw_windows


@pytest.fixture
def loaded(monkeypatch):
    """The specs that would be loaded."""
    monkeypatch.setattr(surrogates, "_load", lambda specs, device: specs)
    return lambda *specs: surrogates.surrogates_of(specs, "cpu")


def test_nobody_named_means_those_that_come_with_psic(loaded):
    assert loaded() == ("witness:lite0", "witness:lite1")


def test_a_model_that_is_named_takes_their_place(loaded):
    assert loaded("witness:lite2") == ("witness:lite2",)


def test_a_plus_puts_a_model_beside_them_and_each_counts_once(loaded):
    assert loaded("+witness:lite2", "+witness:lite0") == ("witness:lite0", "witness:lite1", "witness:lite2")


def test_an_unknown_model_is_refused():
    with pytest.raises(ModelError, match="unknown vision-language model"):
        surrogates.surrogates_of(["clip"], "cpu")


def test_the_judge_is_no_surrogate():
    assert "witness:lite2" not in surrogates.DEFAULTS


def test_each_effort_searches_at_least_as_much_as_the_one_below():
    assert len(EFFORTS) == MOST_EFFORT + 1
    assert 0 < DEFAULT_EFFORT < MOST_EFFORT
    for less, more in itertools.pairwise(EFFORTS):
        assert more.steps * more.at_once >= less.steps * less.at_once
        assert more.rounds >= less.rounds
        assert more.passes >= less.passes
    assert all(1 <= effort.passes <= effort.steps for effort in EFFORTS)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (9, 9), (300, 224), (2000, 700)])
def test_windows_lie_in_the_picture_and_what_happens_keeps_its_size(height, width):
    generator = torch.Generator().manual_seed(5)
    x, journey = torch.rand(1, 3, height, width), Journey(generator)
    for window in draw_windows(height, width, generator):
        seen = window.of(x)
        assert min(seen.shape[-2:]) >= 1
        assert min(seen.shape[-2:]) <= 448
        for _ in range(6):
            assert journey(seen).shape == seen.shape


def test_gradients_pass_through_models_that_were_loaded_in_inference_mode():
    with torch.inference_mode():
        (lite0,) = surrogates.surrogates_of(["witness:lite0"], "cpu")
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    lite0.features(x, 64)[0].sum().backward()
    assert x.grad is not None
