"""Building blocks: the start as identity, padding, the Karhunen-Loeve basis, strips."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from psic_cli.networks import strips
from psic_cli.networks.layers import BLOCKS, Activation, karhunen_loeve_basis, pad_to_multiple, precisely
from psic_cli.networks.strips import Made, in_strips


@pytest.mark.parametrize("count", [1, 2])  # one picture has its biases folded into convolutions
@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_start_as_the_identity_and_learn_from_there(kind, count):
    x = torch.randn(count, 8, 5, 6, requires_grad=True)
    block = BLOCKS[kind](8, "leaky")
    none = [torch.zeros(count, width, 1, 1) for width in block.slots()]
    assert torch.equal(block(x, iter(none)), x)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    biases = [torch.randn_like(bias, requires_grad=True) for bias in none]
    block(x, iter(biases)).square().mean().backward()
    for tensor in (x, *biases, *block.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.any()


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_folded_bias_is_that_of_a_batch(kind):
    block, x = BLOCKS[kind](8, "relu"), torch.randn(1, 8, 5, 6)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    biases = [torch.randn(1, width, 1, 1) for width in block.slots()]
    twice = block(x.repeat(2, 1, 1, 1), iter([bias.repeat(2, 1, 1, 1) for bias in biases]))
    torch.testing.assert_close(block(x, iter(biases)), twice[:1])


@pytest.mark.parametrize(("kind", "survives"), [("relu", False), ("leaky", True), ("silu", True)])
def test_a_unit_that_is_shut_learns_to_open_where_the_activation_has_no_flat_side(kind, survives):
    x = torch.full((1, 1, 2, 2), -3.0, requires_grad=True)
    Activation(kind)(x * 1).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.any()) is survives


@pytest.mark.parametrize(("height", "width"), [(64, 64), (1, 1), (65, 63), (128, 3)])
def test_padding_fills_up_to_the_multiple_and_no_further(height, width):
    x = torch.rand(1, 2, height, width)
    padded = pad_to_multiple(x, 64)
    assert padded.shape == (1, 2, -(-height // 64) * 64, -(-width // 64) * 64)
    assert torch.equal(padded[..., :height, :width], x)
    assert (padded[..., height:, :width] == x[..., -1:, :]).all()
    assert (padded[..., :, width:] == padded[..., :, width - 1 : width]).all()


def test_a_convolution_stays_in_float32_under_autocast():
    convolution, x = nn.Conv2d(4, 4, 1), torch.randn(1, 4, 3, 3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert convolution(x).dtype == torch.bfloat16
        result = precisely(convolution, x)
    assert result.dtype == torch.float32
    with torch.no_grad():
        assert torch.equal(result, convolution(x))


# The basis


@pytest.mark.parametrize(("size", "count"), [(8, 192), (8, 50), (16, 768)])
def test_the_basis_is_orthonormal(size, count):
    basis = karhunen_loeve_basis(size, count)
    assert basis.shape == (count, 3 * size * size)
    torch.testing.assert_close(basis @ basis.T, torch.eye(count), rtol=0, atol=1e-5)


def test_the_basis_begins_with_the_mean_brightness():
    first = karhunen_loeve_basis(8, 1)[0].reshape(3, 8, 8)
    torch.testing.assert_close(first[0], first[1])
    torch.testing.assert_close(first[0], first[2])
    assert first.abs().min() > 0.6 * first.abs().max()
    assert len(first.sign().unique()) == 1


def test_a_few_rows_of_the_basis_hold_most_of_a_smooth_picture():
    torch.manual_seed(0)
    x = nn.functional.interpolate(torch.rand(1, 1, 8, 8), (64, 64), mode="bicubic").expand(1, 3, 64, 64) - 0.5
    patches = nn.functional.pixel_unshuffle(x, 8)[0].flatten(1).T  # [64, 3 * 64]
    for count, share in ((8, 0.95), (32, 0.995)):
        basis = karhunen_loeve_basis(8, count)
        assert (patches @ basis.T).square().sum() > share * patches.square().sum()


# Strips


class Blur(nn.Module):
    """Two rows of x become one of the result, which sees one cell (two rows) up and down."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        self.shrink = nn.Conv2d(1, 1, 2, stride=2, bias=False)
        self.rows: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows.append(x.shape[2])
        return self.shrink(self.convolution(x))  # type: ignore[no-any-return]


@settings(max_examples=40)
@given(cells=st.integers(1, 40), strip_cells=st.integers(1, 60), columns=st.integers(1, 6))
def test_strips_join_to_the_result_of_one_pass(cells, strip_cells, columns):
    blur, x = Blur(), torch.randn(1, 1, 2 * cells, 2 * columns)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(strips, "STRIP_CELLS", strip_cells)
        joined = in_strips(blur, x, row_unit=2, cell_columns=columns, halo=1)
        rows = blur.rows.copy()
        torch.testing.assert_close(joined, blur(x))
    step = max(1, strip_cells // columns)
    assert max(rows) <= 2 * (step + 2)  # a strip and its halo: memory does not grow with the height
    assert len(rows) == (1 if cells <= step + 1 else -(-cells // step))


def test_strips_of_several_planes_are_finished_before_they_are_joined(monkeypatch):
    monkeypatch.setattr(strips, "STRIP_CELLS", 6)
    one, other, places = torch.randn(1, 2, 10, 2), torch.randn(1, 2, 10, 2), []

    def doubled(piece: torch.Tensor, rows: slice) -> torch.Tensor:
        places.append(rows)
        return 2 * piece[..., :1]

    joined = in_strips(torch.add, one, other, cell_columns=2, finish=doubled)
    assert torch.equal(joined, 2 * (one + other)[..., :1])
    assert places == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10)]


@pytest.mark.parametrize("cells", [6, 100])  # in strips, and at once
def test_rows_may_be_written_to_what_they_are_made_of(monkeypatch, cells):
    monkeypatch.setattr(strips, "STRIP_CELLS", cells)
    one, other = torch.randn(1, 2, 10, 2), torch.randn(1, 2, 10, 2)
    wanted = one + 2 * other
    made = Made(lambda one, other: one + 2 * other, (one, other)).joined(into=other)
    assert made is other
    assert torch.equal(other, wanted)
