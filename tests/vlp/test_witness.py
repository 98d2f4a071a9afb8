"""The witness file that is shipped, against the same tower as timm makes it."""

import json

import pytest
import timm
import torch
from safetensors import safe_open

from psic_cli import zoo
from psic_cli.vlp.interface import load_vlp
from psic_cli.vlp.witness import Witness


@pytest.fixture(scope="module")
def witness() -> Witness:
    model = load_vlp("witness:lite0", "cpu")
    assert isinstance(model, Witness)
    return model


@pytest.fixture(scope="module")
def plain_tower() -> torch.nn.Module:
    card = zoo.find_card("witness-lite0", kind=zoo.WITNESS)
    with safe_open(str(card.weights), framework="pt") as file:
        name = json.loads(file.metadata()["witness"])["timm"]
        own = {key: file.get_tensor(key).float() for key in file.keys() if key.startswith("tower.")}  # noqa: SIM118
    tower = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
    tower.load_state_dict({key.removeprefix("tower."): value for key, value in own.items()}, strict=False)
    return tower.eval().requires_grad_(False)


def features_and_gradient(tower: torch.nn.Module, autocast: bool) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(1, 3, 97, 160, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        features = tower(x).float().mean((2, 3))
    features[:, ::2].sum().backward()
    assert x.grad is not None
    return features.detach(), x.grad


def test_the_quick_tower_sees_what_the_plain_one_sees(witness, plain_tower):
    quick, plain = (features_and_gradient(tower, autocast=False) for tower in (witness.tower, plain_tower))
    for a, b in zip(quick, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_its_gradients_in_bfloat16_point_where_the_plain_ones_do(witness, plain_tower):
    exact = features_and_gradient(plain_tower, autocast=False)[1].flatten()
    quick, plain = (features_and_gradient(tower, autocast=True)[1].flatten() for tower in (witness.tower, plain_tower))
    likeness = [torch.cosine_similarity(one, exact, dim=0).item() for one in (quick, plain)]
    assert likeness[0] > 0.8
    assert likeness[0] > likeness[1] - 0.05
