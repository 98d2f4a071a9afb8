"""psic evaluate: size, quality and machine readability, measured over many pictures."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from psic_cli import zoo
from psic_cli.commands import completion, options
from psic_cli.errors import InputError, PsicError, UsageError
from psic_cli.pages.folder import RESULTS, check_report, is_report_folder, write_report
from psic_cli.search.effort import DEFAULT_EFFORT
from psic_cli.shell import streams
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.terminal import name_of, table_width, terminal

if TYPE_CHECKING:
    from psic_cli.evaluation import cache, report, runs, session
    from psic_cli.pages import showing

SHIELDING = "Machine readability"


def evaluate(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", show_default=False, help="Pictures to measure rate and quality on."),
    ] = None,
    quality: Annotated[
        str, typer.Option("-q", "--quality", metavar="N,...", help="Qualities to measure.")
    ] = "10,30,50,70,90",
    model: Annotated[
        str, typer.Option("-m", "--model", metavar="NAME", autocompletion=completion.codecs, help="See: psic models")
    ] = zoo.DEFAULT_MODEL,
    strength: options.Strength = 1.0,
    effort: options.Effort = DEFAULT_EFFORT,
    peer_names: Annotated[
        str | None,
        typer.Option(
            "--peers", metavar="NAME,...", help="Compare with jpeg, webp, avif, jpeg2000, jpegxl on the same pictures."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N pictures of each source.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Results as JSON on standard output, instead of tables.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            help="FILE.json: the results. A folder, or a new name without a suffix: a report, as index.html and "
            "results.json.",
        ),
    ] = None,
    shown: Annotated[int, typer.Option("--pictures", metavar="N", min=0, help="Pictures to look at in a report.")] = 4,
    force: options.Force = False,
    cache_folder: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="FOLDER",
            show_default=False,
            help="Keep what is measured of each picture. Without it, -o keeps it until the run is finished.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="CSV with image,class_index: zero-shot classification.",
            rich_help_panel=SHIELDING,
        ),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            "--kinds",
            metavar="FILE",
            show_default=False,
            help="Ask for kinds of classes too: lines of KIND: CLASS, 7-24, ...; imagenet: ten that come with psic.",
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
    attack_names: Annotated[
        str | None,
        typer.Option(
            "--attacks",
            metavar="NAME,...",
            help="What is left of the shield after jpeg75, blur...; all for every attack.",
            rich_help_panel=SHIELDING,
        ),
    ] = None,
    agreement: Annotated[
        Path | None,
        typer.Option(
            "--agreement",
            metavar="FOLDER",
            help="Pictures without labels: how many still get the label of their original.",
            rich_help_panel=SHIELDING,
        ),
    ] = None,
    sides: Annotated[
        str,
        typer.Option(
            "--sides",
            metavar="N,...",
            help="Shorter sides, in pixels or full, at which --agreement measures.",
            rich_help_panel=SHIELDING,
        ),
    ] = "256,full",
    vlp: Annotated[
        list[str] | None,
        typer.Option(
            "--vlp",
            metavar="SPEC",
            show_default=False,
            help="Model to measure with, such as witness:lite2; may be repeated.",
            rich_help_panel=SHIELDING,
        ),
    ] = None,
    unseen: Annotated[
        str | None,
        typer.Option(
            "--unseen",
            metavar="SPEC,...",
            show_default=False,
            help="Plain classifiers: timm:NAME, or timm:NAME:FILE with weights in a file.",
            rich_help_panel=SHIELDING,
        ),
    ] = None,
    device: options.DeviceOption = options.Device.AUTO,
    threads: options.Threads = None,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Measure size, quality and machine readability.

    Every picture is encoded to real bytes and decoded again. FOLDER gives rate, PSNR and MS-SSIM of the full and the
    protected version; --labels and --captions give what models make of the original, of every version, and of the worst
    that a decoder without the key can ask the network for. --attacks repeats that after each attack.

    Means come with bootstrap 95 % intervals. Tables go to standard error, --json to standard output. A picture that
    cannot be read is reported and left out, and the exit code is then 8. A run that was stopped goes on where it was
    when the same command is given again, if it had -o or --cache.
    """
    if folder is None and labels is None and captions is None and agreement is None:
        raise UsageError(
            "nothing to measure", "name a folder of pictures, --labels FILE, --captions FILE or --agreement FOLDER"
        )
    _check_models(labels, captions, agreement, vlp, unseen)
    if peer_names is not None and folder is None:
        raise UsageError("--peers needs a folder of pictures")
    if kinds is not None and (labels is None or not vlp):
        raise UsageError("--kinds needs --labels and --vlp")
    if attack_names is not None and labels is None and captions is None:
        raise UsageError("--attacks needs --labels or --captions")
    qualities, percent = _qualities(quality), options.percent(strength)
    if output is not None and is_report_folder(output):
        check_report(output, overwrite=force)
    elif output is not None:
        streams.check_destination(output, overwrite=force)
    if cache_folder is not None:
        streams.make_folder(cache_folder)
    card = zoo.find_card(model)

    with streams.claim_streams() as standard:
        from psic_cli.evaluation import about, attacks, bd_rate, cache, peers, report, seeing, session, sources, tables
        from psic_cli.evaluation.agreement import read_sides
        from psic_cli.evaluation.coding import Making
        from psic_cli.evaluation.kinds import find_kinds
        from psic_cli.evaluation.unseen import load_classifier
        from psic_cli.vlp.imagenet import imagenet_classes
        from psic_cli.vlp.interface import load_vlp

        class_names = sources.read_class_names(labels) if labels is not None else None
        questions = session.Questions(
            paths=sources.find_pictures(folder)[:limit] if folder is not None else [],
            folder=folder or Path(),
            compared=peers.find_peers(peer_names.split(",")) if peer_names is not None else [],
            labels=sources.read_labels(labels)[:limit] if labels is not None else [],
            class_names=class_names,
            kinds=find_kinds(kinds, class_names) if kinds is not None else None,
            captions=sources.read_captions(captions, split)[:limit] if captions is not None else [],
            unlabelled=sources.find_pictures(agreement)[:limit] if agreement is not None else [],
            unlabelled_classes=imagenet_classes() if agreement is not None else [],
            sides=read_sides(sides),
        )
        chosen = attacks.find_attacks(attack_names) if attack_names is not None else []
        if len(qualities) > 1 and (questions.compared or bd_rate.is_kodak([path.name for path in questions.paths])):
            bd_rate.check_available()
        place = zoo.choose_device(device.value)
        network = zoo.load(card.name, card.weights_hash, device=place)
        vlps = {spec: load_vlp(spec, place) for spec in vlp or []}
        classifiers = {spec: load_classifier(spec, place) for spec in unseen.split(",")} if unseen is not None else {}
        seers: list[seeing.Seer] = [*vlps.values(), *classifiers.values()]
        seeing.named(seers)

        making = Making(percent, effort)
        results = report.Results(about=about.about(network, qualities, vlps, classifiers, making))
        kept = cache.Cache(cache_folder or _cache_beside(output))
        means = session.Means(
            network, qualities, seeing.named(vlps.values()), seeing.named(classifiers.values()), chosen, kept, making
        )

        try:
            session.measure(questions, means, results, functools.partial(_watching, results))
        except (KeyboardInterrupt, SystemExit):
            _say_what_is_kept(kept)
            raise
        except PsicError:
            if not results.is_empty:
                _save(results, output, force)
            raise
        if output is not None and is_report_folder(output):
            _save(results, output, force, _pictures(questions, means, shown))
        else:
            _save(results, output, force)
        if cache_folder is None:
            kept.remove()
        if as_json:
            standard.write_text(report.to_json(results))
        else:
            terminal.say(tables.to_text(results, table_width()))
    return ExitCode.PARTIAL if results.failures else ExitCode.OK


def _check_models(
    labels: Path | None, captions: Path | None, agreement: Path | None, vlp: list[str] | None, unseen: str | None
) -> None:
    """UsageError where a question has nobody to answer it, or the other way round."""
    hint = "see psic evaluate --help"
    if captions is not None and not vlp:
        raise UsageError("--captions needs --vlp", hint)
    if (labels is not None or agreement is not None) and not vlp and unseen is None:
        raise UsageError("--labels and --agreement need --vlp or --unseen", hint)
    if vlp and labels is None and captions is None and agreement is None:
        raise UsageError("--vlp needs --labels, --captions or --agreement", hint)
    if unseen is not None and labels is None and agreement is None:
        raise UsageError("--unseen needs --labels or --agreement", hint)


def _cache_beside(output: Path | None) -> Path | None:
    """Where unfinished measurements are kept unless --cache says where: beside the results."""
    if output is None:
        return None
    results = output / RESULTS if is_report_folder(output) else output
    return results.with_name(f"{results.name}.cache")


def _save(
    results: report.Results, output: Path | None, force: bool, pictures: Sequence[showing.ShownPicture] = ()
) -> None:
    """The results as a file, or as a report with these pictures."""
    from psic_cli.evaluation import report

    if output is None:
        return
    text = report.to_json(results)
    if is_report_folder(output):
        from psic_cli.pages.evaluation import page

        write_report(output, page(json.loads(text), pictures), text.encode(), overwrite=force)
    else:
        streams.write_file(output, text.encode(), overwrite=force)


def _pictures(questions: session.Questions, means: session.Means, count: int) -> list[showing.ShownPicture]:
    """A few of what was measured, to look at. One that cannot be read was reported already."""
    from psic_cli.pages import showing
    from psic_cli.pages.figures import usual_quality

    described = [label.path for label in questions.labels] or [row.path for row in questions.captions]
    paths = showing.choose(questions.paths or described or questions.unlabelled, count)
    pictures, quality = [], usual_quality(means.qualities)
    with terminal.progress("pictures of the report", len(paths)) as advance:
        for path in paths:
            with contextlib.suppress(InputError):
                pictures.append(showing.show(path, path.name, means.model, quality, means.making))
            advance()
    return pictures


def _say_what_is_kept(kept: cache.Cache) -> None:
    """After Ctrl-C, in one line."""
    if kept.folder is None:
        terminal.announce("nothing is kept of this run", "with -o or --cache the same command goes on where it was")
    elif not kept.folder.is_dir():
        terminal.announce("stopped before anything was measured")
    else:
        terminal.announce(f"what is measured is kept in {name_of(kept.folder)}: the same command goes on from there")


@contextlib.contextmanager
def _watching(results: report.Results, doing: str, pictures: int) -> Iterator[runs.Watch]:
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
