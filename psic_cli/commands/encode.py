"""psic encode: pictures to .psic files."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from psic_cli.commands import completion, on_ray, options
from psic_cli.errors import UsageError
from psic_cli.search.effort import DEFAULT_EFFORT
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.terminal import terminal

if TYPE_CHECKING:
    from psic_cli.jobs import Secret
    from psic_cli.jobs.encoding import Encoding
    from psic_cli.shell.batch import Work
    from psic_cli.shell.outcome import Outcome
    from psic_cli.turns import Turn

_DEFAULT_QUALITY = 50


def encode(
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT", show_default=False, help="Pictures, folders, or -")
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="PATH", help="File, folder, or - for standard output.")
    ] = None,
    quality: Annotated[
        int,
        typer.Option(
            "-q",
            "--quality",
            metavar="N",
            min=1,
            max=100,
            help="100 is best; photos take about 0.1 bits per pixel at 1, 0.5 at 50, 1.2 at 100.",
        ),
    ] = _DEFAULT_QUALITY,
    condition: Annotated[
        str | None, typer.Option("--condition", metavar="FILE", help="Key file to seal with, instead of your own key.")
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", metavar="", help="Seal nothing: anybody may decode in full.")
    ] = False,
    effort: options.Effort = DEFAULT_EFFORT,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="MODEL",
            show_default=False,
            help="Mislead this model in place of those that come with psic, or, as +MODEL, beside them; repeatable. "
            "witness:NAME, witness:FILE, open_clip:MODEL:PRETRAINED or open_clip:MODEL:FILE.",
        ),
    ] = None,
    force: options.Force = False,
    recursive: options.Recursive = False,
    jobs: options.Jobs = 2,
    skip_existing: options.SkipExisting = False,
    report: options.Report = None,
    ray: options.Ray = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME",
            autocompletion=completion.codecs,
            help="Default: psic-base. See: psic models",
            rich_help_panel=options.ADVANCED,
        ),
    ] = None,
    strength: options.Strength = 1.0,
    keep_hidden: Annotated[
        bool,
        typer.Option(
            "--keep-hidden",
            metavar="",
            help="Code colour that full transparency hides, instead of clearing it.",
            rich_help_panel=options.ADVANCED,
        ),
    ] = False,
    strip: Annotated[
        bool,
        typer.Option(
            "--strip", metavar="", help="Drop EXIF and XMP instead of sealing them.", rich_help_panel=options.ADVANCED
        ),
    ] = False,
    device: options.DeviceOption = options.Device.AUTO,
    threads: options.Threads = None,
    max_pixels: options.MaxPixels = 200_000_000,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Compress pictures to .psic files.

    Anybody can decode a .psic file: people see the picture, vision-language models misread it. The full picture comes
    back with the key that the file was sealed with: the one in --condition FILE, else in $PSIC_CONDITION, else your own
    key, which is made on first use.

    INPUT is a picture, a folder (with -r), or - for standard input. photo.png becomes photo.psic beside it, unless -o
    names another file, a folder, or - for standard output. Without INPUT, a picture piped in goes out as a .psic file.
    Of several pictures that would get one name the first is done and the others fail. Outputs keep the time and the
    permissions of their inputs.
    """
    from psic_cli import turns, zoo
    from psic_cli.jobs.encoding import Encoding
    from psic_cli.shell import batch, conditions, opening, plugins, streams, worklist

    if open_ and condition is not None:
        raise UsageError("--open and --condition contradict each other", "an open file is sealed with no key")
    if against and not strength:
        raise UsageError("--against and --strength 0 contradict each other", "without a shield no model is misled")
    on_ray.check(ray)
    percent = options.percent(strength)
    rules = batch.Rules(force, skip_existing, jobs, report)
    suffixes = opening.picture_suffixes()
    kind = worklist.Kind(
        *("encode", "pictures", "a .psic file", suffixes, ".psic"),
        file_suffixes=suffixes | {".psic"},
        missing=plugins.suffixes(installed=False),
        missing_hint=plugins.HINT,
    )

    with streams.claim_streams() as standard:
        operands = inputs or []
        condition = None if condition is None else worklist.stream_name(condition)
        worklist.check_one_stream(operands, condition)
        todo = None
        if ray is None:
            todo = worklist.plan(operands, output, kind, standard, recursive=recursive, other_files=[condition])
        card = zoo.find_card(model or zoo.DEFAULT_MODEL)
        if quality != _DEFAULT_QUALITY and len(zoo.family_of(card)) == 1:
            terminal.warn(f"{card.name} has one quality, whatever -q says", "psic models add --help: families")
        if device is options.Device.CUDA and todo is not None:
            zoo.choose_device(device.value)  # refused before anything is read
        key = None if open_ else conditions.condition_for_encode(condition, standard)

        job = Encoding(
            model=card.name,
            weights_hash=card.weights_hash,
            quality=quality,
            strength=percent,
            effort=effort,
            against=tuple(against or ()),
            keep_hidden=keep_hidden,
            strip=strip,
            max_pixels=max_pixels,
            device=device.value,
        )
        secret = None if key is None else key.secret
        public = MadePublic()
        if todo is not None:
            with turns.sharing(min(jobs, len(todo.tasks)), device.value) as turn:
                work = _work(job, secret, todo.is_batch, public, turn)
                code = batch.run(todo, work, rules, standard, doing="encoding")
        else:
            assert ray is not None
            code = on_ray.run(
                *(ray, operands, output, kind, job, rules, standard),
                secret=secret,
                threads=threads,
                doing="encoding",
                tell=public.add,
            )
    public.tell()
    return code


def _work(job: Encoding, secret: Secret, is_batch: bool, public: MadePublic, turn: Turn) -> Work:
    if is_batch:
        job.load()  # one clear error rather than one per picture; a single picture is looked at first

    def work(source: bytes, outcome: Outcome) -> None:
        with terminal.counting("searching") as count:
            job.work(source, outcome, secret, turn, None if is_batch else count)  # a batch has a bar of its own
        public.add(outcome)

    return work


class MadePublic:
    """What open files make public, counted over all of them."""

    def __init__(self) -> None:
        self._files = 0
        self._counts: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """One more picture."""
        if outcome.made_public is not None:
            self._files += 1
            self._counts.update(outcome.made_public)

    def tell(self) -> None:
        """Say it in one line."""
        if not self._files:
            return
        several = self._files > 1
        listed = ", ".join(f"{kind} (in {count})" if several else kind for kind, count in self._counts.items())
        pictures = f"{self._files} full pictures" if several else "the full picture"
        text = f"open: anybody can decode {pictures}, {f'with {listed}' if listed else 'without EXIF and XMP'}"
        if listed:
            terminal.warn(text, "--strip leaves metadata out")
        else:
            terminal.detail(text)
