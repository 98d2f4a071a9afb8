"""Frozen files of the shipped model decode to the same symbols everywhere, and to pictures of the same worth."""

import json
import math

import numpy as np
import pytest
import torch

from psic_cli import codec, zoo
from psic_cli.codec import Version
from psic_cli.vlp.interface import load_vlp
from tests.vectors.make_shipped import FOLDER, SECRET, original

MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
# Of quality 1 and 50: PSNR that the full version has at least, and what the protected one may lose at most, in dB
FLOORS = {"quality-1.psic": (28.6, 1.2), "quality-50.psic": (36.0, 1.0)}


def psnr(rgb):
    return -10 * math.log10(np.square(rgb.astype(float) - original()).mean() / 255**2)


@pytest.mark.parametrize("integers", ["float32", "float64"])
@pytest.mark.parametrize("name", MANIFEST)
def test_symbols_are_the_same_everywhere(name, integers):
    data = (FOLDER / name).read_bytes()
    assert len(data) == MANIFEST[name]["bytes"]
    assert MANIFEST[name]["weights"] == zoo.find_card(zoo.DEFAULT_MODEL).weights_hash.hex()
    assert codec.symbols_hash(data, SECRET, integers=integers) == MANIFEST[name]["symbols"]


@pytest.mark.parametrize("name", MANIFEST)
def test_pictures_are_worth_what_they_were(name):
    data = (FOLDER / name).read_bytes()
    full, protected = (codec.decode(data, SECRET, version=version).rgb for version in (Version.FULL, Version.PROTECTED))
    floor, loss = FLOORS[name]
    assert psnr(full) > floor
    assert psnr(full) - psnr(protected) < loss
    witness = load_vlp("witness:lite0")
    batch = torch.from_numpy(np.stack([original(), full, protected])).permute(0, 3, 1, 2).float() / 255
    seen, of_full, of_protected = witness.encode_image(batch)
    assert seen @ of_protected < seen @ of_full - 0.1
