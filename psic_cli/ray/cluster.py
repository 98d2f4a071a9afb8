"""Connecting to a Ray cluster, keeping it quiet, and what went wrong in it in one line."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from psic_cli.errors import PsicError, UsageError

_ADDRESS = re.compile(r"local|auto|ray://[^/\s]+:\d+")
_PATIENCE_S = 10.0
_CHAIN = 20  # causes of an error that are looked at


def check_address(address: str) -> None:
    """UsageError for what is no address of a cluster."""
    if not _ADDRESS.fullmatch(address):
        raise UsageError(f'"{address}" is no address of a Ray cluster', "--ray takes local, auto or ray://HOST:PORT")


def _found(address: str) -> str:
    """What `auto` stands for, if that is known."""
    return os.environ.get("RAY_ADDRESS", "") if address == "auto" else address


def _knock(address: str) -> None:
    """OSError if nobody listens where the cluster should be: Ray itself asks for many minutes."""
    where = _found(address)
    place = urlsplit(where if "://" in where else f"ray://{where}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), timeout=_PATIENCE_S).close()


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Connected to the cluster; `local` is started here, and ends here. UsageError if it cannot be reached.

    Whatever psic says of the work, it says itself: Ray's log files have the rest.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told that psic runs
    if address == "local":
        os.environ.setdefault("RAY_worker_niceness", "0")  # as quick as psic is without Ray
    import ray
    import ray.data

    with _quiet():
        try:
            _knock(address)
            try:
                _start(address)
            except ConnectionAbortedError:  # what serves this client there was not up in time: a busy machine
                ray.shutdown()
                _start(address)
        except PsicError:
            raise
        except Exception as error:  # of gRPC, of sockets, of versions that differ: each its own
            message = f"the Ray cluster {address} cannot be reached: {_first_line(error)}"
            raise UsageError(message, "is it running? ray status says so; local starts one here") from error
        try:
            yield
        except PsicError:
            raise
        except Exception as error:
            raise _translated(error) from error
        finally:
            ray.shutdown()


def _start(address: str) -> None:
    """ray.init, which takes SIGTERM for itself, and has workers look into the current folder first for every import."""
    import ray
    from ray.job_config import JobConfig

    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    if not _found(address).startswith("ray://"):  # there the current folder is of another machine
        options["job_config"] = JobConfig()
        options["job_config"]._py_driver_sys_path = _NoFolders()
    ends = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
    except SystemExit:
        raise SystemExit(128 + signal.SIGTERM) from None  # as __main__ has it
    finally:
        signal.signal(signal.SIGTERM, ends)


class _NoFolders(list[str]):
    """What ray.init extends by the current folder: a torch.py among somebody's pictures is not torch."""

    def extend(self, folders: Iterable[str]) -> None:
        """Not at all."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ray logs, prints what its daemons log, and its C++ writes to descriptor 2. Words of ours go where they went."""
    printed, before, words = sys.stdout, logging.root.manager.disable, sys.stderr
    words.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    logging.disable(logging.CRITICAL)
    with open(kept, "w", encoding=words.encoding, errors=words.errors, buffering=1) as ours, open(nowhere, "w") as out:
        os.dup2(nowhere, 2)
        sys.stdout, sys.stderr = out, ours
        try:
            yield
        finally:
            os.dup2(kept, 2)
            sys.stdout, sys.stderr = printed, words
            logging.disable(before)


def _translated(error: BaseException) -> BaseException:
    """What was raised in the cluster: an error of ours as it is, that of Ray in one line."""
    import ray.exceptions

    found: BaseException | None = error
    for _ in range(_CHAIN):
        if found is None:
            break
        for candidate in (found, getattr(found, "cause", None)):
            if isinstance(candidate, PsicError):
                return type(candidate)(*candidate.__reduce__()[1])
        found = found.__cause__ or getattr(found, "cause", None)
    if "No module named 'psic_cli'" in str(error):
        return UsageError("the cluster has no psic", "install it on every machine: pip install 'psic[ray]'")
    if isinstance(error, (ray.exceptions.RayError, ConnectionError)):
        return UsageError(f"the Ray cluster gave up: {_first_line(error)}", "--skip-existing goes on where it stopped")
    return error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
