"""Options that several commands share, declared once so that they read and behave alike."""

from enum import Enum
from typing import Annotated

import typer

from psic_cli import runtime
from psic_cli.errors import UsageError
from psic_cli.search.effort import MOST_EFFORT
from psic_cli.shell.terminal import terminal

BATCHES = "Batches"
ADVANCED = "Advanced"
MESSAGES = "Messages"


class Device(str, Enum):
    """Where networks run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def _verbose(value: int) -> int:
    terminal.verbosity = max(terminal.verbosity, value)
    return value


def _quiet(value: bool) -> bool:
    terminal.quiet = terminal.quiet or value
    return value


def _debug(value: bool) -> bool:
    terminal.debug = terminal.debug or value
    return value


def _threads(value: int | None) -> int | None:
    if value is not None:
        runtime.use_threads(value)
    return value


# These three act while the command line is parsed, so commands take them and need not look at them. They stand on every
# command and on psic itself, because people type them in both places. -q is quality, as in cjxl and avifenc, hence no
# short --quiet.
Verbose = Annotated[
    int,
    typer.Option(
        "-v",
        "--verbose",
        count=True,
        show_default=False,
        callback=_verbose,
        is_eager=True,
        metavar="",
        help="Say more: timings, files left out.",
        rich_help_panel=MESSAGES,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", metavar="", callback=_quiet, is_eager=True, help="Only errors.", rich_help_panel=MESSAGES),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug", metavar="", callback=_debug, is_eager=True, help="Show tracebacks.", rich_help_panel=MESSAGES
    ),
]

Force = Annotated[bool, typer.Option("-f", "--force", metavar="", help="Replace existing files.")]
Recursive = Annotated[
    bool,
    typer.Option(
        "-r", "--recursive", metavar="", help="Take folders, with all that is below them.", rich_help_panel=BATCHES
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "-j",
        "--jobs",
        metavar="N",
        min=1,
        max=64,
        help="Pictures in work at the same time, which share the threads.",
        rich_help_panel=BATCHES,
    ),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        metavar="",
        help="Leave pictures whose output exists, and go on with an existing report.",
        rich_help_panel=BATCHES,
    ),
]
Report = Annotated[
    str | None,
    typer.Option(
        "--report", metavar="FILE", help="One JSON line per picture; - for standard output.", rich_help_panel=BATCHES
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        show_default=False,
        help="Let a Ray cluster work: local, auto or ray://HOST:PORT. INPUT and -o may be URIs such as s3://BUCKET/FOLDER.",
        rich_help_panel=BATCHES,
    ),
]
Strength = Annotated[
    float,
    typer.Option(
        "--strength",
        metavar="X",
        min=0,
        max=1,
        help="Shield strength of the protected version.",
        rich_help_panel=ADVANCED,
    ),
]
Effort = Annotated[
    int,
    typer.Option(
        "--effort",
        metavar="N",
        min=0,
        max=MOST_EFFORT,
        help="How long to search for smaller files and a stronger shield, from 0 to 9.",
    ),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where the network runs.", rich_help_panel=ADVANCED)]
# Acts while the command line is parsed, too: torch is loaded afterwards.
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        max=1024,
        show_default="one per core",
        callback=_threads,
        help="Threads that the network computes with.",
        rich_help_panel=ADVANCED,
    ),
]
MaxPixels = Annotated[
    int, typer.Option("--max-pixels", metavar="N", min=1, help="Refuse larger pictures.", rich_help_panel=ADVANCED)
]


def percent(strength: float) -> int:
    """A strength 0..1 as files carry it. UsageError for what is none."""
    if not 0 <= strength <= 1:  # "nan" passes the parser's comparison
        raise UsageError(f"strength {strength} is not between 0 and 1")
    return round(100 * strength)
