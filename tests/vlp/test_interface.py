"""How a vision-language model is named, and what a name that means none gives."""

import shutil

import pytest
import torch

from psic_cli import zoo
from psic_cli.errors import ModelError
from psic_cli.vlp.interface import load_vlp


@pytest.mark.parametrize("spec", ["", "witness", "witness:", "clip:x", "/a/path"])
def test_an_unknown_kind_is_an_error_that_says_what_is_known(spec):
    with pytest.raises(ModelError, match="unknown vision-language model") as caught:
        load_vlp(spec)
    assert "witness:PATH" in str(caught.value.hint)


def test_a_witness_that_is_not_installed_is_an_error_that_names_those_that_are():
    with pytest.raises(ModelError, match="no witness model named witness-lite9") as caught:
        load_vlp("witness:lite9")
    assert "witness-lite2" in str(caught.value.hint)


def test_an_installed_witness_is_the_same_by_name_and_by_path():
    by_name = load_vlp("witness:lite0")
    by_path = load_vlp(f"witness:{zoo.find_card('witness-lite0', kind=zoo.WITNESS).weights}")
    assert by_name.name == "witness:lite0"
    pictures = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    assert torch.equal(by_name.encode_image(pictures), by_path.encode_image(pictures))


def test_a_witness_that_differs_from_its_card_is_refused(tmp_path, monkeypatch):
    shutil.copytree(zoo.find_card("witness-lite0", kind=zoo.WITNESS).path, tmp_path / "witness-lite0")
    with open(tmp_path / "witness-lite0" / "weights.safetensors", "ab") as file:
        file.write(b"x")
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match="the weights differ from their card"):
        load_vlp("witness:lite0")


@pytest.mark.parametrize("name", ["witness-lite0", "witness-lite1", "witness-lite2"])
def test_the_cards_of_the_shipped_witnesses_say_what_they_are_and_are_for(name):
    card = zoo.find_card(name, kind=zoo.WITNESS)
    zoo.verify(card)
    assert card.data["spec"] == name.replace("-", ":")
    assert card.data["use"] == ("measuring only" if name == "witness-lite2" else "trained against")
    assert {"licence", "origin", "measured", "training"} <= set(card.data)
    assert "not CLIP" in card.data["description"]


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 50], ids=["missing", "empty", "noise"])
def test_a_file_that_is_no_witness_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "witness-x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"witness-x\.safetensors: not a witness file"):
        load_vlp(f"witness:{path}")
