"""Pictures that become floats a few rows at a time."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from psic_cli.networks.layers import pad_to_multiple
from psic_cli.networks.padded import Padded, as_floats, as_levels

ALL = slice(None)


@settings(max_examples=30)
@given(height=st.integers(1, 70), width=st.integers(1, 70), data=st.data())
def test_rows_are_those_of_the_whole_picture_padded(height, width, data):
    levels, change = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8), torch.randn(1, 3, height, width)
    plain, changed = Padded(levels), Padded(levels, lambda rows: change[:, :, rows])
    first = data.draw(st.integers(0, plain.shape[2] - 1))
    rows = slice(first, data.draw(st.integers(first + 1, plain.shape[2])))
    for padded, whole in ((plain, as_floats(levels)), (changed, as_floats(levels) + change)):
        expected = pad_to_multiple(whole, 64)
        assert padded.shape == expected.shape
        assert torch.equal(padded[ALL, ALL, rows], expected[:, :, rows])


def test_levels_come_back_and_what_is_beyond_them_is_clamped():
    levels = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    assert torch.equal(as_levels(as_floats(levels), ALL), levels)
    assert as_levels(torch.tensor([-0.3, 1.2]), ALL).tolist() == [0, 255]
