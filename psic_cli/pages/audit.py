"""The page of `psic audit`: the versions side by side, what each model reads in them, and its verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from psic_cli.evaluation.audit import ORIGINAL, PICTURE, PROTECTED, Audit, Audited, Verdict, count
from psic_cli.evaluation.audit_text import (
    THRESHOLDS,
    WAVERING,
    count_sentence,
    facts,
    outcome,
    role,
    unjudged,
)
from psic_cli.pages.audit_parts import MAGNIFIED, Panel, caption_bars, label_bars, remark, tone_of
from psic_cli.pages.base import Bar, data_uri, document, fragment
from psic_cli.pages.figures import Section, Tile


def page(panels: Sequence[Panel], about: Mapping[str, Any]) -> bytes:
    """The page, HTML in UTF-8. about: as in the JSON of an audit; panels: at least one."""
    audited = [panel.audited for panel in panels]
    sections = [_file(panel, number, len(panels) > 1) for number, panel in enumerate(panels, 1)]
    if len(panels) > 1:
        sections.insert(0, _summary(audited))
    body = fragment("evaluation.html", tiles=_tiles(audited), sections=[*sections, _reading(about)])
    title = panels[0].name if len(panels) == 1 else f"{len(panels)} pictures"
    models = ", ".join(audit.model for audit in audited[0].audits)
    return document(title, body, kind="psic audit", summary=f"What {models} read before and after.")


@dataclass(frozen=True)
class _Verdict:
    """colour: of its edge, a variable of page.css; green if the protected version is misread, red if it is read."""

    model: str
    role: str
    lines: list[str]
    colour: str


@dataclass(frozen=True)
class _Read:
    """What one model reads in one version."""

    model: str
    note: str
    rows: list[Bar]
    captions: list[Bar]


@dataclass(frozen=True)
class _Version:
    """One column: a picture as text for <img>, its difference from the reference or "", and the readings."""

    name: str
    tone: str
    note: str
    width: int
    height: int
    picture: str
    difference: str
    readings: list[_Read]


def _file(panel: Panel, number: int, several: bool) -> Section:
    audited = panel.audited
    body = fragment(
        "audit.html",
        name=panel.name,
        magnified=MAGNIFIED,
        with_differences=bool(panel.differences),
        verdicts=[_verdict(audit) for audit in audited.audits],
        versions=[_version(name, panel) for name in panel.pictures],
    )
    return Section(f"file-{number}", panel.name if several else "What is read", f"{facts(audited)}.", body)


def _verdict(audit: Audit) -> _Verdict:
    judged = [reading for reading in audit.readings if reading.verdict is not None]
    lines = [f"{reading.version}: {outcome(reading)}" for reading in judged] or [unjudged(audit)]
    if audit.wavers:
        lines.append(f"It wavers over the {audit.reference}: another label says little.")
    protected = audit.reading(PROTECTED) or audit.reading(PICTURE)
    colours = {Verdict.MISREAD: "--machine", Verdict.STILL_READ: "--protected"}
    verdict = None if protected is None else protected.verdict
    colour = "--line" if verdict is None else colours.get(verdict, "--muted")
    return _Verdict(audit.model, role(audit.trained_against), lines, colour)


def _version(name: str, panel: Panel) -> _Version:
    audited = panel.audited
    psnr = audited.psnr.get(name)
    readings = []
    for audit in audited.audits:
        reading = audit.reading(name)
        assert reading is not None
        readings.append(_Read(audit.model, remark(reading, audit), label_bars(reading, audit), caption_bars(reading)))
    return _Version(
        name=name,
        tone=tone_of(name),
        note=f"{psnr:.1f} dB PSNR" if psnr is not None else "as it was" if name == ORIGINAL else "",
        width=panel.pictures[name].shape[1],
        height=panel.pictures[name].shape[0],
        picture=data_uri(panel.pictures[name]),
        difference=data_uri(panel.differences[name]) if name in panel.differences else "",
        readings=readings,
    )


def _tiles(audited: Sequence[Audited]) -> list[Tile]:
    """The verdict itself for one file, how often it was "misread" for several."""
    tiles = []
    for row in count(audited):
        if row.files == 1:
            figure = next(verdict for verdict, number in row.verdicts.items() if number)
        else:
            figure = f"{row.verdicts[Verdict.MISREAD.value]} of {row.files} misread"
        tiles.append(
            Tile(
                f"{row.version}{'' if row.version == PICTURE else ' version'}, {row.model}",
                figure,
                role(row.trained_against),
            )
        )
    return tiles


def _summary(audited: Sequence[Audited]) -> Section:
    lines = [f"{row.model}, {count_sentence(row)}." for row in count(audited)]
    items = Markup("").join(Markup("<li>{}</li>").format(line) for line in lines)
    return Section("summary", "Summary", "", Markup('<ul class="plain">{}</ul>').format(items))


def _reading(about: Mapping[str, Any]) -> Section:
    """What the words and bars mean, who read, and with what it was measured."""
    lines = [
        THRESHOLDS,
        WAVERING,
        "Bars show probabilities, on one scale for all versions of a picture and one model. The coloured bar is the "
        "label that is first in the reference. Likeness is the cosine of what the model makes of two versions.",
        "A verdict is about one picture and one model. About other models, and other pictures, it says nothing.",
        "The shield misleads models; people see the protected picture.",
        "The pictures on this page are compressed once more (WebP), and large ones are shrunk: to look at, not to "
        "measure.",
    ]
    items = Markup("").join(Markup("<li>{}</li>").format(line) for line in lines)
    who = Markup("").join(
        Markup("<dt>{}</dt><dd>{} {}</dd>").format(vlp["spec"], vlp.get("description") or "", vlp.get("use_note") or "")
        for vlp in about["vlps"]
    )
    terms = Markup("").join(
        Markup("<dt>{}</dt><dd>{}</dd>").format(name, about[name]) for name in ("psic", "torch", "device")
    )
    body = Markup('<ul class="plain">{}</ul><dl class="facts">{}{}</dl>').format(items, who, terms)
    return Section("reading", "How to read this page", "", body)
