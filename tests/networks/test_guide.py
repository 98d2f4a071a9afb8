"""The guide: its two ways through the network, and what its steps do to pictures."""

from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.networks.guide import LONGEST, SIDE, STRIDE, Features, Guide, _middle
from tests.networks.guides import untrained_guide

CONDITION = torch.tensor([[1.0, 0.0, 0.0, 0.5]])


@pytest.fixture(scope="module")
def guide() -> Guide:
    return untrained_guide().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def loud(guide) -> Guide:
    """The same guide, whose paces follow the condition: an untrained one's do not."""
    made = Guide(steps=3).eval().requires_grad_(False)
    made.load_state_dict(guide.state_dict())
    for head in made.cltg.heads.parameters():
        head.normal_()
    return made


def pictures(*shape: int) -> tuple[Tensor, Tensor]:
    """A reference, and a picture that is almost the same: [B, 3, H, W]."""
    torch.manual_seed(1)
    reference = torch.rand(*shape)
    return (reference + 0.02 * torch.randn_like(reference)).clamp(0, 1), reference


def alike(one: Features, other: Features) -> float:
    return float(F.cosine_similarity(one.last.flatten(1), other.last.flatten(1)).mean())


def test_the_way_back_is_the_gradient(guide):
    double = Guide(steps=3).double()
    double.load_state_dict(guide.state_dict())
    x = torch.rand(2, 3, 64, 96, dtype=torch.float64, requires_grad=True)
    found = double.features(x)
    towards = torch.randn_like(found.last)
    (gradient,) = torch.autograd.grad((found.last * towards).sum(), x)
    mine = double.adjoint(towards, found.active)
    torch.testing.assert_close(2 * mine, gradient)  # it sees 2 x - 1
    assert gradient.abs().max() > 0


def test_steps_turn_features_away_and_others_of_their_size_do_not(guide):
    x, reference = pictures(1, 3, 224, 224)
    drawn = guide(x, reference, CONDITION)
    known = guide.features(reference)
    noise = drawn.flatten()[torch.randperm(drawn.numel())].view_as(drawn)
    before, after, by_chance = (alike(guide.features(x + change), known) for change in (0 * drawn, drawn, noise))
    assert after < before - 0.02
    assert after < by_chance - 0.02


@pytest.mark.parametrize("steps", [1, 4])
def test_a_guide_takes_the_steps_that_it_is_made_for(monkeypatch, steps):
    made = Guide(steps)
    way_back = mock.Mock(wraps=made.adjoint)
    monkeypatch.setattr(made, "adjoint", way_back)
    made(*pictures(1, 3, 64, 64), CONDITION)
    assert way_back.call_count == steps


def test_what_is_drawn_grows_with_the_strength(guide):
    x, reference = pictures(1, 3, 224, 224)
    none, half, whole = (
        guide(x, reference, CONDITION * strength).square().mean().sqrt() for strength in (0.0, 0.5, 1.0)
    )
    assert none == 0
    assert 0.3 * whole < half < 0.8 * whole
    assert 0.2 / 255 < whole < 6 / 255


def test_a_weaker_shield_takes_shorter_steps_and_learns_no_others(loud):
    texture = torch.rand(1, 40, 28, 28)
    weaker = torch.tensor([[0.3, 0.0, 0.0, 0.5]])
    torch.testing.assert_close(
        loud._paces(texture, weaker), 0.3**0.75 * loud._paces(texture, CONDITION), rtol=1e-5, atol=0
    )


def test_what_a_condition_asks_for_is_the_same_in_bfloat16(loud):
    texture = torch.rand(1, 40, 28, 28)
    plain = loud._paces(texture, CONDITION)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loud._paces(texture, CONDITION), plain, rtol=1e-5, atol=0)


def test_a_decoder_rounds_weights_to_bfloat16_once_and_not_in_every_pass(guide, monkeypatch):
    x, reference = pictures(1, 3, 64, 64)
    weights, features = [], Guide.features

    def watched(self, x):
        weights.append(self.blocks[0].look.weight)
        return features(self, x)

    monkeypatch.setattr(Guide, "features", watched)
    with torch.autocast("cpu", torch.bfloat16):
        slow = guide(x, reference, CONDITION)
        with torch.inference_mode():
            quick, again = guide(x, reference, CONDITION), guide(x, reference, CONDITION)
    assert [weight.dtype for weight in weights] == [torch.float32] * 3 + [torch.bfloat16] * 6
    assert len({id(weight) for weight in weights[3:]}) == 1
    assert torch.equal(quick, slow)
    assert torch.equal(again, slow)


def test_steps_go_where_people_do_not_see_them(guide):
    x, reference = pictures(1, 3, 224, 224)
    reference[..., :112] = x[..., :112] = 0.5  # the left half is flat
    drawn = guide(x, reference, CONDITION).square().mean((0, 1, 2))
    assert drawn[128:208].mean() > 4 * drawn[16:96].mean()


def test_each_picture_of_a_batch_is_treated_alone(guide):
    x, reference = pictures(2, 3, 96, 64)
    conditions = torch.tensor([[1.0, 0.0, 0.3, 0.1], [0.4, 0.0, 0.3, 0.9]])
    together = guide(x, reference, conditions)
    for i in range(2):
        alone = guide(x[i : i + 1], reference[i : i + 1], conditions[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 40), (64, 64), (224, 224), (320, 225), (32, 3000)])
def test_pictures_of_any_size_get_theirs(guide, height, width):
    drawn = guide(*pictures(1, 3, height, width), CONDITION)
    assert drawn.shape == (1, 3, height, width)
    assert drawn.isfinite().all()
    assert drawn.abs().max() > 0


@pytest.fixture
def seen(monkeypatch) -> list[Tensor]:
    """All pictures that a guide looks at."""
    pictures, features = [], Guide.features

    def watched(self, x):
        pictures.append(x)
        return features(self, x)

    monkeypatch.setattr(Guide, "features", watched)
    return pictures


@pytest.mark.parametrize(("height", "width"), [(224, 298), (298, 224), (224, 225), (224, 287), (224, 336)])
def test_the_middle_square_that_models_look_at_lies_on_the_grid(guide, seen, height, width):
    x, reference = pictures(1, 3, height, width)
    guide(x, reference, CONDITION)
    top, left = (height - SIDE) // 2, (width - SIDE) // 2
    middle = reference[..., top : top + SIDE, left : left + SIDE]
    padded = seen[0][1:]  # the pass is shared by x and the reference
    rows, columns = (range(0, length - SIDE + 1, STRIDE) for length in padded.shape[-2:])
    places = [(r, c) for r in rows for c in columns if torch.equal(padded[..., r : r + SIDE, c : c + SIDE], middle)]
    assert len(places) == 1
    row, column = places[0]
    counts = _middle(guide.features(padded).last)[0, 0].repeat_interleave(STRIDE, 0).repeat_interleave(STRIDE, 1)
    assert counts[row : row + SIDE, column : column + SIDE].min() == 1
    assert (counts == 1).sum() == SIDE**2


def test_most_is_drawn_in_the_middle_square_and_some_beside_it(guide):
    drawn = guide(*pictures(1, 3, 224, 480), CONDITION).square().mean((0, 1, 2))
    middle, beside = drawn[160:320].mean(), drawn[:96].mean()
    assert 0 < 3 * beside < middle


def test_it_never_sees_more_than_its_longest_side_and_a_margin(guide, seen):
    guide(*pictures(1, 3, 40, 8000), CONDITION)
    shapes = [x.shape for x in seen]
    assert all(max(shape[-2:]) <= LONGEST + STRIDE for shape in shapes)
    assert all(side % STRIDE == 0 for shape in shapes for side in shape[-2:])


def test_even_pictures_stay_finite(guide):
    """Nothing to turn away from: the same picture twice, black, white."""
    for value in (0.0, 0.5, 1.0):
        same = torch.full((1, 3, 64, 64), value)
        assert guide(same, same, CONDITION).isfinite().all()
    x = torch.rand(1, 3, 64, 64)
    assert guide(x, x, CONDITION).isfinite().all()


def test_a_shield_that_has_not_begun_stops_no_training():
    """Its picture is the reference: there is nothing to turn away from."""
    made, x = untrained_guide(), torch.rand(1, 3, 64, 64, requires_grad=True)
    (x + made(x, x.detach(), CONDITION)).square().sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 2 * x.detach(), atol=1e-3, rtol=1e-3)
    assert all(weight.grad is None or weight.grad.abs().max() < 1e3 for weight in made.parameters())


def test_training_reaches_all_but_the_depthwise_kernels():
    made = untrained_guide()
    made.keep_kernels()
    x, reference = pictures(2, 3, 64, 64)
    x.requires_grad_(True)
    (x + made(x, reference, CONDITION.repeat(2, 1))).square().sum().backward()
    assert x.grad is not None
    silent = [name for name, weight in made.named_parameters() if weight.requires_grad and weight.grad is None]
    assert silent == []
    assert not any(".look." in name for name, weight in made.named_parameters() if weight.grad is not None)
