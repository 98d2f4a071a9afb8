"""Feature maps of open_clip's three kinds of towers: small ones with random weights, saved and loaded here."""

import json

import pytest
import torch
from safetensors.torch import save_file

from psic_cli.vlp.interface import load_vlp

open_clip = pytest.importorskip("open_clip")

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
COCA = {"attn_pooler_heads": 4, "attentional_pool": True}
TOWERS = {
    "vit": {"image_size": 64, "layers": 4, "width": 64, "patch_size": 16},
    "coca": {"image_size": 64, "layers": 4, "width": 64, "patch_size": 16, **COCA},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
    "timm": {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token", "timm_proj": "linear"},
    "timm-convolutions": {"image_size": 64, "timm_model_name": "convnext_atto", "timm_pool": "", "timm_proj": "linear"},
}
SHAPES = {  # channels and sides of the middle and the last map; the same at a smaller resolution
    "vit": (64, 4, 64, 4, 32, 2, 2),
    "coca": (64, 4, 64, 4, 32, 2, 2),
    "resnet": (128, 8, 512, 2, 32, 4, 1),
    "timm": (192, 14, 192, 14, 150, 9, 9),
    "timm-convolutions": (80, 8, 320, 2, 32, 4, 1),
}


@pytest.fixture(scope="module", params=TOWERS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp(kind)
    config = {"embed_dim": 16, "vision_cfg": TOWERS[kind], "text_cfg": TEXT}
    (folder / f"psic-{kind}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"psic-{kind}.json")
    torch.manual_seed(0)
    made = open_clip.create_model(f"psic-{kind}")
    save_file(made.state_dict(), folder / "weights.safetensors")
    return load_vlp(f"open_clip:psic-{kind}:{folder / 'weights.safetensors'}")


@pytest.fixture(scope="module")
def picture():
    return torch.rand(2, 3, 50, 90, generator=torch.Generator().manual_seed(0))


def test_maps_of_chosen_depths_and_resolution(model, kind, picture):
    channels, side, last_channels, last_side, resolution, smaller, last_smaller = SHAPES[kind]
    last, middle = model.features(picture, depths=(1, 0.5))
    assert middle.shape == (2, channels, side, side)
    assert last.shape == (2, last_channels, last_side, last_side)
    middle, last = model.features(picture, resolution, depths=(0.5, 1))
    assert middle.shape == (2, channels, smaller, smaller)
    assert last.shape == (2, last_channels, last_smaller, last_smaller)


def test_another_resolution_changes_nothing_at_the_own_one_and_copies_no_weights(model, kind, picture):
    before, embedding = model.features(picture)[0], model.encode_image(picture)
    model.features(picture, SHAPES[kind][4])
    assert torch.equal(model.features(picture)[0], before)
    assert torch.equal(model.encode_image(picture), embedding)
    own = {tensor.data_ptr() for tensor in model.model.visual.parameters()}
    copied = [name for name, tensor in model._resized[1].named_parameters() if tensor.data_ptr() not in own]
    assert copied == [name for name in copied if "pos" in name]


def test_gradients_reach_the_picture_and_no_weight(model, kind, picture):
    for resolution in (None, SHAPES[kind][4]):
        x = picture.clone().requires_grad_()
        model.features(x, resolution)[0].square().mean().backward()
        assert x.grad is not None
        assert x.grad.abs().sum() > 0
        assert not model.features(picture, resolution)[0].requires_grad


def test_a_map_shows_places_where_they_are(model, kind, picture):
    if SHAPES[kind][1] < 4:
        pytest.skip("too few places")
    changed = picture.clone()
    changed[..., :12, :20] = 1
    middle, other = (model.features(one, depths=(0.5,))[0] for one in (picture, changed))
    difference = (middle - other).norm(dim=1)[0]
    assert difference[0, 0] > difference[-1, -1]
