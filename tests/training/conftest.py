"""A folder of generated photographs and a configuration small enough to train on in a test."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from psic_cli.networks.config import NetworkConfig
from psic_cli.training import conditions, shield
from psic_cli.training.config import ConditionsConfig, DataConfig, StageConfig, TrainingConfig
from psic_cli.training.data import is_held_out
from tests.training.models import SmallModel

SMALL = NetworkConfig(
    width=24,
    latents=20,
    details=4,
    hyper_width=8,
    hyper_latents=6,
    analysis_blocks=1,
    synthesis_blocks=1,
    cltg_hidden=16,
)


def smooth_picture(seed: int, height: int, width: int) -> np.ndarray:
    """Coloured clouds with fine detail: uint8 [height, width, 3]."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.zeros(1, 3, height, width)
    for cells, weight in ((3, 0.6), (12, 0.3), (48, 0.1)):
        noise = torch.rand(1, 3, cells, cells, generator=generator)
        picture += weight * torch.nn.functional.interpolate(noise, (height, width), mode="bicubic")
    return (picture[0].permute(1, 2, 0).clamp(0, 1) * 255).byte().numpy()


def picture_names(held_out: bool, count: int) -> list[str]:
    """File names that the held-out rule puts on the side asked for."""
    names = (f"picture{number}.png" for number in range(10000))
    return [name for name in names if is_held_out(Path(name)) == held_out][:count]


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Five pictures to train on and two that are held out, one of them too small to be of use."""
    folder = tmp_path_factory.mktemp("photos")
    for seed, name in enumerate(picture_names(held_out=False, count=5)):
        Image.fromarray(smooth_picture(seed, 270, 280)).save(folder / name)
    for name, side in zip(picture_names(held_out=True, count=2), (260, 100), strict=True):
        Image.fromarray(smooth_picture(99, side, side)).save(folder / name)
    return folder


@pytest.fixture
def config(photos) -> TrainingConfig:
    """Stage 1 of a few steps, no stage 2."""
    return TrainingConfig(
        name="trained",
        validate_every=4,
        save_every=1000,
        data=DataConfig(photos=[str(photos)]),
        network=SMALL,
        compression=StageConfig(steps=6, batch=2, crop=64, warm_up=2),
        conditions=ConditionsConfig(steps=0),
    )


@pytest.fixture
def conditions_config(config) -> TrainingConfig:
    """Stage 2 of a few steps, no stage 1."""
    return dataclasses.replace(
        config,
        validate_every=1000,  # and once at the end
        compression=dataclasses.replace(config.compression, steps=0),
        conditions=ConditionsConfig(steps=6, warm_up=2, batch=2, vlps=["fake:one", "fake:two"]),
    )


@pytest.fixture
def small_scale(monkeypatch):
    """Of the second stage: made-up models and small pictures."""
    monkeypatch.setattr(shield, "load_vlp", lambda spec, device: SmallModel(spec))
    monkeypatch.setattr(conditions, "JUDGED", {64: 4, 128: 1})
    monkeypatch.setattr(conditions, "SIDES", [64, 96])
    monkeypatch.setattr(conditions, "PICTURE_PIXELS", 96 * 96)
