"""psic decode: .psic files to pictures."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from psic_cli.commands import completion, on_ray, options
from psic_cli.errors import UsageError
from psic_cli.shell.exit_codes import ExitCode

if TYPE_CHECKING:
    from psic_cli.shell.pictures import PictureFormat


class Audience(str, Enum):
    """Who the picture is for."""

    HUMAN = "human"
    MACHINE = "machine"


class Precision(str, Enum):
    """Numbers that the synthesis computes with."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def decode(
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT", show_default=False, help=".psic files, folders, or -")
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="PATH", help="File, folder, or - for standard output.")
    ] = None,
    condition: Annotated[
        str | None, typer.Option("--condition", metavar="FILE", help="Key file: decode the full picture.")
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", metavar="", help="Decode the full picture with your own key ($PSIC_CONDITION goes first)."
        ),
    ] = False,
    audience: Annotated[
        Audience, typer.Option("--for", help="machine: a version tuned for analysis; needs the key or an open file.")
    ] = Audience.HUMAN,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            autocompletion=completion.formats,
            help="png, jpg, webp, ppm, tiff or bmp. Default: from the name in -o, else png.",
        ),
    ] = None,
    force: options.Force = False,
    recursive: options.Recursive = False,
    jobs: options.Jobs = 2,
    skip_existing: options.SkipExisting = False,
    report: options.Report = None,
    ray: options.Ray = None,
    device: options.DeviceOption = options.Device.AUTO,
    metadata: Annotated[
        bool,
        typer.Option(
            "--metadata",
            metavar="",
            help="EXIF and XMP of an open file with the protected version too; the full version has them anyway.",
            rich_help_panel=options.ADVANCED,
        ),
    ] = False,
    strip: Annotated[
        bool,
        typer.Option(
            "--strip", metavar="", help="Leave EXIF and XMP out of any version.", rich_help_panel=options.ADVANCED
        ),
    ] = False,
    threads: options.Threads = None,
    precision: Annotated[
        Precision,
        typer.Option("--precision", help="auto takes bfloat16 where it is faster.", rich_help_panel=options.ADVANCED),
    ] = Precision.AUTO,
    max_pixels: options.MaxPixels = 200_000_000,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Turn .psic files back into pictures.

    Without a key this gives the protected version, which vision-language models misread. The full version needs the key
    that
    the file was sealed with, and it is used only if you ask: --condition FILE names it, --full takes your own.

    INPUT is a .psic file, a folder (with -r), or - for standard input. photo.psic becomes photo.png beside it, unless
    -o names another file, a folder, or - for standard output. Without INPUT, a .psic file piped in goes out as a
    picture. Outputs keep the time and the permissions of their inputs.
    """
    from psic_cli import turns, zoo
    from psic_cli.jobs import decoding
    from psic_cli.shell import batch, conditions, pictures, streams, worklist
    from psic_cli.shell.outcome import Outcome

    if full and condition is not None:
        raise UsageError("--full and --condition contradict each other", "--full is for your own key")
    if metadata and strip:
        raise UsageError("--metadata and --strip contradict each other", "use one of them")
    on_ray.check(ray)
    rules = batch.Rules(force, skip_existing, jobs, report)
    kind_of_picture = _picture_format(format_name, None if ray else output, inputs or [])
    kind = worklist.Kind(
        *("decode", ".psic files", "a picture", frozenset({".psic"}), kind_of_picture.suffix),
        file_suffixes=pictures.WRITTEN_SUFFIXES | {".psic"},
    )

    with streams.claim_streams() as standard:
        operands = inputs or []
        condition = None if condition is None else worklist.stream_name(condition)
        worklist.check_one_stream(operands, condition)
        todo = None
        if ray is None:
            todo = worklist.plan(operands, output, kind, standard, recursive=recursive, other_files=[condition])
        if device is options.Device.CUDA and todo is not None:
            zoo.choose_device(device.value)  # refused before anything is read
        key = conditions.condition_for_decode(condition, full, standard)

        job = decoding.Decoding(
            format=kind_of_picture,
            for_machine=audience is Audience.MACHINE,
            metadata=metadata,
            strip=strip,
            max_pixels=max_pixels,
            device=device.value,
            precision=precision.value,
        )

        secret = None if key is None else key.secret
        if todo is None:
            assert ray is not None
            return on_ray.run(
                *(ray, operands, output, kind, job, rules, standard), secret=secret, threads=threads, doing="decoding"
            )

        with turns.sharing(min(jobs, len(todo.tasks)), device.value) as turn:

            def work(source: bytes, outcome: Outcome) -> None:
                job.work(source, outcome, secret, turn)

            return batch.run(todo, work, rules, standard, doing="decoding")


def _picture_format(name: str | None, output: str | None, inputs: list[str]) -> PictureFormat:
    """The format that --format or the name in -o asks for; PNG where there is no such name. `UsageError` if they
    disagree.
    """
    from psic_cli.shell.pictures import PictureFormat, format_of_suffix
    from psic_cli.shell.terminal import name_of

    known = ", ".join(known.value for known in PictureFormat)
    asked = None if name is None else format_of_suffix(f".{name}")
    if name is not None and asked is None:
        raise UsageError(f"psic does not write {name_of(name)}", f"--format takes {known}")
    several = len(inputs) > 1 or any(Path(operand).is_dir() for operand in inputs)  # then the output is a folder
    if output is None or several or output.endswith("/") or output in ("-", "/dev/stdout"):
        return asked or PictureFormat.PNG
    path = Path(output)
    if path.exists() and not path.is_file():  # a folder, or a device such as /dev/null
        return asked or PictureFormat.PNG
    named = format_of_suffix(path.suffix)
    if asked is not None and named not in (None, asked):
        raise UsageError(f"{name_of(path)} and --format {name} contradict each other", "leave --format out")
    if asked is None and named is None:
        message = (
            f"no picture format is called {name_of(path.suffix)}" if path.suffix else f"{name_of(path)} has no suffix"
        )
        raise UsageError(message, f"--format takes {known}; a folder is named with a slash at the end")
    return asked or named or PictureFormat.PNG
