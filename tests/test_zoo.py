"""Models on disk: how they are found, told apart and checked before anything is coded with them."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from psic_cli import codec, zoo
from psic_cli.errors import ModelError, UsageError
from psic_cli.networks.network import PsicNetwork
from psic_cli.picture import Picture

ROOT = Path(__file__).parent.parent
TINY = Path(__file__).parent / "vectors" / "models" / "tiny"


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """An own folder of models with a copy of "tiny" in it, which may be damaged."""
    shutil.copytree(TINY, tmp_path / "models" / "tiny")
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def edit_card(folder: Path, **changes: object) -> None:
    """Change entries of card.json; None takes one out."""
    card = json.loads((folder / "card.json").read_text("utf-8")) | changes
    kept = {key: value for key, value in card.items() if value is not None}
    (folder / "card.json").write_text(json.dumps(kept), encoding="utf-8")


def write_weights(folder: Path, data: bytes) -> None:
    """Other weights, and a card that names them."""
    (folder / "weights.safetensors").write_bytes(data)
    edit_card(folder, sha256=hashlib.sha256(data).hexdigest())


def other_weights(offset: float = 0.01) -> bytes:
    """Weights of another tiny model."""
    tensors = load_tensors((TINY / "weights.safetensors").read_bytes())
    tensors["g_s.to_pixels.bias"] += offset
    return save_tensors(tensors)


# Finding


def test_models_are_listed_with_what_their_cards_say(models):
    card = next(card for card in zoo.list_models() if card.path.parent == models)
    assert (card.name, card.path) == ("tiny", models / "tiny")
    assert card.weights_hash == hashlib.sha256(card.weights.read_bytes()).digest()[:8]
    assert card.data["network"]["latents"] == 20
    assert zoo.find_card("tiny") == card


def test_a_witness_is_listed_and_found_only_when_asked_for(models):
    shutil.copytree(models / "tiny", models / "witness-tiny")
    edit_card(models / "witness-tiny", name="witness-tiny", kind="witness")
    assert "witness-tiny" not in [card.name for card in zoo.list_models()]
    assert "tiny" not in [card.name for card in zoo.list_models(zoo.WITNESS)]
    assert zoo.find_card("witness-tiny", kind=zoo.WITNESS).path == models / "witness-tiny"
    with pytest.raises(ModelError, match="no model named witness-tiny"):
        zoo.load("witness-tiny")


def test_a_model_is_known_by_its_card_and_not_by_its_folder(models):
    (models / "tiny").rename(models / "somewhere else")
    assert zoo.find_card("tiny").path.name == "somewhere else"


def test_an_unknown_name_is_an_error_that_lists_the_known_ones(models):
    with pytest.raises(ModelError, match="no model named large") as caught:
        zoo.find_card("large")
    assert "tiny" in str(caught.value.hint)
    assert "$PSIC_MODELS" in str(caught.value.hint)


def test_an_empty_or_missing_folder_holds_no_models(tmp_path, monkeypatch):
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path / "none"))
    with pytest.raises(ModelError, match="no model named tiny"):
        zoo.find_card("tiny")


def test_two_versions_of_a_name_are_chosen_by_hash(models):
    shutil.copytree(models / "tiny", models / "later")
    write_weights(models / "later", other_weights())
    cards = [card for card in zoo.list_models() if card.name == "tiny"]
    assert len({card.weights_hash for card in cards}) == 2
    picture, files = Picture(torch.full((20, 30, 3), 77, dtype=torch.uint8).numpy()), []
    for card in cards:
        assert zoo.find_card("tiny", card.weights_hash) == card
        model = zoo.load("tiny", card.weights_hash)
        assert model.card == card
        files.append(codec.encode(picture, None, model=model))
    decoded = [codec.decode(data, precision="float32").rgb.astype(int) for data in files]
    assert (decoded[1] != decoded[0]).any()
    with pytest.raises(ModelError, match=f"needs tiny with weights {bytes(8).hex()}, installed: ") as caught:
        zoo.find_card("tiny", bytes(8))
    for card in cards:
        assert card.weights_hash.hex() in str(caught.value)


def test_the_folder_of_psic_models_comes_first(models):
    assert zoo.search_path()[0] == models
    assert len(zoo.search_path()) == 2


def test_a_file_whose_model_is_gone_says_which_one_it_needs(models):
    data = codec.encode(Picture(torch.zeros(8, 8, 3, dtype=torch.uint8).numpy()), None, model=zoo.load("tiny"))
    needed = zoo.find_card("tiny").weights_hash.hex()
    write_weights(models / "tiny", other_weights())
    with pytest.raises(ModelError, match=f"needs tiny with weights {needed}"):
        codec.decode(data)
    shutil.rmtree(models / "tiny")
    with pytest.raises(ModelError, match="no model named tiny"):
        codec.decode(data)


# Checking


def test_a_sound_model_is_verified(models):
    zoo.verify(zoo.find_card("tiny"))


@pytest.mark.parametrize("check", [zoo.verify, lambda card: zoo.load(card.name)], ids=["verify", "load"])
def test_weights_that_differ_from_their_card_are_refused(models, check):
    path = models / "tiny" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="the weights differ from their card"):
        check(zoo.find_card("tiny"))


@pytest.mark.parametrize("check", [zoo.verify, lambda card: zoo.load(card.name)], ids=["verify", "load"])
def test_missing_weights_are_refused(models, check):
    (models / "tiny" / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot read the weights"):
        check(zoo.find_card("tiny"))


def test_weights_of_another_version_are_refused(models):
    edit_card(models / "tiny", weights_version=99)
    with pytest.raises(ModelError, match=f"weights of version 99, this psic reads {zoo.WEIGHTS_VERSION}"):
        zoo.load("tiny")


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors: b"",
        lambda tensors: b"\xff" * 100,
        lambda tensors: save_tensors(tensors)[:-5],
        lambda tensors: save_tensors({k: v for k, v in tensors.items() if k != "h_s.0.weight"}),
        lambda tensors: save_tensors({k: v for k, v in tensors.items() if k != "g_a.stem.weight"}),
        lambda tensors: save_tensors({k: v for k, v in tensors.items() if k != "tables.y.sizes"}),
        lambda tensors: save_tensors({**tensors, "scaling.gain": tensors["scaling.gain"][:, 1:].contiguous()}),
        lambda tensors: save_tensors({**tensors, "scaling.gain": tensors["scaling.gain"] * 0}),
        lambda tensors: save_tensors({**tensors, "h_s.2.weight": tensors["h_s.2.weight"] * 0 + 30000}),
        lambda tensors: save_tensors({**tensors, "tables.z.cumulative": tensors["tables.z.cumulative"] + 1}),
        lambda tensors: save_tensors({**tensors, "tables.z.cumulative": tensors["tables.z.cumulative"].float()}),
    ],
    ids=[
        "empty",
        "noise",
        "cut",
        "no-h_s",
        "no-g_a",
        "no-table",
        "shape",
        "gain-0",
        "inexact",
        "tables",
        "float-tables",
    ],
)
def test_weights_that_are_malformed_are_refused_even_if_their_hash_fits(models, damage):
    write_weights(models / "tiny", damage(load_tensors((TINY / "weights.safetensors").read_bytes())))
    zoo.verify(zoo.find_card("tiny"))
    with pytest.raises(ModelError, match="the weights do not fit their card"):
        zoo.load("tiny")


@pytest.mark.parametrize(
    "changes", [{"network": None}, {"network": {"widths": 5}}, {"network": {"latents": 21}}, {"weights_version": None}]
)
def test_a_card_that_does_not_fit_its_weights_is_refused(models, changes):
    edit_card(models / "tiny", **changes)
    with pytest.raises(ModelError, match="the weights do not fit their card"):
        zoo.load("tiny")


@pytest.mark.parametrize("text", ["", "[]", "5", "{}", '{"name": "a"}', '{"name": "a", "sha256": "12"}', "\xff"])
def test_a_file_that_is_no_card_is_an_error_that_names_it(models, text):
    (models / "tiny" / "card.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"card\.json: not a model card"):
        zoo.list_models()


# Loading


def test_a_model_is_loaded_once(models):
    assert zoo.load("tiny") is zoo.load("tiny")
    assert zoo.load("tiny") is not zoo.load("tiny", precision="bfloat16")


def test_a_model_that_was_replaced_in_its_folder_is_loaded_anew(models):
    before = zoo.load("tiny")
    write_weights(models / "tiny", other_weights())
    after = zoo.load("tiny")
    assert after.card.weights_hash != before.card.weights_hash
    networks = [model.network for model in (before, after)]
    biases = [network.g_s.to_pixels.bias for network in networks if isinstance(network, PsicNetwork)]
    assert biases[0] is not None
    assert biases[1] is not None
    assert not torch.equal(biases[0], biases[1])


def test_cards_are_told_apart_by_what_identifies_them(models):
    card = zoo.find_card("tiny")
    assert {card, dataclasses.replace(card, data={})} == {card}
    assert dataclasses.replace(card, sha256="0" * 64) != card


def test_a_gpu_that_is_not_there_is_a_usage_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="no CUDA device"):
        zoo.choose_device("cuda")
    assert zoo.choose_device("auto") == zoo.choose_device("cpu") == "cpu"


def test_a_gpu_that_is_there_is_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert zoo.choose_device("auto") == zoo.choose_device("cuda") == "cuda"
    assert zoo.choose_device("cpu") == "cpu"


def test_precisions():
    assert zoo.choose_precision("float32", "cpu") == torch.float32
    assert zoo.choose_precision("bfloat16", "cpu") == torch.bfloat16
    assert zoo.choose_precision("auto", "cuda") == torch.bfloat16
    assert zoo.choose_precision("auto", "cpu") in (torch.float32, torch.bfloat16)


def test_listing_finding_and_verifying_load_no_torch(models):
    program = (
        "import sys; from psic_cli import zoo; "
        "card = zoo.find_card('tiny', zoo.find_card('tiny').weights_hash); zoo.verify(card); "
        "assert card in zoo.list_models(); assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# The model that psic comes with


def test_the_model_of_the_package_is_sound_and_codes():
    card = next((card for card in zoo.list_models() if card.name == zoo.DEFAULT_MODEL), None)
    if card is None:
        pytest.skip(f"{zoo.DEFAULT_MODEL} is not in models/ yet")
    model = zoo.load(card.name)
    picture = Picture((torch.arange(64 * 80 * 3) % 256).byte().reshape(64, 80, 3).numpy())
    data = codec.encode(picture, bytes(32), model=model, quality=80)
    for version in codec.Version:
        assert codec.decode(data, bytes(32), version=version).rgb.shape == (64, 80, 3)
