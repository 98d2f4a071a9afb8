"""What a benchmark found, as plain data."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from psic_cli.benchmark.cost import Cost


@dataclass(frozen=True)
class Spread:
    """The median, the least and the most of several measurements."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """Seconds by the clock, and of the processor (all threads together); both also as ratios to psic's, taken within
    each repetition: 2 is twice as slow as psic.
    """

    seconds: Spread
    ratio: Spread
    cpu_seconds: Spread
    cpu_ratio: Spread


@dataclass(frozen=True)
class Row:
    """One codec on one picture. setting: a quality, or the precision of a network. bpp: bits per pixel of its file.

    The peaks are those of a fresh process that reads one file and writes another; None where the system does not tell.
    encode is None where another row has it: the protected version is decoded of the same files as the full one.
    """

    name: str
    setting: str
    bpp: float
    encode: Timing | None
    decode: Timing
    encode_peak_bytes: int | None
    decode_peak_bytes: int | None


@dataclass(frozen=True)
class OneSize:
    """All codecs on one picture."""

    width: int
    height: int
    rows: list[Row]


@dataclass(frozen=True)
class Skipped:
    """A codec that was left out at a size, and why."""

    name: str
    width: int
    height: int
    reason: str


@dataclass(frozen=True)
class StartUp:
    """A fresh process that hardly does more than start. None: where the system does not tell."""

    what: str
    seconds: Spread
    cpu_seconds: Spread | None
    peak_bytes: int | None


@dataclass
class Results:
    """Everything one `psic bench` measured. about: versions, machine and options that it was measured with."""

    about: dict[str, object]
    costs: dict[str, Cost] = field(default_factory=dict)
    sizes: list[OneSize] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    start_up: list[StartUp] = field(default_factory=list)


@dataclass(frozen=True)
class Lap:
    """Seconds by the clock and of the processor that one call took."""

    seconds: float
    cpu_seconds: float


def spread(values: Sequence[float]) -> Spread:
    """Of one value or more."""
    return Spread(statistics.median(values), min(values), max(values))


def timing(laps: Sequence[Lap], of_psic: Sequence[Lap]) -> Timing:
    """The laps of a codec, and those of psic in the same repetitions."""
    pairs = list(zip(laps, of_psic, strict=True))
    return Timing(
        seconds=spread([lap.seconds for lap in laps]),
        ratio=spread([lap.seconds / own.seconds for lap, own in pairs]),
        cpu_seconds=spread([lap.cpu_seconds for lap in laps]),
        cpu_ratio=spread([lap.cpu_seconds / max(own.cpu_seconds, 1e-6) for lap, own in pairs]),
    )
