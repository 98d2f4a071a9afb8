"""The comparison of a model that was added with CompressAI's own coder."""

import json

import pytest
from PIL import Image

from psic_cli.backbones.architectures import ELIC, MEAN_VBR, NAMES, VARIABLE
from psic_cli.benchmark import exactness
from tests import needs
from tests.backbones import made
from tests.cli.run import psic


@needs.COMPRESSAI
# CompressAI reads ELIC's files back in one size only
@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*ELIC, *VARIABLE)])
def test_both_code_the_same_pictures_to_about_the_same_size_and_picture(name, tmp_path, monkeypatch, capfdbinary):
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path / "models"))
    folder = tmp_path / "photos"
    folder.mkdir()
    rgb = made.photo(256, 320)[0].mul(255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(rgb[:250, :300]).save(folder / "photo.png")
    path = made.save_state(made.original(name).state_dict())
    assert psic("models", "add", f"compressai:{name}", path, "--name", "mine", "--calibrate", folder).code == 0
    exactness.main([name, str(path), "mine", str(folder)])
    found = json.loads(capfdbinary.readouterr().out)
    assert found["pictures"] == 1
    ours, theirs = found["psic"], found["compressai"]
    assert ours["bpp"] < 1.1 * theirs["bpp"]  # smaller ones: untrained scales are wrong, and tables are counted
    assert abs(ours["psnr"] - theirs["psnr"]) < 0.05
    assert all(who[key] > 0 for who in (ours, theirs) for key in ("encode_seconds", "decode_seconds"))


def test_a_variable_rate_is_not_compared(capsys):
    with pytest.raises(SystemExit) as stopped:
        exactness.main([MEAN_VBR, "x.pth", "mine", "photos"])
    assert stopped.value.code == 2
    assert "has no quality of its own" in capsys.readouterr().err
