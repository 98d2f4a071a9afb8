"""The machine version: its loss, and its turn in the second stage."""

import numpy as np
import pytest
import torch

from psic_cli.training import machine
from psic_cli.training.loop import Run
from psic_cli.training.losses import recognition
from psic_cli.training.machine import crops, machine_loss, objects, random_boxes
from psic_cli.training.protection import ProtectionStage
from tests.training.models import SmallModel

pytestmark = pytest.mark.usefixtures("small_scale")


def pictures(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(count))


def test_what_happens_to_pictures_happens_to_the_machine_version_too(protected_config, tmp_path, monkeypatch):
    stage = ProtectionStage(Run(protected_config, tmp_path, "cpu"), fresh=True)
    travelled: list[str | None] = []

    def travel(x: torch.Tensor) -> torch.Tensor:
        travelled.append(stage._turn)
        return x

    monkeypatch.setattr(stage, "journey", travel)
    monkeypatch.setattr(stage, "machine_journey", travel)
    for _ in range(2):
        stage.loss()
    assert travelled == ["machine", "machine", None]  # the protected version's, and the machine's in its turn


def test_the_machine_versions_turn_draws_low_qualities_more_often(protected_config, tmp_path):
    stage = ProtectionStage(Run(protected_config, tmp_path, "cpu"), fresh=True)
    config = stage.run.network.config
    assert 0 < config.machine_below < config.levels  # from there on it is the full version
    for steps, below, in_lower_half in (
        (3, config.machine_below, 0.5 ** (1 / 2.5)),
        (4, config.levels, 0.5),
        (5, config.levels, 0.5),
    ):
        stage.steps = steps
        drawn = stage._draw_levels(10_000)
        assert [int(drawn.min()), int(drawn.max())] == [0, below - 1]
        assert (drawn < below / 2).float().mean().item() == pytest.approx(in_lower_half, abs=0.03)


def test_random_boxes_lie_within_the_picture():
    boxes = random_boxes(200, (0.3, 0.7), square=True, generator=np.random.default_rng(0))
    sides = boxes[:, 2:] - boxes[:, :2]
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    assert sides.min() >= 0.3 - 1e-9
    assert sides.max() <= 0.7 + 1e-9
    np.testing.assert_allclose(sides[:, 0], sides[:, 1])


def test_a_crop_is_what_is_in_the_box():
    x = torch.zeros(2, 3, 8, 8)
    x[0, :, :4, :4] = 1.0
    x[1, :, 4:, 2:6] = 0.5
    seen = crops(np.array([[0, 0, 0.5, 0.5], [0.5, 0.25, 1.0, 0.75]]), 6)(x)
    assert seen.shape == (2, 3, 6, 6)
    torch.testing.assert_close(seen.mean((1, 2, 3)), torch.tensor([1.0, 0.5]))


def test_an_object_stands_alone():
    x = torch.rand(1, 3, 8, 8)
    seen = objects(np.array([[0.25, 0.5, 0.75, 1.0]]))(x)
    assert torch.equal(seen[:, :, 2:6, 4:], x[:, :, 2:6, 4:])
    assert float(seen.sum()) == pytest.approx(float(x[:, :, 2:6, 4:].sum()) + 3 * 48 * 0.5, rel=1e-5)


def test_a_box_has_at_least_one_pixel():
    x = torch.rand(1, 3, 4, 4)
    for box in ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.51, 0.51]):
        assert crops(np.array([box]), 4)(x).shape == (1, 3, 4, 4)
        assert objects(np.array([box]))(x).isfinite().all()


def test_views_take_turns_and_the_original_loses_nothing(monkeypatch):
    models, x = [SmallModel("one"), SmallModel("three")], pictures()
    decoded, originals = 0.5 * x.flip(0), [model.encode_image(x) for model in models]
    monkeypatch.setattr(machine, "SIDE", 16)

    def losses(seen: torch.Tensor) -> list[torch.Tensor]:
        generator = np.random.default_rng(0)
        return [machine_loss(models, seen, x, turn, generator) for turn in range(4)]

    assert max(float(loss.abs().max()) for loss in losses(x)) < 1e-6
    whole, crop, again, masked = losses(decoded)
    torch.testing.assert_close(whole, 1 - recognition(models, decoded, originals))
    assert torch.equal(whole, again)
    generator = np.random.default_rng(0)
    part = crops(random_boxes(4, (0.3, 0.7), square=True, generator=generator), 16)
    torch.testing.assert_close(crop, 1 - recognition(models, part(decoded), [m.encode_image(part(x)) for m in models]))
    part = objects(random_boxes(4, (0.3, 0.8), square=False, generator=generator))
    expected = 1 - recognition(models, part(decoded), [m.encode_image(part(x)) for m in models])
    torch.testing.assert_close(masked, expected)


class Mapping(SmallModel):
    """Tells the pictures themselves, and their means, as what it sees where."""

    def encode_with_maps(self, pictures):
        return self.encode_image(pictures), [pictures, pictures.mean((2, 3), keepdim=True)]


def test_models_that_tell_what_they_see_where_are_followed_there():
    model, x = Mapping("one"), pictures()
    decoded = 0.5 * x.flip(0)
    embeddings = 1 - recognition([model], decoded, [model.encode_image(x)])
    pixels = 1 - torch.cosine_similarity(decoded, x, dim=1).mean((1, 2))
    means = 1 - torch.cosine_similarity(decoded.mean((2, 3)), x.mean((2, 3)), dim=1)
    found = machine_loss([model], decoded, x, 0, np.random.default_rng(0))
    torch.testing.assert_close(found, 0.5 * embeddings + 0.25 * pixels + 0.25 * means)
    mixed = machine_loss([model, SmallModel("one")], decoded, x, 0, np.random.default_rng(0))
    torch.testing.assert_close(mixed, (found + embeddings) / 2)
