"""How torch runs in a process that codes pictures, its own or somebody else's."""

import os
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from psic_cli import codec, runtime, zoo
from psic_cli.picture import Picture
from tests.cli.run import child_environment, psic

RGB = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
FAULTS = """
import resource, sys
import numpy as np
from psic_cli.runtime import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
for turn in range(21):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    layers = [np.empty(12 * 2**20, np.uint8) for _ in range(4)]
    for layer in layers:
        layer.fill(turn)
    del layer, layers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
HELD = """
import resource
import numpy as np
from psic_cli.runtime import WORTH_GIVING_BACK, give_freed_memory_back, keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

keep_freed_memory()
rows = [np.ones(4 * 2**20, np.uint8) for _ in range(64)]
del rows[:-1]  # the last one stays in the way
kept = resident()
for values in (WORTH_GIVING_BACK - 1, WORTH_GIVING_BACK):
    give_freed_memory_back(values)
    print(kept - resident())
"""
# The parent computes with several threads; then each child decodes in its own way.
FORKS = """
import io, multiprocessing, sys
import torch
from PIL import Image
from psic_cli import codec, pillow_plugin, zoo

data = open(sys.argv[1], "rb").read()

def decoded():
    return codec.decode(data).rgb.tobytes()

def opened():
    return Image.open(io.BytesIO(data)).tobytes()

def loaded():
    zoo._load.cache_clear()
    return decoded()

def encoded():
    picture = codec.decode(data)
    return codec.decode(codec.encode(picture, None, model=zoo.load("tiny"))).rgb.tobytes()

if __name__ == "__main__":
    torch.set_num_threads(3)
    expected = decoded()
    assert torch.get_num_threads() == 3
    for child in (decoded, opened, loaded, encoded):
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pixels = pool.apply_async(child).get(60)
            assert len(pixels) == len(expected)
            assert child is encoded or sum(a != b for a, b in zip(pixels, expected)) < 0.01 * len(expected)
    assert torch.get_num_threads() == 3  # the parent's own
    assert decoded() == expected
"""


def child(*command, **environment):
    """A process that sees no settings of threads but these; it must end well."""
    inherited = {name: value for name, value in child_environment().items() if name not in runtime.WAITING}
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, env=inherited | environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


def openmp(*command, **environment):
    """What OpenMP says of its settings when torch is loaded in such a process: {"OMP_NUM_THREADS": "1", ...}."""
    shown = child(*command, OMP_DISPLAY_ENV="VERBOSE", **environment).stderr
    if "GOMP_SPINCOUNT" not in shown:
        pytest.skip("torch computes with another OpenMP than GNU's")
    return dict(re.findall(r"(\w+) = '(.*)'", shown))


@pytest.fixture
def file(tiny_models, tmp_path):
    path = tmp_path / "x.psic"
    path.write_bytes(codec.encode(Picture(RGB), None, model=zoo.load("tiny", device="cpu")))
    return path


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_is_asked_for_once():
    kept, as_it_is = (
        int(child("-c", FAULTS, case, NUMPY_MADVISE_HUGEPAGE="0").stdout) for case in ("kept", "as it is")
    )
    assert kept < 0.1 * as_it_is


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_given_back_when_less_is_needed_of_large_pictures_alone():
    small, large = map(int, child("-c", HELD).stdout.split())
    assert small < 20 * 2**20
    assert large > 200 * 2**20


def test_a_command_has_as_many_threads_as_asked_for_and_they_sleep_while_they_wait(file):
    settings = openmp("-m", "psic_cli", "decode", "--threads", "3", file, OMP_NUM_THREADS="1", MKL_NUM_THREADS="2")
    assert (settings["OMP_NUM_THREADS"], settings["GOMP_SPINCOUNT"]) == ("3", "0")


def test_threads_of_a_host_that_codes_pictures_sleep_too_and_its_environment_stays(file):
    script = (
        "import os; before = dict(os.environ); from PIL import Image; from psic_cli import pillow_plugin;"
        f"Image.open({str(file)!r}).load(); assert dict(os.environ) == before"
    )
    assert openmp("-c", script)["GOMP_SPINCOUNT"] == "0"


def test_a_torch_that_was_loaded_before_stays_as_it_is():
    assert openmp("-c", "import torch, psic_cli.codec")["GOMP_SPINCOUNT"] != "0"


def test_how_threads_wait_is_up_to_the_user(file):
    assert openmp("-m", "psic_cli", "decode", file, OMP_WAIT_POLICY="ACTIVE")["GOMP_SPINCOUNT"] != "0"
    assert openmp("-c", "import psic_cli.codec", GOMP_SPINCOUNT="12345")["GOMP_SPINCOUNT"] == "12345"


@pytest.mark.parametrize("name", [*runtime.WAITING, runtime.LARGE_PAGES])
def test_what_is_set_stays(monkeypatch, name):
    monkeypatch.setattr(os, "environ", {name: "0"})
    runtime.set_environment()
    assert os.environ[name] == "0"
    assert len(os.environ) == 2 if name == runtime.LARGE_PAGES else os.environ.keys() == {name, runtime.LARGE_PAGES}


@pytest.mark.parametrize(
    "words",
    ["encode missing", "decode missing", "audit missing", "evaluate missing", "train", "bench --picture x --sizes 1"],
)
def test_every_command_that_computes_takes_a_number_of_threads(words, monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(runtime, "use_threads", asked.append)
    assert psic(*words.split(), "--threads", "3").code != 0
    assert psic(*words.split(), "--threads", "0").code == 2
    assert asked == [3]


@pytest.mark.parametrize("count", [1, 2 * (os.cpu_count() or 1) + 1])
def test_torch_takes_a_number_of_threads_whether_it_is_loaded_or_not(monkeypatch, count):
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "environ", dict(os.environ))
    try:
        runtime.use_threads(count)
        assert torch.get_num_threads() == count
        shown = child("-c", "import torch; print(torch.get_num_threads())", **os.environ).stdout
        assert shown == f"{count}\n"
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_of_fork_answers_after_its_parent_has_computed_with_several_threads(file):
    child("-W", "ignore", "-c", FORKS, file)
