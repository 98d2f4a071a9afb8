"""psic evaluate: size, quality and machine readability, measured over many pictures."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from psic_cli import __version__, zoo
from psic_cli.commands import options
from psic_cli.errors import InputError, UsageError
from psic_cli.shell import streams
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.terminal import standard_error_is_terminal, terminal

if TYPE_CHECKING:
    from psic_cli.evaluation import report, runs

SHIELDING = "Machine readability"
_WIDTH = 120  # of the tables, where standard error is no terminal


def evaluate(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", show_default=False, help="Pictures to measure rate and quality on."),
    ] = None,
    quality: Annotated[
        str, typer.Option("-q", "--quality", metavar="N,...", help="Qualities to measure.")
    ] = "10,30,50,70,90",
    model: Annotated[str, typer.Option("-m", "--model", metavar="NAME", help="See: psic models")] = zoo.DEFAULT_MODEL,
    peer_names: Annotated[
        str | None,
        typer.Option(
            "--peers", metavar="NAME,...", help="Compare with jpeg, webp, avif, jpeg2000 on the same pictures."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N pictures of each source.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Results as JSON on standard output, instead of tables.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the results as JSON.")
    ] = None,
    force: options.Force = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="CSV with image,class_index: zero-shot classification.",
            rich_help_panel=SHIELDING,
        ),
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option(
            "--captions",
            metavar="FILE",
            help="JSON lines with split, image, captions: image-text retrieval.",
            rich_help_panel=SHIELDING,
        ),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", metavar="NAME", help="Part of --captions.", rich_help_panel=SHIELDING)
    ] = "test",
    vlp: Annotated[
        list[str] | None,
        typer.Option(
            "--vlp",
            metavar="SPEC",
            show_default=False,
            help="Model to measure with, such as witness:FILE; may be repeated.",
            rich_help_panel=SHIELDING,
        ),
    ] = None,
    device: options.DeviceOption = options.Device.AUTO,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Measure size, quality and machine readability.

    Every picture is encoded to real bytes and decoded again. FOLDER gives rate, PSNR and MS-SSIM of the full and the
    protected version; --labels and --captions give what vision-language models make of the original and of every
    version, the forced one too: what somebody without the key gets who asks for the full version.

    Means come with bootstrap 95 % intervals. Tables go to standard error, --json to standard output. A picture that
    cannot be read is reported and left out, and the exit code is then 8.
    """
    if folder is None and labels is None and captions is None:
        raise UsageError("nothing to measure", "name a folder of pictures, --labels FILE or --captions FILE")
    if bool(vlp) != (labels is not None or captions is not None):
        raise UsageError("--labels and --captions need --vlp, and --vlp needs one of them", "see psic evaluate --help")
    if peer_names is not None and folder is None:
        raise UsageError("--peers needs a folder of pictures")
    qualities = _qualities(quality)
    if output is not None:
        streams.check_destination(output, overwrite=force)
    card = zoo.find_card(model)

    with streams.claim_streams() as standard:
        from psic_cli.evaluation import bd_rate, peers, report, runs, seeing, sources
        from psic_cli.vlp.interface import load_vlp

        compared = peers.find_peers(peer_names.split(",")) if peer_names is not None else []
        paths = sources.find_pictures(folder)[:limit] if folder is not None else []
        labelled = sources.read_labels(labels)[:limit] if labels is not None else []
        captioned = sources.read_captions(captions, split)[:limit] if captions is not None else []
        if len(qualities) > 1 and (compared or bd_rate.is_kodak([path.name for path in paths])):
            bd_rate.check_available()
        place = zoo.choose_device(device.value)
        network = zoo.load(card.name, card.weights_hash, device=place)
        vlps = seeing.named([load_vlp(spec, place) for spec in vlp or []])

        results = report.Results(about=_about(network, qualities, list(vlps)))

        def keep(overwrite: bool = True) -> None:  # after each part: a later one may be stopped
            if output is not None:
                streams.write_file(output, report.to_json(results).encode(), overwrite=overwrite)

        keep(overwrite=force)
        if folder is not None:
            with _watching("rate and quality", len(paths), results) as watch:
                results.rate_distortion = runs.measure_rate_distortion(
                    paths, folder, network, qualities, compared, watch
                )
            keep()
        if labels is not None:
            classes = sources.read_class_names(labels)
            with _watching("classification", len(labelled), results) as watch:
                results.classification = runs.measure_classification(labelled, classes, network, qualities, vlps, watch)
            keep()
        if captions is not None:
            with _watching("retrieval", len(captioned), results) as watch:
                results.retrieval = runs.measure_retrieval(captioned, network, qualities, vlps, watch)
            keep()
        if as_json:
            standard.write_text(report.to_json(results))
        else:
            width = shutil.get_terminal_size().columns if standard_error_is_terminal() else _WIDTH
            terminal.say(report.to_text(results, width))
    return ExitCode.PARTIAL if results.failures else ExitCode.OK


@contextlib.contextmanager
def _watching(doing: str, pictures: int, results: report.Results) -> Iterator[runs.Watch]:
    """A progress bar, and a line for each picture that is left out."""
    from psic_cli.evaluation import runs

    def failed(error: InputError) -> None:
        results.failures.append(str(error))
        terminal.error(error)

    before = len(results.failures)
    with terminal.progress(doing, pictures) as advance:
        yield runs.Watch(advance, failed)
    if len(results.failures) > before:
        terminal.announce(f"{len(results.failures) - before} of {pictures} pictures failed")


def _qualities(text: str) -> list[int]:
    """ "10,30" as numbers, ascending, each once."""
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"quality {text!r} is not a list of numbers", "for example -q 10,50,90") from None
    if not all(1 <= number <= 100 for number in numbers):
        raise UsageError(f"quality {text} is not within 1..100")
    return numbers


def _about(model: zoo.Model, qualities: list[int], vlps: list[str]) -> dict[str, object]:
    """What a reader must know to measure the same again."""
    import torch

    return {
        "psic": __version__,
        "torch": torch.__version__,
        "model": model.card.name,
        "weights_hash": model.card.weights_hash.hex(),
        "device": model.device,
        "precision": str(model.precision).removeprefix("torch."),
        "qualities": qualities,
        "vlps": vlps,
    }
