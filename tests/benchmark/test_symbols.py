"""How many pictures decode differently in another setting of the processor."""

import json

import pytest
import torch
from PIL import Image

from psic_cli.backbones.architectures import CHEQUERBOARD, MEAN, MEAN_VBR
from psic_cli.benchmark import symbols
from tests import needs
from tests.backbones import made
from tests.cli.run import psic


@needs.COMPRESSAI
@pytest.mark.parametrize("name", [MEAN, CHEQUERBOARD])  # whose files CompressAI keeps in other parts
def test_symbols_of_psic_are_the_same_in_another_setting(name, tmp_path, monkeypatch, capfdbinary):
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(symbols, "SETTINGS", {"plain": symbols.SETTINGS["plain-instructions"]})
    folder = tmp_path / "photos"
    folder.mkdir()
    rgb = made.photo(64, 128)[0].mul(255).round().byte().permute(1, 2, 0).numpy()
    for width in (128, 100):
        Image.fromarray(rgb[:, :width]).save(folder / f"{width}.png")
    path = made.save_state(made.original(name).state_dict())
    assert psic("models", "add", f"compressai:{name}", path, "--name", "mine", "--calibrate", folder).code == 0
    symbols.main([name, "mine", str(folder), str(path)])
    found = json.loads(capfdbinary.readouterr().out)
    theirs = found["plain"].pop("compressai")
    assert found == {"pictures": 2, "plain": {"psic float32": 0, "psic float64": 0}}
    assert 0 <= theirs <= 2


def test_other_symbols_and_other_pictures_are_counted():
    assert symbols.differing([{"y": "ab"}, {"y": "cd"}], [{"y": "ab"}, {"y": "ce"}]) == 1
    picture = torch.full([1, 3, 2, 2], 100, dtype=torch.uint8)
    rounded, broken = picture.clone(), picture.clone()
    rounded[0, 0, 0, 0] -= 1  # floating-point syntheses differ so much
    broken[0, 0, 0, 0] -= 2
    assert symbols.differing([picture] * 3, [picture, rounded, broken]) == 1


def test_a_variable_rate_is_not_compared(capsys):
    with pytest.raises(SystemExit) as stopped:
        symbols.main([MEAN_VBR, "mine", "photos", "x.pth"])
    assert stopped.value.code == 2
    assert "has no quality of its own" in capsys.readouterr().err
