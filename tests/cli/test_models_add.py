"""psic models add and remove: other people's networks become models, whole or not at all."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from psic_cli import zoo
from psic_cli.backbones.architectures import FACTORIZED, MEAN, MEAN_VBR, NAMES
from tests.backbones import made
from tests.cli.run import psic, psic_process


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's own folder of models, which does not exist yet."""
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.fixture
def checkpoint(tmp_path):
    return made.save_state(made.state_of(MEAN), tmp_path / "mean.pth")


@pytest.fixture
def photos(tmp_path):
    """Two small pictures to fit a network to, and to code."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        rgb = made.photo(128, 192, seed)[0].mul(255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(rgb).save(folder / f"{seed}.png")
    return folder


def add(name, *files, photos, network=MEAN):
    return psic("models", "add", f"compressai:{network}", *files, "--name", name, "--calibrate", photos)


@pytest.mark.parametrize("network", NAMES)
def test_a_model_that_was_added_encodes_and_decodes_both_versions(network, own, photos, tmp_path):
    path = made.save_state(made.state_of(network))
    assert add("mine", path, network=network, photos=photos).code == 0
    card = json.loads((own / "mine" / "card.json").read_text("utf-8"))
    assert card["architecture"] == f"compressai:{network}"
    assert card["made_of"]["file"] == path.name
    psic("keygen", tmp_path / "key")
    file = tmp_path / "x.psic"
    encoded = psic(
        "encode", "-m", "mine", "--effort", "2", "--condition", tmp_path / "key", photos / "0.png", "-o", file
    )
    assert encoded.code == 0, encoded.stderr
    assert psic("decode", file, "-o", tmp_path / "protected.png").code == 0
    assert psic("decode", "--condition", tmp_path / "key", file, "-o", tmp_path / "full.png").code == 0
    facts = json.loads(psic("info", "--json", "--symbols", "--condition", tmp_path / "key", file))
    assert (facts["model"], facts["weights_hash"]) == ("mine", card["sha256"][:16])
    assert set(facts["symbols"]) == {"z", "y", "moves"}


def test_the_same_checkpoint_and_pictures_give_the_same_model(own, checkpoint, photos):
    assert add("one", checkpoint, photos=photos).code == 0
    assert add("two", checkpoint, photos=photos).code == 0
    first, second = ((own / name / "weights.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second


def test_models_of_a_users_own_are_listed_shown_checked_and_removed(own, checkpoint, photos):
    add("mine", checkpoint, photos=photos)
    assert "mine" in psic("models").stdout
    assert "(one quality)" in psic("models").stdout
    assert json.loads(psic("models", "show", "mine"))["architecture"] == f"compressai:{MEAN}"
    assert str(own / "mine") in psic("models", "show", "mine").stderr
    assert "intact" in psic("models", "check", "mine").stdout
    again = add("mine", checkpoint, photos=photos)
    assert again.code == 7
    assert "there is a model named mine" in again.errors[0]
    assert psic("models", "remove", "mine").code == 0
    assert not (own / "mine").exists()
    assert psic("models", "remove", "mine").code == 6


def test_what_comes_with_psic_is_not_removed(own):
    removed = psic("models", "remove", "psic-base")
    assert removed.code == 2
    assert "psic-base is no model of your own" in removed.stderr
    assert zoo.find_card("psic-base")


def test_without_psic_models_a_model_goes_into_the_users_data_folder(checkpoint, photos, monkeypatch):
    monkeypatch.delenv("PSIC_MODELS", raising=False)
    assert add("mine", checkpoint, photos=photos).code == 0
    assert zoo.find_card("mine").path.parent == zoo.users_folder()
    assert psic("encode", "-m", "mine", "--effort", "0", "--open", photos / "0.png").code == 0


def test_quality_chooses_among_models_that_were_added_together(own, photos, tmp_path):
    fine, coarse = made.state_of(MEAN), made.state_of(MEAN)
    for key in ("g_a.6.weight", "g_a.6.bias"):
        coarse[key] = coarse[key] / 8
    files = [made.save_state(state, tmp_path / f"{name}.pth") for name, state in (("fine", fine), ("coarse", coarse))]
    assert add("mine", *files, photos=photos).code == 0
    cards = {card.data["made_of"]["file"]: card for card in zoo.list_models() if card.name == "mine"}
    assert "(quality 1 of 2)" in psic("models").stdout
    sizes = {}
    for quality, file in ((10, "coarse.pth"), (49, "coarse.pth"), (60, "fine.pth"), (100, "fine.pth")):
        out = tmp_path / f"{quality}.psic"
        assert (
            psic(
                "encode", "-m", "mine", "-q", str(quality), "--open", "--effort", "0", photos / "0.png", "-o", out
            ).code
            == 0
        )
        facts = json.loads(psic("info", "--json", out))
        assert facts["weights_hash"] == cards[file].weights_hash.hex()
        assert psic("decode", out, "-o", tmp_path / f"{quality}.png").code == 0
        sizes[quality] = facts["size_bytes"]
    assert sizes[10] == sizes[49] < sizes[60] == sizes[100]
    assert psic("models", "remove", "mine").code == 0
    assert not list(own.iterdir())


def test_a_model_of_one_quality_says_so_when_another_is_asked_for(own, checkpoint, photos, tmp_path):
    add("mine", checkpoint, photos=photos)
    words = ("encode", "-m", "mine", "--effort", "0", "--open", photos / "0.png", "-f", "-o", tmp_path / "x.psic")
    assert "one quality" in psic(*words, "-q", "80").stderr
    assert "one quality" not in psic(*words).stderr


BAD = {
    "another network": (lambda: made.state_of(FACTORIZED), f"no checkpoint of {MEAN}: it looks like {FACTORIZED}"),
    "NaN": (lambda: made.state_of(MEAN) | {"h_s.0.bias": torch.full((made.LATENTS,), float("nan"))}, "not finite"),
    "a part missing": (
        lambda: {key: value for key, value in made.state_of(MEAN).items() if key != "entropy_bottleneck.biases.0"},
        "cannot become a model",
    ),
    "a shape that does not fit": (
        lambda: made.state_of(MEAN) | {"g_s.2.bias": torch.zeros(3)},
        "cannot become a model",
    ),
    "sums out of range": (
        lambda: made.state_of(MEAN) | {"h_s.4.bias": torch.full((2 * made.LATENTS,), 1e9)},
        "leave the range of exact arithmetic",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_checkpoint_is_one_line_and_nothing_is_written(what, own, photos, tmp_path):
    state, message = BAD[what]
    result = add("mine", made.save_state(state(), tmp_path / "bad.pth"), photos=photos)
    assert result.code == 6
    assert len(result.errors) == 1
    assert message in result.errors[0]
    assert "bad.pth" in result.errors[0]
    assert "Traceback" not in result.stderr
    assert not own.exists() or not list(own.iterdir())


def test_one_bad_checkpoint_of_a_family_adds_none_of_it(own, checkpoint, photos, tmp_path):
    (tmp_path / "cut.pth").write_bytes(checkpoint.read_bytes()[:5000])
    assert add("mine", checkpoint, tmp_path / "cut.pth", photos=photos).code == 6
    assert add("mine", checkpoint, checkpoint, photos=photos).code == 6  # the same twice
    assert not own.exists() or not list(own.iterdir())


def test_a_family_replaces_no_folder_of_another_model(own, checkpoint, photos):
    (own / "mine-2").mkdir(parents=True)
    refused = add("mine", checkpoint, checkpoint, photos=photos)
    assert refused.code == 7
    assert "mine-2 exists" in refused.stderr
    assert [path.name for path in own.iterdir()] == ["mine-2"]


def test_one_checkpoint_of_variable_rate_has_all_qualities(own, photos, tmp_path):
    path = made.save_state(made.averaging(MEAN_VBR), tmp_path / "vbr.pth")
    assert add("mine", path, photos=photos, network=MEAN_VBR).code == 0
    assert "quality" not in psic("models").stdout
    smooth = Image.open(photos / "0.png").crop((0, 0, 36, 24)).resize((576, 384), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "smooth.png")
    source = np.asarray(smooth).astype(float)
    sizes, errors, hashes = [], [], set()
    for quality in (1, 50, 100):
        out, decoded = tmp_path / f"{quality}.psic", tmp_path / f"{quality}.png"
        words = ("encode", "-m", "mine", "-q", quality, "--open", "--strength", "0", "--effort", "0")
        encoded = psic(*map(str, words), tmp_path / "smooth.png", "-o", out)
        assert encoded.code == 0
        assert "one quality" not in encoded.stderr
        assert psic("decode", out, "-o", decoded).code == 0
        facts = json.loads(psic("info", "--json", out))
        sizes.append(facts["size_bytes"])
        hashes.add(facts["weights_hash"])
        errors.append(np.square(np.asarray(Image.open(decoded)) - source)[96:-96, 96:-96].mean())  # no zeros around
    assert sizes[0] < 0.8 * sizes[1] < 0.64 * sizes[2]
    assert errors[0] > 1.3 * errors[1] > 1.69 * errors[2]
    assert len(hashes) == 1
    several = add("more", path, path, photos=photos, network=MEAN_VBR)
    assert several.code == 2
    assert "has all qualities" in several.errors[0]


BAD_LEVELS = {
    "a network without gains": (lambda: made.state_of(MEAN), f"no checkpoint of {MEAN_VBR}: it looks like {MEAN}"),
    "NaN": (lambda: made.state_of(MEAN_VBR) | {"Gain": torch.full((8,), float("nan"))}, "not finite"),
    "gains that fall": (lambda: made.state_of(MEAN_VBR) | {"Gain": torch.linspace(1, 0.1, 8)}, "gains do not rise"),
    "no offsets": (
        lambda: {key: value for key, value in made.state_of(MEAN_VBR).items() if key != "QuantABCD.4.bias"},
        "cannot become a model",
    ),
}


@pytest.mark.parametrize("what", BAD_LEVELS)
def test_a_bad_checkpoint_of_variable_rate_is_one_line_and_nothing_is_written(what, own, photos, tmp_path):
    state, message = BAD_LEVELS[what]
    result = add("mine", made.save_state(state(), tmp_path / "bad.pth"), photos=photos, network=MEAN_VBR)
    assert result.code == 6
    assert len(result.errors) == 1
    assert message in result.errors[0]
    assert "bad.pth" in result.errors[0]
    assert not own.exists() or not list(own.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("compressai:mbt2018", "x.pth", "--name", "mine"), 2, "predicts each latent from the one before it"),
        (("compressai:mbt2018-vbr", "x.pth", "--name", "mine"), 2, "predicts each latent from the one before it"),
        (("compressai:jpeg", "x.pth", "--name", "mine"), 2, "unknown architecture 'jpeg'"),
        (("mbt2018-mean", "x.pth", "--name", "mine"), 2, "unknown kind of network"),
        (("compressai:mbt2018-mean", "x.pth", "--name", "My Model"), 2, "is no name for a model"),
        (("compressai:mbt2018-mean", "x.pth", "--name", "psic-base"), 7, "there is a model named psic-base"),
        (("compressai:mbt2018-mean", "x.pth", "--name", "mine"), 6, "x.pth cannot be read"),
    ],
)
def test_what_cannot_be_added_is_refused(words, code, message, own):
    result = psic("models", "add", *words)
    assert result.code == code
    assert message in result.stderr
    assert not own.exists()


def test_neither_adding_nor_coding_imports_compressai(own, checkpoint, photos, tmp_path):
    trap = tmp_path / "trap" / "compressai"
    trap.mkdir(parents=True)
    (trap / "__init__.py").write_text("raise SystemExit('compressai was imported')")
    from tests.cli.run import ROOT

    path = f"{trap.parent}:{ROOT}"
    added = psic_process(
        *("models", "add", f"compressai:{MEAN}", checkpoint, "--name", "mine", "--calibrate", photos), PYTHONPATH=path
    )
    assert added.code == 0, added.stderr
    out = tmp_path / "x.psic"
    coded = psic_process(
        "encode", "-m", "mine", "--effort", "0", "--open", photos / "0.png", "-o", out, PYTHONPATH=path
    )
    assert coded.code == 0, coded.stderr
    assert psic_process("decode", out, "-o", tmp_path / "x.png", PYTHONPATH=path).code == 0
