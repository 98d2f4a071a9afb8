"""Fixtures shared by all tests, and settings that make runs repeatable."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Examples are drawn the same way on every run, and slow machines are not failures.
settings.register_profile("psic", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("psic")

# A job in the background of a shell ignores Ctrl-C, and its children inherit that: tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What the person running the tests has set must not change them. Once, not per test: fixtures set some themselves.
for _name in [name for name in os.environ if name.startswith("PSIC_")]:
    del os.environ[_name]


@pytest.fixture(autouse=True)
def _no_key_of_the_person_running_the_tests(tmp_path_factory, monkeypatch):
    """Point every platform's configuration folder into a temporary one: no test may find, or make, a real key."""
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "APPDATA", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(home / "config" if name == "XDG_CONFIG_HOME" else home))


@pytest.fixture
def tiny_models(monkeypatch):
    """The folder with the frozen model "tiny", set as $PSIC_MODELS for this process and its children."""
    folder = Path(__file__).parent / "vectors" / "models"
    monkeypatch.setenv("PSIC_MODELS", str(folder))
    return folder
