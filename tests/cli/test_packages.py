"""Without the packages that not every installation has: what needs one says so in one line, the rest works."""

import subprocess
import sys

import pytest

from psic_cli import packages
from psic_cli.benchmark.processes import Spent
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.run import ROOT, child_environment, psic, psic_process

BENCH = ["bench", "--sizes", "0.004", "--repeat", "1", "--threads", "1", "-m", "tiny"]
NETWORKS = "bmshj2018-hyperprior, mbt2018-mean, cheng2020-anchor, psic-release-size"


@pytest.fixture
def without(monkeypatch):
    """Makes packages fail to import, as if they were not installed."""
    return lambda *names: [monkeypatch.setitem(sys.modules, name, None) for name in names]


@pytest.fixture
def quick(monkeypatch):
    """Stand-in figures of fresh processes, which take seconds each."""
    monkeypatch.setattr("psic_cli.benchmark.measure.measure", lambda *arguments: Spent(1.5, 1.0, 200_000_000))


def test_a_package_that_is_there_and_broken_says_what_ails_it(folder):
    (folder / "compressai").mkdir()
    (folder / "compressai" / "__init__.py").write_text("raise ImportError('made for\\nnumpy 1')")
    done = psic_process(*BENCH, "--peers", "mbt2018-mean", PYTHONPATH=f"{folder}:{ROOT}")
    assert done.code == ExitCode.USAGE
    assert done.errors == [
        "psic: error: a network as peer needs the package compressai, which cannot be imported: made for numpy 1"
    ]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("first", "hint"),
    [
        ((sys.version_info[0], sys.version_info[1] + 1), "pip install 'psic[compressai]'"),
        ((3, 10), "compressai exists for Python 3.9 and earlier only: pip install 'psic[compressai]' there"),
    ],
)
def test_who_cannot_install_a_package_is_told_where_it_can_be(folder, without, monkeypatch, first, hint):
    without("compressai")
    monkeypatch.setitem(packages.MISSING_FROM, "compressai", first)
    assert psic(*BENCH, "--peers", "mbt2018-mean").stderr.splitlines()[1] == f"psic: hint: {hint}"


def test_bench_measures_what_is_there_and_says_what_is_not(folder, without, quick):
    without("compressai")
    done = psic(*BENCH)
    assert done.code == ExitCode.OK, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "warning" in line]
    assert warnings == [f"psic: warning: without {NETWORKS}: a network as peer needs the package compressai"]
    assert "webp" in done.stderr


def test_bench_refuses_a_peer_that_is_asked_for_and_missing(folder, without):
    without("compressai")
    done = psic(*BENCH, "--peers", "jpeg,mbt2018-mean", "-o", "out.json")
    assert done.code == ExitCode.USAGE
    assert done.errors == ["psic: error: a network as peer needs the package compressai"]
    assert "psic[compressai]" in done.stderr
    assert not (folder / "out.json").exists()


def test_bd_rates_say_how_to_get_their_package(folder, without, png):
    without("bjontegaard")
    (folder / "photo.png").write_bytes(png)
    done = psic("evaluate", "photo.png", "-q", "10,90", "--peers", "jpeg", "-m", "tiny", "-o", "out.json")
    assert done.code == ExitCode.USAGE
    assert done.errors == ["psic: error: a BD-rate needs the package bjontegaard"]
    assert "psic[evaluate]" in done.stderr


@pytest.mark.slow
def test_all_but_networks_of_others_works_without_compressai(folder, png):
    (folder / "photo.png").write_bytes(png)
    commands = [
        ["keygen", "key.bin"],
        ["encode", "photo.png", "-m", "tiny", "--effort", "0", "--condition", "key.bin", "-o", "photo.psic"],
        ["decode", "photo.psic", "-o", "protected.png"],
        ["decode", "photo.psic", "--condition", "key.bin", "-o", "full.png"],
        ["info", "photo.psic"],
        ["audit", "photo.psic", "--original", "photo.png", "--vlp", "witness:lite0", "-o", "audit.html"],
        ["evaluate", "photo.png", "-m", "tiny", "--effort", "0", "-q", "50", "--peers", "jpeg", "-o", "figures.json"],
    ]
    program = (
        "import sys; sys.modules['compressai'] = None\n"
        "from psic_cli.app import run\n"
        f"for command in {commands!r}:\n"
        "    assert run(command) == 0, command\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=child_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("protected.png", "full.png", "audit.html", "figures.json"):
        assert (folder / name).stat().st_size > 0
