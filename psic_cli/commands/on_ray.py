"""What commands do where --ray names a cluster. Ray is imported here and not before."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from psic_cli import packages

if TYPE_CHECKING:
    from psic_cli.jobs import Job, Secret
    from psic_cli.shell.batch import Rules
    from psic_cli.shell.exit_codes import ExitCode
    from psic_cli.shell.outcome import Outcome
    from psic_cli.shell.streams import Streams
    from psic_cli.shell.worklist import Kind


def check(address: str | None) -> None:
    """UsageError for an address that is none, and where Ray is not installed. None: psic works here, without it."""
    if address is not None:
        for package in ("ray", "pyarrow"):
            packages.need(package, "--ray", "ray")
        from psic_cli.ray.cluster import check_address

        check_address(address)


def run(
    address: str,
    inputs: list[str],
    output: str | None,
    kind: Kind,
    job: Job,
    rules: Rules,
    standard: Streams,
    *,
    secret: Secret,
    threads: int | None,
    doing: str,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> ExitCode:
    """Let a cluster do the job, as `psic_cli.ray.run.run` says."""
    from psic_cli.ray import run as cluster

    return cluster.run(
        *(address, inputs, output, kind, job, rules, standard), secret=secret, threads=threads, doing=doing, tell=tell
    )
