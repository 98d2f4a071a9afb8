"""Whatever a host has set in torch, files and pictures are the same, and the model that is kept is not broken by it."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from psic_cli import codec, zoo
from psic_cli.picture import Picture

SECRET = bytes(range(32))
PICTURE = Picture(np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype(np.uint8))


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


HOSTS: dict[str, Callable[[], Any]] = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "float16": lambda: default_dtype(torch.float16),
    "another default device": lambda: torch.device("meta"),
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "gradients": torch.enable_grad,
    "deterministic": deterministic,
}


@pytest.fixture(autouse=True)
def _no_model_is_kept(tiny_models):
    zoo._load.cache_clear()
    yield
    zoo._load.cache_clear()


def coded(name):
    """Bytes and pixels that a picture comes to: in every version, or in the protected one."""
    model = zoo.load(name)
    plain = codec.encode(PICTURE, None, model=model)
    if name != "tiny":  # seconds each
        return plain, codec.decode(plain).rgb.tobytes()
    return plain, [codec.decode(plain, version=version).rgb.tobytes() for version in codec.Version]


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS.keys())
def test_files_and_pictures_do_not_depend_on_what_a_host_has_set(host):
    expected = coded("tiny")
    with host():
        assert coded("tiny") == expected  # with the model that was loaded before
    zoo._load.cache_clear()
    with host():
        assert coded("tiny") == expected
    assert coded("tiny") == expected  # with the model that was loaded under it


@pytest.mark.parametrize("host", ["bfloat16", "another default device"])
def test_the_shipped_model_does_not_depend_on_what_a_host_has_set(host):
    with HOSTS[host]():
        found = coded("psic-base")
    assert coded("psic-base") == found
    zoo._load.cache_clear()
    assert coded("psic-base") == found
