"""CompressAI's networks with a condition: what was there stays, and the condition steers what is new."""

import pytest
import torch

from psic_cli.networks.backbones import BACKBONES, adapt
from tests import needs

pytestmark = needs.COMPRESSAI

FULL = torch.tensor([[0.0, 0.0, 0.0, 0.5]])
PROTECTED = torch.tensor([[1.0, 0.0, 0.0, 0.5]])


def small_weights(name):
    """Weights of a narrow network with CompressAI's layers, and the network itself."""
    from compressai.models import MeanScaleHyperprior, ScaleHyperprior

    torch.manual_seed(1)
    network = {"bmshj2018-hyperprior": ScaleHyperprior, "mbt2018-mean": MeanScaleHyperprior}[name](8, 12).eval()
    with torch.no_grad():
        network.g_a[-1].weight.mul_(60)  # latents that are not all zero
    return network, network.state_dict()


@pytest.fixture
def x():
    return torch.rand(2, 3, 64, 128, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", BACKBONES)
def test_before_training_every_condition_decodes_what_the_original_decodes(name, x):
    original, weights = small_weights(name)
    adapted = adapt(name, weights).eval()
    with torch.no_grad():
        expected = original(x)
        y_hat, bpp = adapted.latents(x)
        bits = sum(-likelihood.log2().sum((1, 2, 3)) for likelihood in expected["likelihoods"].values())
        assert y_hat.abs().max() > 1
        torch.testing.assert_close(bpp, bits / (64 * 128))
        for condition in (FULL, PROTECTED):
            torch.testing.assert_close(adapted.synthesise(y_hat, condition), expected["x_hat"])


@pytest.mark.parametrize("name", BACKBONES)
def test_shapes(name, x):
    adapted = adapt(name, small_weights(name)[1])
    y, z = adapted.analyse(x)
    y_hat, bpp = adapted.latents(x)
    assert y.shape == y_hat.shape == (2, 12, 4, 8)
    assert z.shape == (2, 8, 1, 2)
    assert bpp.shape == (2,)
    assert adapted.synthesise(y_hat, PROTECTED).shape == x.shape


def test_a_step_teaches_the_synthesis_to_tell_conditions_apart_and_leaves_the_encoder_alone(x):
    adapted = adapt("mbt2018-mean", small_weights("mbt2018-mean")[1])
    adapted.freeze_encoder()
    before = {key: value.clone() for key, value in adapted.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.1)
    y_hat, _ = adapted.latents(x)
    loss = (adapted.synthesise(y_hat, FULL) - x).square().mean() + adapted.synthesise(y_hat, PROTECTED).square().mean()
    loss.backward()
    optimiser.step()
    changed = {key for key, value in adapted.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert all(key.startswith("g_s.") for key in changed)
    assert any(key.startswith("g_s.cltg.") for key in changed)
    with torch.no_grad():
        assert not torch.equal(adapted.synthesise(y_hat, FULL), adapted.synthesise(y_hat, PROTECTED))


def test_weights_may_come_from_a_file(tmp_path, x):
    original, weights = small_weights("mbt2018-mean")
    torch.save(weights, tmp_path / "weights.pth")
    adapted = adapt("mbt2018-mean", tmp_path / "weights.pth").eval()
    with torch.no_grad():
        torch.testing.assert_close(adapted.synthesise(adapted.latents(x)[0], FULL), original(x)["x_hat"])


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(ValueError, match="unknown backbone 'cheng2020-anchor'"):
        adapt("cheng2020-anchor")
    with pytest.raises(ValueError, match="not weights of mbt2018-mean"):
        adapt("mbt2018-mean", {"g_a.0.weight": torch.zeros(8, 3, 5, 5)})
