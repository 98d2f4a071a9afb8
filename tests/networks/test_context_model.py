"""The later coding steps: which latents they concern, what they may look at, and that they are integer arithmetic."""

import numpy as np
import pytest
import torch

from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.context_model import KNOWN_MAX, STEPS, ContextModel, step_of_each
from psic_cli.networks.network import PsicNetwork
from tests.networks.test_integer_layers import CARRIERS, carried, convolved, integers

LATENTS, DETAILS, WIDTH, LEVELS = 6, 1, 6, 64


def context_model() -> ContextModel:
    torch.manual_seed(2)
    made = ContextModel(LATENTS, WIDTH, LEVELS, DETAILS).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.4)
    return made


def small_network() -> PsicNetwork:
    torch.manual_seed(3)
    made = PsicNetwork(
        NetworkConfig(
            width=32,
            latents=LATENTS,
            details=DETAILS,
            hyper_width=WIDTH,
            hyper_latents=4,
        )
    ).eval()
    with torch.no_grad():
        for parameter in made.context.parameters():
            parameter.normal_(0, 0.4)
    return made


def test_steps_change_from_channel_to_channel():
    steps = step_of_each(5, 2, 3)
    assert steps.tolist() == [
        [[0, 2, 0], [3, 1, 3]],
        [[2, 0, 2], [1, 3, 1]],
        [[1, 3, 1], [2, 0, 2]],
        [[3, 1, 3], [0, 2, 0]],
        [[0, 2, 0], [3, 1, 3]],
    ]


@pytest.mark.parametrize("step", range(STEPS))
def test_each_step_has_a_quarter_of_each_channel_and_the_first_two_are_a_chequerboard(step):
    steps = step_of_each(8, 6, 4)
    assert (steps == step).flatten(1).sum(1).tolist() == [6] * 8
    early = steps < 2
    assert (early[:, 1:] != early[:, :-1]).all()
    assert (early[:, :, 1:] != early[:, :, :-1]).all()


def test_an_untrained_model_corrects_nothing():
    known, features, index = torch.randint(-9, 9, (1, 6, 4, 4)), torch.full((1, 6, 4, 4), 200.0), torch.ones(1, 6, 4, 4)
    assert not any(
        part.any()
        for part in ContextModel(LATENTS, WIDTH, LEVELS).eval()(known.float(), features, index, torch.tensor([5]))
    )


@pytest.mark.parametrize("dtype", CARRIERS)
def test_it_is_integer_arithmetic(dtype):
    made = carried(context_model(), dtype)
    made.check_exact()
    known, level = torch.randint(-200, 200, (1, LATENTS, 5, 4)), torch.tensor([40])
    features, index = torch.randint(0, 256, (1, WIDTH, 5, 4)), torch.randint(0, 64, (1, LATENTS, 5, 4))
    with torch.no_grad():
        mean, scale = made(known.to(dtype), features.to(dtype), index.to(dtype), level)

    near, here, inner, last = made.convolutions()

    def layer(one, x):
        return convolved(x, integers(one.integer_weight()), integers(one.integer_bias()))

    seen = layer(near, np.clip(known[0, DETAILS:].numpy(), -KNOWN_MAX, KNOWN_MAX))
    expected = layer(here, np.concatenate([features[0].numpy(), index[0].numpy()]))
    expected = expected + integers(here.integer_level_bias(level))[0]
    h = np.clip((seen + 16) // 32 + (expected + 256) // 512, 0, 255)
    h = np.clip((layer(inner, h) + 256) // 512, 0, 255)
    acc = (layer(last, h) + 256) // 512
    assert (integers(mean)[0] == np.clip(acc[:LATENTS], -4095, 4095)).all()
    assert (integers(scale)[0] == np.clip(acc[LATENTS:], -64, 64)).all()
    assert len(np.unique(integers(mean))) > 9
    assert len(np.unique(integers(scale))) > 9


@pytest.mark.parametrize("number", range(4))
def test_weights_that_could_leave_exact_arithmetic_are_refused(number):
    made = context_model()
    with torch.no_grad():
        made.convolutions()[number].weight[1] = 3000.0
    with pytest.raises(ValueError, match=f"layer {number} of the context model"):
        made.check_exact()


@pytest.mark.parametrize("step", range(1, STEPS))
@torch.no_grad()
def test_a_step_changes_its_own_latents_alone_and_reads_symbols_of_earlier_steps_but_details(step):
    made, level = small_network(), torch.tensor([40])
    before = made.predict(torch.randint(-20, 20, (1, 4, 2, 2)).float(), level)
    symbols = torch.randint(-9, 9, before.mean.shape)
    steps = step_of_each(LATENTS, 8, 8)
    after = made.refine(before, symbols, step)
    for old, new in ((before.mean, after.mean), (before.index, after.index)):
        assert torch.equal(old[0, steps != step], new[0, steps != step])
        assert not torch.equal(old[0, steps == step], new[0, steps == step])
    assert after.index.min() >= 0
    assert after.index.max() <= 63

    unread = steps >= step
    unread[:DETAILS] = True
    again = made.refine(before, torch.where(unread, symbols + 5, symbols), step)
    assert torch.equal(again.mean, after.mean)
    assert torch.equal(again.index, after.index)
    other = made.refine(before, symbols + 5, step)
    assert not torch.equal(other.mean, after.mean)


@pytest.mark.parametrize("dtype", CARRIERS)
@torch.no_grad()
def test_what_a_decoder_computes_for_the_places_of_a_step_alone_is_what_training_computes_for_all(dtype):
    trained, level = small_network(), torch.tensor([20, 40])
    loaded = PsicNetwork.from_tensors(trained.config, trained.to_tensors())
    loaded.use_integers(dtype)
    trained.train()
    z = torch.randint(-20, 20, (2, 4, 2, 3))
    expected, found = trained.predict(z.float(), level), loaded.predict(z.to(dtype), level)
    assert torch.equal(found.mean.float(), expected.mean)
    first, symbols = expected.mean, torch.randint(-200, 200, expected.mean.shape)
    for step in range(1, STEPS):
        expected, found = trained.refine(expected, symbols, step), loaded.refine(found, symbols, step)
        assert torch.equal(found.mean.float(), expected.mean)
        assert torch.equal(found.index.float(), expected.index)
    assert not torch.equal(expected.mean, first)
