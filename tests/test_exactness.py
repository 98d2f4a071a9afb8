"""The integers in a file do not depend on the machine: threads, instruction sets, kernel libraries, float types, GPU.

Each case is one process that decodes every frozen file and a large prediction, with its integers carried in float64, in
float32 and in int32 with products of bytes. Linear algebra libraries are told to behave like older processors too.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from psic_cli import zoo
from psic_cli.benchmark.symbols import SETTINGS
from psic_cli.networks import integer_layers
from tests.exact_process import predictions

ROOT = Path(__file__).parent.parent
MANIFEST = json.loads((ROOT / "tests" / "vectors" / "manifest.json").read_text("utf-8"))
pytestmark = pytest.mark.usefixtures("tiny_models")
HERE = torch.backends.cpu.get_cpu_capability()
CARRIERS = ("float64", "float32", "int32")
INTEGERS = "tests.exact_process"  # the module that decodes


def found_in_a_process(module, *arguments, **variables):
    """What a module prints as JSON in a process of its own."""
    environment = {**os.environ, **variables}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def asked_for(name):
    """One of SETTINGS. Skips where this processor has it not."""
    setting = SETTINGS[name]
    if not setting.is_here():
        pytest.skip(f"this processor has no {setting.capability}")
    return setting


def check(integers):
    """Each frozen file has its frozen integers, whatever carries them; large predictions are those of this process."""
    for name, entry in MANIFEST["files"].items():
        for carrier in CARRIERS:
            assert integers[f"{name} {carrier}"] == entry["symbols"], (name, carrier)
    expected = predictions(zoo.load("tiny"))
    assert [integers[f"predictions {carrier}"] for carrier in CARRIERS] == [expected] * len(CARRIERS)


@pytest.mark.parametrize("name", SETTINGS)
def test_integers_are_the_same_in_every_setting_of_a_processor(name):
    asked = asked_for(name)
    result = found_in_a_process(INTEGERS, *asked.arguments(), **asked.variables())
    setting = result["setting"]
    assert setting["threads"] == asked.threads
    assert setting["capability"] == (asked.capability.upper() if asked.capability else HERE)
    assert setting["mkldnn"] is asked.mkldnn
    check(result["integers"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_integers_are_the_same_on_a_gpu():
    check(found_in_a_process(INTEGERS, "--device", "cuda")["integers"])


def test_a_host_that_allows_less_precise_products_gets_the_same_integers(monkeypatch):
    monkeypatch.setattr(integer_layers, "multiplies_bytes_quickly", lambda: False)
    expected = predictions(zoo.load("tiny"))
    model = zoo.load("tiny")
    with torch.autocast("cpu", torch.bfloat16):
        assert predictions(model) == expected
        assert model.network.integer_type == torch.float64
    assert predictions(model) == expected
    assert model.network.integer_type == torch.float32
