"""Fixtures shared by all tests, and settings that make runs repeatable."""

import os
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from psic_cli.search import find, surrogates
from psic_cli.search.effort import DEFAULT_EFFORT, EFFORTS, Effort

# Examples are drawn the same way on every run, and slow machines are not failures.
settings.register_profile("psic", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("psic")

# A job in the background of a shell ignores Ctrl-C, and its children inherit that: tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The same under nohup, whose children ignore SIGHUP.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# What the person running the tests has set must not change them. Once, not per test: fixtures set some themselves.
for _name in [name for name in os.environ if name.startswith("PSIC_")]:
    del os.environ[_name]


@pytest.fixture(autouse=True)
def _no_key_or_model_of_the_person_running_the_tests(tmp_path_factory, monkeypatch):
    """Point every platform's configuration and data folders into a temporary one: no test may find, or make, a real key
    or model.
    """
    home = tmp_path_factory.mktemp("home")
    places = {"XDG_CONFIG_HOME": home / "config", "XDG_DATA_HOME": home / "data"}
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "APPDATA", *places):
        monkeypatch.setenv(name, str(places.get(name, home)))


class Blur(torch.nn.Module):
    """A surrogate that costs next to nothing: what it sees are averages over squares of 8 pixels, and their squares."""

    def features(
        self, pictures: torch.Tensor, resolution: int | None = None, depths: tuple[float, ...] = (1.0,)
    ) -> list[torch.Tensor]:
        padded = torch.nn.functional.pad(pictures, (0, 8, 0, 8), mode="replicate") - 0.5
        seen = torch.nn.functional.avg_pool2d(padded, 8)
        return [torch.cat([seen, seen.square()], dim=1) for _ in depths]


@pytest.fixture(scope="session", autouse=True)
def _cheap_searches():
    """Encoders ask a small model where nobody names those to mislead, and at the default effort they ask it four times.
    (Other processes are told `--effort 0`; what searches achieve is tested in tests/search.)
    """
    load = surrogates._load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            surrogates,
            "_load",
            lambda specs, device: (Blur(),) if specs == surrogates.DEFAULTS else load(specs, device),
        )
        efforts = list(EFFORTS)
        efforts[DEFAULT_EFFORT] = Effort(4, 2, rounds=1)
        patch.setattr(find, "EFFORTS", efforts)
        yield


@pytest.fixture
def tiny_models(monkeypatch):
    """The folder with the frozen model "tiny", set as $PSIC_MODELS for this process and its children."""
    folder = Path(__file__).parent / "vectors" / "models"
    monkeypatch.setenv("PSIC_MODELS", str(folder))
    return folder
