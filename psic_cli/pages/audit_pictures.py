"""The pictures of an audit's report: no larger than they are shown, and differences that can be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from psic_cli.evaluation.audit import Audited
from psic_cli.pages.base import LONGEST_SIDE
from psic_cli.picture import Pixels

MAGNIFIED = 8  # times that differences are shown, around grey


@dataclass(frozen=True)
class Panel:
    """One file in a report. pictures: [H, W, 3] uint8 by version; differences: the same, from the reference."""

    audited: Audited
    pictures: Mapping[str, Pixels]
    differences: Mapping[str, Pixels]


def panel(audited: Audited, versions: Mapping[str, Pixels], with_differences: bool) -> Panel:
    """Keep of the versions what a report shows: many files must not fill the memory with pictures."""
    reference = audited.audits[0].reference
    differences = {}
    if with_differences and reference is not None:
        differences = {
            name: shrink(difference(rgb, versions[reference])) for name, rgb in versions.items() if name != reference
        }
    return Panel(audited, {name: shrink(rgb) for name, rgb in versions.items()}, differences)


def difference(version: Pixels, reference: Pixels) -> Pixels:
    """What changed, times MAGNIFIED, around middle grey. Both [H, W, 3] uint8."""
    change = version.astype(np.int16) - reference.astype(np.int16)
    return np.clip(128 + MAGNIFIED * change, 0, 255).astype(np.uint8)


def shrink(rgb: Pixels, longest: int = LONGEST_SIDE) -> Pixels:
    """The same picture with no side longer than `longest` pixels."""
    if max(rgb.shape[:2]) <= longest:
        return rgb
    picture = Image.fromarray(rgb)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(picture)
