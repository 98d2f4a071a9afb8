"""How a picture is shrunk."""

import torch

from psic_cli.search.views import resized, shrunk, shrunk_size


def test_a_picture_may_be_made_narrower_a_few_rows_at_a_time():
    x = torch.rand(1, 3, 390, 521)
    height, width = shrunk_size(390, 521, 320)
    narrow = torch.cat([resized(rows, rows.shape[2], width) for rows in x.split(100, dim=2)], dim=2)
    assert torch.equal(resized(narrow, height, width), shrunk(x, 320))
