"""Rounding for rate and distortion: the sum of both falls, whatever the quality."""

import numpy as np
import pytest
import torch
from PIL import Image

from psic_cli import codec, zoo
from psic_cli.bitstream.header import Header
from psic_cli.latents import level_of
from psic_cli.networks.backbone import LAMBDAS, clamp_z
from psic_cli.networks.padded import Padded
from psic_cli.picture import Picture
from psic_cli.search.rounding import chosen_rounding
from psic_cli.search.subject import bits_of, subject_of
from tests.cli.run import ROOT

with Image.open(ROOT / "sample_images" / "coffee.png") as image:
    COFFEE = np.array(image.convert("RGB"))[100:228, 180:308]


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_bits_and_distortion_together_become_less(quality):
    model = zoo.load(zoo.DEFAULT_MODEL, precision="float32")
    network, header = model.network, Header(128, 128, quality, 0, "psic-base", bytes(8), sealed=False)
    level = level_of(header, model)
    levels = torch.from_numpy(COFFEE).permute(2, 0, 1)[None]
    with torch.no_grad():
        y, z = network.analyse(Padded(levels), network.quality(level))
        latents = network.scale(y, level)
        subject = subject_of(levels, latents, clamp_z(z).to(model.choose_integers()), header, model)
        chosen = (chosen_rounding(subject, network, level, rounds=4) - subject.mean).round()

        def cost(symbols: torch.Tensor) -> float:
            weight = LAMBDAS[0] * (LAMBDAS[1] / LAMBDAS[0]) ** network.quality(level).item() * 255**2 / 3
            error = (subject.paint(symbols + subject.mean) - subject.x).square().sum()
            return float(bits_of(symbols, subject.sigma).sum() + weight * error)

        assert cost(chosen) < 0.998 * cost(subject.plain)
    assert (chosen - subject.plain).abs().max() <= 4


def test_files_of_equal_quality_are_smaller_for_it():
    model = zoo.load(zoo.DEFAULT_MODEL, precision="float32")
    plain, chosen = (
        codec.encode(Picture(COFFEE), None, model=model, quality=25, strength=0, effort=effort) for effort in (0, 6)
    )
    assert len(chosen) < 0.995 * len(plain)
