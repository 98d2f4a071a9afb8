"""What the search and CLTG each draw of the shield."""

import re

import numpy as np
import pytest
import torch

from psic_cli import zoo
from psic_cli.evaluation import shares
from psic_cli.evaluation.coding import Making, encode
from tests.evaluation.conftest import picture, save


@pytest.fixture(scope="module")
def model():
    return zoo.load("psic-base")


def test_a_model_without_cltg_has_one_picture_for_all_conditions(model):
    plain, rgb = shares.without_cltg(model), picture(width=96, height=64)
    y_hat = torch.randn(1, 240, 4, 6, generator=torch.Generator().manual_seed(1))
    asked = torch.tensor([[1.0, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.5]])
    with torch.inference_mode():
        same = plain.network.synthesise(y_hat.expand(2, -1, -1, -1), asked)
        other = model.network.synthesise(y_hat.expand(2, -1, -1, -1), asked)
    assert torch.equal(same[0], same[1])
    assert not torch.equal(other[0], other[1])
    assert len(encode(rgb, plain, 50, Making(strength=0))) == len(encode(rgb, model, 50, Making(strength=0)))


def test_what_is_drawn_each_way(model):
    rgb = picture(width=96, height=64)
    neither, cltg, search, both = shares.draw(rgb, model, shares.without_cltg(model), 50)
    assert neither.size == cltg.size < min(search.size, both.size)
    assert np.array_equal(neither.shown, cltg.keyless), "what CLTG draws is not in the file"
    assert np.array_equal(search.shown, search.keyless), "what the search draws is"
    assert not np.array_equal(both.shown, both.keyless)
    assert not np.array_equal(neither.shown, cltg.shown)


def test_the_table_says_what_each_way_costs_and_what_is_read(tmp_path, capfd):
    save(tmp_path / "a.png", picture(width=96, height=64))
    save(tmp_path / "b.png", picture(1, width=96, height=64))
    shares.main([str(tmp_path), "--vlp", "witness:lite0", "--limit", "1"])
    heading, _, *rows = capfd.readouterr().out.splitlines()
    assert heading.startswith("| drawn by | loses, dB | bytes more, % | witness:lite0: cosine | reads, % |")
    assert [re.split(r" *\| *", row)[1] for row in rows] == list(shares.WAYS)
    assert rows[0].split(" | ")[1:3] == ["0.00", "0.0"]
    assert rows[1].split(" | ")[2] == "0.0"
