"""The witnesses' tower, against timm's with the same weights."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from psic_cli import zoo
from psic_cli.vlp.efficientnet_lite import BLUR, EfficientNetLite

timm = pytest.importorskip("timm")

SIDES = [(64, 64), (63, 97), (45, 64)]  # even, odd and mixed ones are padded differently


def pair(name):
    """timm's tower with a witness's weights, if there is one of its size, and ours with the same."""
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=0, global_pool="").eval().requires_grad_(False)
    if name[-1] in "012":
        card = zoo.find_card(f"witness-lite{name[-1]}", kind=zoo.WITNESS)
        tensors = {key.removeprefix("tower."): value.float() for key, value in load_file(card.weights).items()}
        theirs.load_state_dict(tensors, strict=False)
    weights = {key: value for key, value in theirs.state_dict().items() if "num_batches" not in key}
    return theirs, EfficientNetLite(name, weights)


class Blurred(nn.Module):
    """ReLU6 with the gradient of its mean over many places around."""

    def forward(self, x):
        mean = torch.stack([F.relu6(x + BLUR * ((2 * i + 1) / 200 - 1)) for i in range(200)]).mean(0)
        return F.relu6(x).detach() + mean - mean.detach()


def with_blurred_gradients(tower):
    for module in list(tower.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(module, name, Blurred())
    return tower


def features_and_gradient(tower, size, autocast=False):
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        features = tower(x).float()
    features[:, ::2].square().sum().backward()
    return features.detach(), x.grad


def distance(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_lite2", "efficientnet_lite1"])
def test_features_are_those_of_timm_and_gradients_those_of_a_blurred_relu6(name, size):
    theirs, ours = pair(name)
    features, gradient = features_and_gradient(ours, size)
    expected, sharp = features_and_gradient(theirs, size)
    assert features.shape == expected.shape
    assert distance(features, expected) < 1e-4
    _, along = features_and_gradient(with_blurred_gradients(theirs), size)
    assert distance(gradient, along) < 2e-2  # rounding may carry a few values over a corner
    assert distance(gradient, sharp) > 0.1


@pytest.mark.parametrize("number", [3, 4])
def test_the_scaling_rule_gives_larger_ones_too(number):
    theirs, ours = pair(f"tf_efficientnet_lite{number}")
    x = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert distance(ours(x), theirs(x)) < 1e-4


def test_gradients_in_bfloat16_point_where_the_exact_ones_do():
    likeness = []
    for tower in pair("tf_efficientnet_lite0"):
        exact, rough = (features_and_gradient(tower, (63, 64), autocast)[1].flatten() for autocast in (False, True))
        likeness.append(torch.cosine_similarity(exact, rough, dim=0))
    theirs, ours = likeness
    assert ours > 0.8
    assert ours > theirs - 0.05


def test_what_was_seen_is_not_changed_by_seeing_more():
    _, ours = pair("tf_efficientnet_lite0")
    maps = list(ours.maps(torch.rand(1, 3, 64, 96)))
    assert [tuple(one.shape[1:]) for one in maps] == [
        (16, 32, 48), (24, 16, 24), (40, 8, 12), (80, 4, 6), (112, 4, 6), (192, 2, 3), (320, 2, 3), (1280, 2, 3)
    ]  # fmt: skip
    again = ours.maps(torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)))
    first = next(again)
    kept = first.clone()
    list(again)
    assert torch.equal(first, kept)


@pytest.mark.parametrize("change", ["missing", "left over", "another shape", "another name"])
def test_weights_of_another_network_are_refused(change):
    name, (theirs, _) = "tf_efficientnet_lite0", pair("tf_efficientnet_lite0")
    weights = {key: value for key, value in theirs.state_dict().items() if "num_batches" not in key}
    if change == "missing":
        del weights["bn1.bias"]
    elif change == "left over":
        weights["classifier.bias"] = torch.zeros(3)
    elif change == "another shape":
        weights["conv_stem.weight"] = torch.zeros(32, 3, 5, 5)
    else:
        name = "tf_efficientnet_b0"
    with pytest.raises((KeyError, ValueError, RuntimeError)):
        EfficientNetLite(name, weights)
