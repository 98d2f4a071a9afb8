"""What --ray refuses in one line, without a cluster."""

import contextlib
import sys
from pathlib import Path

import pytest

from psic_cli.errors import UsageError
from psic_cli.ray import cluster
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.run import psic
from tests.ray.conftest import free_port


def test_without_the_extra_one_line_says_how_to_install_it(folder, photo, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    done = psic("encode", "--ray", "local", "photo.png", "-o", "out")
    assert done.code == ExitCode.USAGE
    assert done.stderr.splitlines() == [
        "psic: error: --ray needs the package ray",
        "psic: hint: pip install 'psic[ray]'",
    ]


@pytest.mark.parametrize("address", ["", "here", "ray://", "ray://host", "http://host:10001", "ray://host:port"])
def test_an_address_that_is_none_is_refused(folder, photo, address):
    pytest.importorskip("ray")
    done = psic("encode", "--ray", address, "photo.png", "-o", "out")
    assert done.code == ExitCode.USAGE
    assert done.errors == [f'psic: error: "{address}" is no address of a Ray cluster']


def test_a_cluster_out_of_reach_is_one_line_and_leaves_nothing(folder, photo, key):
    pytest.importorskip("ray")
    address = f"ray://127.0.0.1:{free_port()}"
    done = psic("encode", "--condition", key, "--ray", address, "photo.png", "-o", "out", "--report", "rows.jsonl")
    assert done.code == ExitCode.USAGE
    assert len(done.errors) == 1
    assert done.errors[0].startswith(f"psic: error: the Ray cluster {address} cannot be reached")
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["key.bin", "photo.png"]


@pytest.mark.parametrize(("failures", "refused"), [(1, ""), (2, "cannot be reached: Initialization failure")])
def test_a_cluster_that_was_too_busy_to_serve_a_client_is_asked_once_more(monkeypatch, failures, refused):
    ray, address, asked = pytest.importorskip("ray"), "ray://127.0.0.1:1", []

    def init(address, **options):
        asked.append(address)
        if len(asked) <= failures:
            raise ConnectionAbortedError("Initialization failure from server:\nno channel")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(cluster, "_knock", lambda address: None)
    with pytest.raises(UsageError, match=refused) if refused else contextlib.nullcontext(), cluster.connected(address):
        pass
    assert asked == [address] * 2
