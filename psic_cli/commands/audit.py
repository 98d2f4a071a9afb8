"""psic audit: what vision-language models read in each version of a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from psic_cli import zoo
from psic_cli.commands import completion, on_ray, options
from psic_cli.errors import OutputError, PsicError, UsageError
from psic_cli.search.effort import DEFAULT_EFFORT
from psic_cli.shell import batch, conditions, outcome, streams, worklist
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.terminal import name_of, table_width, terminal

if TYPE_CHECKING:
    from psic_cli.evaluation.audit import Audited, Reader
    from psic_cli.evaluation.audit_inputs import Prepared
    from psic_cli.pages.audit_parts import Panel

# The one that tells how far the shield carries goes first, then the one that it was made against.
DEFAULT_VLPS = ("witness:lite2", "witness:lite0")
_READING = "What is read, and by whom"
_REPORTS = (".html", ".htm", ".png")


def audit(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE", show_default=False, help="Pictures, .psic files, or -")
    ] = None,
    original: Annotated[
        Path | None,
        typer.Option("--original", metavar="FILE", show_default=False, help="The picture that FILE was made of."),
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option("--condition", metavar="FILE", help="Key file: read the full version of .psic files too."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", metavar="", help="The same with your own key ($PSIC_CONDITION goes first)."),
    ] = False,
    quality: Annotated[
        int, typer.Option("-q", "--quality", metavar="N", min=1, max=100, help="At which pictures are encoded.")
    ] = 50,
    effort: options.Effort = DEFAULT_EFFORT,
    model: Annotated[
        str,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME",
            autocompletion=completion.codecs,
            help="With which pictures are encoded; see: psic models",
        ),
    ] = zoo.DEFAULT_MODEL,
    target: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write a report: .html, a page that stands alone, or .png"),
    ] = None,
    difference: Annotated[
        bool, typer.Option("--difference", metavar="", help="Show magnified differences in the report.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Results as JSON on standard output, instead of tables.")
    ] = False,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    report: options.Report = None,
    ray: options.Ray = None,
    vlp: Annotated[
        list[str] | None,
        typer.Option(
            "--vlp",
            metavar="SPEC",
            show_default=False,
            help="Model that reads: witness:NAME, witness:FILE or open_clip:MODEL:PRETRAINED; may be repeated. "
            "Default: witness:lite2 and witness:lite0.",
            rich_help_panel=_READING,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="What it chooses from, one label a line. Default: the 1000 ImageNet classes.",
            rich_help_panel=_READING,
        ),
    ] = None,
    caption: Annotated[
        list[str] | None,
        typer.Option(
            "--caption",
            metavar="TEXT",
            show_default=False,
            help="A sentence to compare every version with; may be repeated.",
            rich_help_panel=_READING,
        ),
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option("--captions", metavar="FILE", help="Sentences, one a line.", rich_help_panel=_READING),
    ] = None,
    device: options.DeviceOption = options.Device.AUTO,
    threads: options.Threads = None,
    max_pixels: options.MaxPixels = 200_000_000,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Show what vision-language models read in a picture, before and after.

    A .psic file is read in its protected version, with the key in its full version too, and compared with --original. A
    picture is encoded and decoded in memory, and is its own original; nothing is written. With --original it is read as
    it is: a protected picture after an upload, say. It may have another size.

    For each model: the five labels that it finds most probable, how alike it finds the version and the original, and a
    verdict. Still read: its first label is the original's. Partly misread: another one is first, but the original's is
    among the first five. Misread: it is not. (Of fewer than ten labels: among the first half.) A verdict is about one
    picture and one model: it promises nothing for others.

    Tables go to standard error, --json to standard output. Of several files, one that cannot be read is reported and
    left out, and the exit code is then 8.

    With --ray, FILE may be a folder or a URI, and -o names a folder: what --json prints of photo.png goes into
    photo.png.json there. --report and --skip-existing are for --ray alone.
    """
    on_ray.check(ray)
    output = None if target is None else Path(target)
    if ray is None and (report is not None or skip_existing):
        raise UsageError("--report and --skip-existing need --ray", "--json prints what one machine finds")
    if ray is not None and (original is not None or as_json or difference):
        raise UsageError("--original, --json and --difference do not go with --ray", "leave them out")
    if full and condition is not None:
        raise UsageError("--full and --condition contradict each other", "--full is for your own key")
    if difference and output is None:
        raise UsageError("--difference is for reports", "name one with -o audit.html or -o audit.png")
    with streams.claim_streams() as standard:
        names = _names(files, standard)
        condition = None if condition is None else worklist.stream_name(condition)
        worklist.check_one_stream(names, condition)
        if original is not None and len(names) > 1:
            raise UsageError("--original is for one file", "name one file")
        if original is not None and worklist.identity(original) in {worklist.identity(Path(name)) for name in names} - {
            None
        }:
            raise UsageError(f"{name_of(original)} is its own original", "leave out --original to encode it")
        if output is not None and ray is None:
            _check_output(output, [*names, original, labels, captions, condition], force)
        card = zoo.find_card(model)
        specs = list(dict.fromkeys(vlp or DEFAULT_VLPS))

        from psic_cli.evaluation import sources
        from psic_cli.jobs import auditing
        from psic_cli.vlp.interface import find_witness

        for spec in specs:
            find_witness(spec)  # a name that is not installed is refused before seconds of work
        chosen = None if labels is None else sources.read_lines(labels, least=2)
        sentences = [*(caption or []), *(sources.read_lines(captions) if captions is not None else [])]
        key = conditions.condition_for_decode(condition, full, standard)
        if ray is not None:
            job = auditing.Auditing(
                specs=tuple(specs),
                model=card.name,
                weights_hash=card.weights_hash,
                labels=None if chosen is None else tuple(chosen),
                captions=tuple(sentences),
                quality=quality,
                effort=effort,
                max_pixels=max_pixels,
                device=device.value,
            )
            rules = batch.Rules(force, skip_existing, report=report)
            secret = None if key is None else key.secret
            verdicts = Verdicts()
            code = on_ray.run(
                *(ray, names, target, _kind(), job, rules, standard),
                secret=secret,
                threads=threads,
                doing="auditing",
                tell=verdicts.add,
            )
            verdicts.tell()
            return code
        place = zoo.choose_device(device.value)

        def prepare(name: str) -> Prepared:
            from psic_cli.evaluation import audit_inputs
            from psic_cli.evaluation.coding import Making

            data = standard.read() if name == streams.STANDARD_STREAM else streams.read_file(Path(name))
            if not audit_inputs.is_psic(name, data):
                if original is not None:
                    whole = sources.read_rgb(original, max_pixels)
                    with outcome.naming(_shown(name)):
                        return audit_inputs.prepare_pair(data, whole, max_pixels)
                with outcome.naming(_shown(name)):
                    network = zoo.load_card(card, device=place)
                    return audit_inputs.prepare_picture(data, network, quality, Making(effort=effort), max_pixels)
            before = None if original is None else sources.read_rgb(original, max_pixels)
            with outcome.naming(_shown(name)):
                secret = None if key is None else key.secret
                return audit_inputs.prepare_file(data, before, secret, place, max_pixels)

        audited, panels, failures = _audit_all(
            names, prepare, lambda: auditing.readers_of(specs, chosen, sentences, place), place, output, difference
        )
        if audited and output is not None:
            streams.write_file(output, _report(output, panels, auditing.about(specs, place)), overwrite=force)
        if as_json:
            from psic_cli.evaluation import audit_text

            standard.write_text(audit_text.to_json(auditing.about(specs, place), audited, failures))
        elif audited:
            from psic_cli.evaluation import audit_text

            terminal.say(audit_text.to_text(audited, table_width()))
    if output is not None and audited:
        terminal.say(f"-> {name_of(output)}")
    if failures:
        terminal.announce(f"{len(failures)} of {len(names)} files failed")
    return ExitCode.PARTIAL if failures else ExitCode.OK


class Verdicts:
    """How often each model gave each verdict on each version, counted over files that are not kept."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], Counter[str]] = {}

    def add(self, found: outcome.Outcome) -> None:
        """One more file."""
        for model, judged in found.facts.get("verdicts", {}).items():
            for version, verdict in judged.items():
                self._counts.setdefault((model, version), Counter())[verdict] += 1

    def tell(self) -> None:
        """A line for each model and version."""
        from psic_cli.evaluation.audit import Count, Verdict
        from psic_cli.evaluation.audit_text import count_sentence

        for (model, version), counts in sorted(self._counts.items()):
            numbers = {verdict.value: counts[verdict.value] for verdict in Verdict}
            row = Count(model, None, version, files=counts.total(), verdicts=numbers, wavered=0)
            terminal.say(f"{model}  {count_sentence(row)}")


def _kind() -> worklist.Kind:
    from psic_cli.shell import opening

    suffixes = opening.picture_suffixes() | {".psic"}
    taken = ("audit", "pictures or .psic files", "an audit", suffixes, ".json")
    return worklist.Kind(*taken, file_suffixes=frozenset(), keeps_suffix=True)


def _audit_all(
    names: list[str],
    prepare: Callable[[str], Prepared],
    load_readers: Callable[[], list[Reader]],
    device: str,
    output: Path | None,
    difference: bool,
) -> tuple[list[Audited], list[Panel], list[str]]:
    """Every file in turn; the models are loaded once a first one could be read. A single file that fails just fails."""
    from psic_cli.jobs import auditing

    audited: list[Audited] = []
    panels: list[Panel] = []
    failures: list[str] = []
    readers: list[Reader] = []
    with terminal.progress("auditing", len(names) if len(names) > 1 else 0) as advance:
        for name in names:
            try:
                prepared = prepare(name)
            except PsicError as error:
                if len(names) == 1:
                    raise
                terminal.error(error)
                failures.append(" ".join(str(error).split()))
            else:
                readers = readers or load_readers()
                audited.append(auditing.measure(_shown(name), prepared, readers, device))
                if output is not None:
                    from psic_cli.pages.audit_parts import panel

                    panels.append(panel(audited[-1], prepared.versions, difference))
                    if difference and len(prepared.versions) > 1 and not panels[-1].differences:
                        terminal.warn(f"{_shown(name)} is not as large as its original: no difference is shown")
            advance()
    return audited, panels, failures


def _report(output: Path, panels: list[Panel], about: dict[str, object]) -> bytes:
    if output.suffix.lower() == ".png":
        from psic_cli.pages.audit_png import draw

        return draw(panels)
    from psic_cli.pages.audit import page

    return page(panels, about)


def _names(files: list[str] | None, standard: streams.Streams) -> list[str]:
    names = [worklist.stream_name(name) for name in files or []]
    if not names and standard.input_is_terminal:
        raise UsageError("nothing to audit", "psic audit photo.png, or psic audit --help")
    if names.count(streams.STANDARD_STREAM) > 1:
        raise UsageError("standard input (-) is named twice")
    return names or [streams.STANDARD_STREAM]


def _shown(name: str) -> str:
    return "standard input" if name == streams.STANDARD_STREAM else name_of(name)


def _check_output(output: Path, inputs: list[str | Path | None], force: bool) -> None:
    if output.suffix.lower() not in _REPORTS:
        raise UsageError(f"{name_of(output)} is not the name of a report", "-o takes a .html or a .png file")
    streams.check_destination(output, overwrite=force)
    taken = {worklist.identity(Path(name)) for name in inputs if name not in (None, streams.STANDARD_STREAM)}
    if worklist.identity(output) in taken - {None}:
        raise OutputError(f"{name_of(output)} is also an input", "name another report with -o")
