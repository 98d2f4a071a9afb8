"""Witnesses: what their maps show, and that files which are none are refused."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from psic_cli import zoo
from psic_cli.errors import ModelError
from psic_cli.vlp.interface import load_vlp
from psic_cli.vlp.witness import Witness


@pytest.fixture(scope="module")
def witness():
    return load_vlp("witness:lite0")


@pytest.fixture(scope="module")
def picture():
    return torch.rand(1, 3, 30, 90, generator=torch.Generator().manual_seed(0))


def test_maps_show_the_whole_picture_as_a_square(witness, picture):
    (last,) = witness.features(picture)
    assert last.shape == (1, 1280, 7, 7)
    changed = picture.clone()
    changed[..., :20] = 0  # far outside the middle square
    assert not torch.allclose(witness.features(changed)[0][..., 0], last[..., 0], rtol=0.1)
    assert torch.equal(witness.encode_image(changed), witness.encode_image(picture))


def test_resolution_and_depths_can_be_chosen(witness, picture):
    maps = witness.features(picture, 160, depths=(1, 0.5, 0.75))
    assert [tuple(one.shape[1:]) for one in maps] == [(1280, 5, 5), (80, 10, 10), (192, 5, 5)]
    assert torch.equal(maps[0], witness.features(picture, 160)[0])


def test_gradients_reach_the_picture_and_no_weight(witness, picture):
    x = picture.clone().requires_grad_()
    sum(one.square().mean() for one in witness.features(x, 64, depths=(0.5, 1))).backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    assert bool((x.grad != 0).all())
    assert not any(parameter.requires_grad for parameter in witness.parameters())
    assert not witness.features(picture)[0].requires_grad


def test_maps_are_float_under_autocast(witness, picture):
    with torch.autocast("cpu", torch.bfloat16):
        assert witness.features(picture, 32)[0].dtype == torch.float32


def test_embeddings_and_class_texts_have_unit_length(witness, picture):
    for vectors in (witness.encode_image(picture), witness.class_text):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-3, rtol=0)


def change_meta(meta, **changes):
    meta["witness"] = json.dumps({**json.loads(meta["witness"]), **changes})


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors, meta: meta.clear(),
        lambda tensors, meta: change_meta(meta, timm="resnet18"),
        lambda tensors, meta: change_meta(meta, timm="tf_efficientnet_lite1"),
        lambda tensors, meta: change_meta(meta, timm=None),
        lambda tensors, meta: change_meta(meta, resolution="wide"),
        lambda tensors, meta: tensors.pop("class_text"),
        lambda tensors, meta: tensors.pop("text.mlp.2.bias"),
        lambda tensors, meta: tensors.pop("tower.conv_head.weight"),
        lambda tensors, meta: tensors.update(more=torch.zeros(1)),
        lambda tensors, meta: tensors.update({"image.mlp.2.bias": torch.zeros(3)}),
    ],
    ids=[
        "no meta",
        "no lite",
        "other size",
        "no name",
        "no number",
        "no classes",
        "no text",
        "no head",
        "more",
        "shape",
    ],
)
def test_a_file_with_anything_else_in_it_is_no_witness(tmp_path, damage):
    with safe_open(str(zoo.find_card("witness-lite0", kind=zoo.WITNESS).weights), framework="pt") as file:
        meta, tensors = dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    damage(tensors, meta)
    save_file(tensors, tmp_path / "witness-x.safetensors", meta)
    with pytest.raises(ModelError, match=r"witness-x\.safetensors: not a witness file") as caught:
        Witness(tmp_path / "witness-x.safetensors")
    assert "\n" not in str(caught.value)
