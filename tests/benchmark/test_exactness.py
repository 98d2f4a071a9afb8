"""The comparison of a model that was added with CompressAI's own coder."""

import json

import pytest
from PIL import Image

from psic_cli.backbones.architectures import MEAN_VBR, NAMES, VARIABLE
from psic_cli.benchmark import exactness
from tests import needs
from tests.backbones import made
from tests.cli.run import psic


@needs.COMPRESSAI
@pytest.mark.parametrize("name", [name for name in NAMES if name not in VARIABLE])
def test_both_code_the_same_pictures_to_about_the_same_size_and_picture(name, tmp_path, monkeypatch, capfdbinary):
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path / "models"))
    folder = tmp_path / "photos"
    folder.mkdir()
    rgb = made.photo(256, 320)[0].mul(255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(rgb[:250, :300]).save(folder / "photo.png")
    monkeypatch.setattr(made, "BEFORE", (224, 128))  # CompressAI knows no others
    path = made.save_state(made.original(name).state_dict())
    assert psic("models", "add", f"compressai:{name}", path, "--name", "mine", "--calibrate", folder).code == 0
    exactness.main([name, "mine", str(folder), str(path)])
    found = json.loads(capfdbinary.readouterr().out)
    assert found["pictures"] == 1
    (means,) = found["qualities"]
    ours, theirs = means["psic"], means["compressai"]
    assert ours["bpp"] < 1.1 * theirs["bpp"]  # smaller ones: untrained scales are wrong, and tables are counted
    assert abs(ours["psnr"] - theirs["psnr"]) < 0.05
    assert all(who[key] > 0 for who in (ours, theirs) for key in ("encode_seconds", "decode_seconds"))


@needs.COMPRESSAI
def test_each_checkpoint_of_a_family_is_compared_with_its_own_model(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path / "models"))
    folder = tmp_path / "photos"
    folder.mkdir()
    rgb = made.photo(128, 192)[0].mul(255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(rgb).save(folder / "photo.png")
    paths = []
    for number, gain in enumerate((1.0, 3.0, 9.0)):  # of the latents: finer and finer
        state = made.original("bmshj2018-factorized").state_dict()
        last = [key for key in state if key.startswith("g_a.") and key.endswith((".weight", ".bias"))][-2:]
        for key in last:
            state[key] = state[key] * gain
        (tmp_path / str(number)).mkdir()
        paths.append(str(made.save_state(state, tmp_path / str(number) / "checkpoint.pth")))
    add = ("models", "add", "compressai:bmshj2018-factorized", *paths, "--name", "mine", "--calibrate", folder)
    assert psic(*add).code == 0
    exactness.main(["bmshj2018-factorized", "mine", str(folder), *paths])
    found = json.loads(capfdbinary.readouterr().out)
    assert len(found["qualities"]) == 3
    for means in found["qualities"]:
        assert abs(means["psic"]["psnr"] - means["compressai"]["psnr"]) < 0.05
    psnrs = [means["psic"]["psnr"] for means in found["qualities"]]
    assert len({round(value, 1) for value in psnrs}) == 3  # or any model would do
    assert "bd_rate_percent" in found


def test_a_variable_rate_is_not_compared(capsys):
    with pytest.raises(SystemExit) as stopped:
        exactness.main([MEAN_VBR, "mine", "photos", "x.pth"])
    assert stopped.value.code == 2
    assert "has no quality of its own" in capsys.readouterr().err
