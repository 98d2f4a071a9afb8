"""What surrogates see, and where they would have a picture change."""

import pytest
import torch

from psic_cli.search.eyes import Eyes


@pytest.fixture
def original() -> torch.Tensor:
    return torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(1))


def seen(original: torch.Tensor, shown: torch.Tensor, witness, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeness, and its gradient."""
    shown = shown.clone().requires_grad_(True)
    likeness = Eyes(original, [witness], **options).likeness(shown, 0)
    (gradient,) = torch.autograd.grad(likeness, shown)
    return likeness.detach(), gradient


def test_colours_change_less_and_brightness_as_readily_as_before(original, witness):
    shown = 0.9 * original
    likeness, plain = seen(original, shown, witness)
    same, less = seen(original, shown, witness, colourless=4.0)
    assert torch.equal(likeness, same)
    brightness = plain.mean(1, keepdim=True)
    torch.testing.assert_close(less.mean(1, keepdim=True), brightness)
    torch.testing.assert_close(less - brightness, (plain - brightness) / 4)


def test_what_a_decoder_clamps_is_seen_clamped_and_can_still_change(original, witness):
    shown = original + 0.5
    likeness, gradient = seen(original, shown, witness)
    assert torch.equal(likeness, seen(original, shown.clamp(0, 1), witness)[0])
    assert gradient[shown > 1].abs().min() > 0
