"""What searches are tried with: the shipped model, and a surrogate."""

import pytest

from psic_cli import zoo
from psic_cli.search import find
from psic_cli.search.effort import EFFORTS
from psic_cli.vlp.interface import load_vlp


@pytest.fixture(scope="module")
def model() -> zoo.Model:
    return zoo.load(zoo.DEFAULT_MODEL, precision="float32")


@pytest.fixture(scope="module")
def witness():
    return load_vlp("witness:lite0")


@pytest.fixture(scope="module", autouse=True)
def _searches_as_long_as_users_get():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "EFFORTS", EFFORTS)
        yield
