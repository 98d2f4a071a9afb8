"""psic bench: time, memory and start-up, beside other codecs."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from psic_cli import __version__, zoo
from psic_cli.commands import completion, options
from psic_cli.errors import InputError, UsageError
from psic_cli.shell import streams
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.terminal import table_width, terminal

DEFAULT_SIZES = "0.4,2,12"
LARGEST = 200.0  # megapixels


def bench(
    sizes: Annotated[
        str | None,
        typer.Option(
            "--sizes",
            metavar="MP,...",
            show_default=DEFAULT_SIZES,
            help="Megapixels of the pictures, which are made from a sample photo.",
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", metavar="FILE", show_default=False, help="Measure on this picture, as large as it is."
        ),
    ] = None,
    peer_names: Annotated[
        str | None,
        typer.Option(
            "--peers",
            metavar="NAME,...",
            show_default="all that are installed",
            help="jpeg, webp, avif, bmshj2018-hyperprior, mbt2018-mean, cheng2020-anchor, psic-release-size, or none.",
        ),
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", metavar="N", min=1, help="Repetitions.")] = 5,
    threads: options.Threads = None,
    limit_seconds: Annotated[
        float,
        typer.Option(
            "--limit-seconds", metavar="S", min=1, help="Leave out peers that need longer to encode or to decode once."
        ),
    ] = 60.0,
    quality: Annotated[int, typer.Option("-q", "--quality", metavar="N", min=1, max=100, help="Of psic.")] = 50,
    model: Annotated[
        str, typer.Option("-m", "--model", metavar="NAME", autocompletion=completion.codecs, help="See: psic models")
    ] = zoo.DEFAULT_MODEL,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Results as JSON on standard output, instead of tables.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the results as JSON.")
    ] = None,
    force: options.Force = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Measure time, memory and start-up, beside other codecs.

    psic and its peers take turns on the same pictures: each encodes and decodes in memory, then comes the next, and
    that --repeat times. psic encodes with the default effort and with efforts 0 and 1, and decodes in full, with the
    key, and protected, as everybody does. The codecs of Pillow get the quality at which their files are as large as
    psic's, in the settings that psic evaluate compares with. Networks are CompressAI's (pip install
    'psic[compressai]'), untrained, for time does not depend on the weights; they code made-up latents of psic's size.
    All compute on the processor.

    Memory is that of a fresh process from file to file, for psic its own commands. Tables go to standard error, --json
    to standard output.
    """
    if picture is not None and sizes is not None:
        raise UsageError("--picture and --sizes contradict each other", "a picture is measured as large as it is")
    megapixels = _numbers(sizes or DEFAULT_SIZES)
    if output is not None:
        streams.check_destination(output, overwrite=force)
    card = zoo.find_card(model)

    with streams.claim_streams() as standard:
        import torch

        from psic_cli.benchmark import contenders, measure, pictures, processes, report, results
        from psic_cli.evaluation.sources import read_rgb

        if peer_names is None:
            peers, missing = contenders.installed()
            for reason, left_out in missing.items():
                terminal.warn(f"without {', '.join(left_out)}: {reason}")
        else:
            peers = contenders.check_names(_names(peer_names))
        own = None if picture is None else read_rgb(picture)
        network = zoo.load(card.name, card.weights_hash, device="cpu")
        setup = measure.Setup(network, quality, peers, torch.get_num_threads(), repeat, limit_seconds)
        found = results.Results(_about(setup, "a sample photo, tiled" if picture is None else picture.name))

        def skipped(one: results.Skipped) -> None:
            found.skipped.append(one)
            terminal.warn(f"{one.name} is left out at {one.width} x {one.height}: {one.reason}")

        def keep(overwrite: bool = True) -> None:  # after each part: a later one may be stopped
            if output is not None:
                streams.write_file(output, report.to_json(found).encode(), overwrite=overwrite)

        keep(overwrite=force)
        run = measure.Bench(setup, on_skip=skipped)
        pixels = [None] if own is not None else megapixels
        with terminal.progress("measuring", len(pixels) * run.steps_per_size + run.steps_of_start_up) as run.advance:
            try:
                found.costs = run.costs()
                keep()
                for size in pixels:
                    rgb = own if size is None else pictures.made_picture(size)
                    assert rgb is not None
                    found.sizes.append(run.one_size(rgb))
                    keep()
                found.start_up = run.start_up()
                keep()
            except processes.CommandFailed as error:
                raise InputError(f"psic itself could not be measured: {error}", "smaller --sizes?") from error
        if as_json:
            standard.write_text(report.to_json(found))
        else:
            terminal.say(report.to_text(found, table_width()))
    return ExitCode.OK


def _numbers(text: str) -> list[float]:
    """ "0.4,2" as numbers, ascending, each once."""
    try:
        numbers = sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"sizes {text!r} are not a list of numbers", "for example --sizes 0.4,2,12") from None
    if not all(0 < number <= LARGEST for number in numbers):  # NaN too
        raise UsageError(f"sizes {text} are not all above 0 and up to {LARGEST:g} megapixels")
    return numbers


def _names(text: str) -> list[str]:
    return [] if text == "none" else text.split(",")


def _about(setup: object, picture: str) -> dict[str, object]:
    """What a reader must know to measure the same again."""
    from psic_cli.benchmark.measure import Setup

    assert isinstance(setup, Setup)
    card = setup.model.card
    return {
        "psic": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "pillow", "compressai")},
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": setup.threads,
        "repeat": setup.repeat,
        "limit_seconds": setup.limit_seconds,
        "model": card.name,
        "weights_hash": card.weights_hash.hex(),
        "quality": setup.quality,
        "precision": str(setup.model.precision).removeprefix("torch."),
        "picture": picture,
        "peers": list(setup.peers),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown processor")
