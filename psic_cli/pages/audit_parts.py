"""What both reports of an audit show: pictures no larger than they are seen, magnified differences, and bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from PIL import Image

from psic_cli.evaluation.audit import PICTURE, PROTECTED, Audit, Audited, Reading
from psic_cli.evaluation.audit_text import label_text, matched, percent
from psic_cli.pages.base import LONGEST_SIDE, TONES, Bar
from psic_cli.picture import Pixels

MAGNIFIED = 8  # times that differences are shown, around grey


@dataclass(frozen=True)
class Panel:
    """One file in a report. pictures: [H, W, 3] uint8 by version; differences: the same, from the reference, of
    versions that are as large.
    """

    audited: Audited
    pictures: Mapping[str, Pixels]
    differences: Mapping[str, Pixels]

    @property
    def name(self) -> str:
        """The file without its folders, which are nobody's business."""
        return PurePath(self.audited.file).name


def panel(audited: Audited, versions: Mapping[str, Pixels], with_differences: bool) -> Panel:
    """Keep of the versions what a report shows: many files must not fill the memory with pictures."""
    reference = audited.audits[0].reference
    differences = {}
    if with_differences and reference is not None:
        differences = {
            name: shrink(difference(rgb, versions[reference]))
            for name, rgb in versions.items()
            if name != reference and rgb.shape == versions[reference].shape
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


def label_bars(reading: Reading, audit: Audit) -> list[Bar]:
    """Probabilities of the labels, on one scale for all versions; the reference's first label stands out."""
    wanted = None if reading.reference_label is None else reading.reference_label.label
    bars = []
    for place, choice in enumerate(audit.choices(reading.version), 1):
        beyond = f", rank {choice.rank}" if place != choice.rank else ""
        same = choice.label == wanted
        bars.append(
            Bar(
                label=label_text(choice) + beyond,
                value=choice.probability / audit.most_probable,
                text=percent(choice.probability),
                tone=tone_of(reading.version) if same else "muted",
                strong=same,
            )
        )
    return bars


def caption_bars(reading: Reading) -> list[Bar]:
    """Similarities to the captions; what is below zero has no bar."""
    tone = tone_of(reading.version)
    return [Bar(m.caption, max(0.0, m.similarity), matched(m.similarity, m.drop), tone) for m in reading.captions]


def remark(reading: Reading, audit: Audit) -> str:
    """The verdict on one version and how alike it is, in a few words."""
    if reading.verdict is None or reading.likeness is None:
        return f"{audit.labels} labels"
    return f"{reading.verdict.value}, {reading.likeness:.2f} alike"


def tone_of(version: str) -> str:
    """The colour of a version; of a picture that is read as it is, that of the protected one, which it may be."""
    return PROTECTED if version == PICTURE else version if version in TONES else "muted"
