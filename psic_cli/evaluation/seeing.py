"""What models see of the original and of every version, attacked or not: one pass that keeps embeddings, no pictures.

Start with `look`. A picture is coded once in each quality and decoded once for each version; attacks and models share
what was decoded. What the cache knows is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from psic_cli import codec, zoo
from psic_cli.codec import Version
from psic_cli.errors import UsageError
from psic_cli.evaluation import coding
from psic_cli.evaluation.attacks import NONE, Attack, apply
from psic_cli.evaluation.cache import Cache, Entry, picture_hash, weights_hash
from psic_cli.evaluation.coding import USUAL, Making
from psic_cli.evaluation.metrics import psnr
from psic_cli.picture import Pixels

ORIGINAL = "original"
VERSIONS = (Version.PROTECTED, Version.FULL, Version.MACHINE)
# The worst that a decoder without the key can do, whatever it asks the network for: shield strength, and machine
KEYLESS = "keyless"
ASKED: tuple[codec.Asked, ...] = ((0.0, 0.0), (0.5, 0.0), (0.0, 1.0), (0.5, 1.0), (1.0, 1.0))

_BATCH_PIXELS = 1 << 22  # shown to a model at once: as many 12-megapixel pictures as memory holds are too many

Judged = TypeVar("Judged")
Row = TypeVar("Row")


class Seer(Protocol):
    """Whatever sees pictures: a vision-language model, or a classifier, whose logits stand for an embedding."""

    name: str

    def encode_image(self, pictures: Tensor) -> Tensor:
        """float [B, 3, H, W] in 0..1, any size -> [B, D]."""
        ...


class Shown(NamedTuple):
    """What a model was shown: a version in a quality ("original" in none), after an attack.

    asked: of the network without the key, in place of what the protected version asks.
    """

    version: str
    quality: int | None = None
    attack: str = NONE
    asked: codec.Asked | None = None


AnySeer = TypeVar("AnySeer", bound=Seer)

UNTOUCHED = Shown(ORIGINAL)


@dataclass(frozen=True)
class View:
    """One picture, as each model sees it. embeddings: [D], by the model's name and what was shown.

    psnr: dB against the original, by (quality, version); bpp: by quality.
    """

    embeddings: Mapping[str, Mapping[Shown, Tensor]]
    psnr: Mapping[tuple[int, str], float]
    bpp: Mapping[int, float]


@dataclass
class Views:
    """All pictures that could be measured. kept: their numbers among those that were given."""

    views: list[View] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)

    def embeddings(self, model: str, shown: Shown) -> Tensor:
        """[pictures, D]."""
        return torch.stack([view.embeddings[model][shown] for view in self.views])


@dataclass(frozen=True)
class Experiment:
    """What is done with every picture. seers: by name. attacks: on the original and the protected version.

    making: of the files.
    """

    model: zoo.Model
    qualities: Sequence[int]
    seers: Mapping[str, Seer]
    attacks: Sequence[Attack] = ()
    cache: Cache = field(default_factory=Cache)
    making: Making = USUAL
    fingerprints: Mapping[str, str | None] = field(init=False)  # of the seers' weights; a seer without is not cached

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprints", {name: weights_hash(seer) for name, seer in self.seers.items()})


def attacked_original(attack: Attack) -> Shown:
    """What stands for the original under an attack."""
    return Shown(ORIGINAL, None, attack.name)


def attacked_protected(attack: Attack, quality: int) -> Shown:
    """What stands for the protected version under an attack."""
    return Shown(Version.PROTECTED.value, quality, attack.name)


def keyless(quality: int) -> list[Shown]:
    """All that a decoder can make of a file without the key."""
    protected = Version.PROTECTED.value
    return [Shown(protected, quality), *(Shown(protected, quality, asked=asked) for asked in ASKED)]


@torch.inference_mode()
def look(rgb: Pixels, experiment: Experiment) -> View:
    """Code one picture in every quality and show the original and all versions to every model. rgb: [H, W, 3] uint8."""
    picture = picture_hash(rgb)
    originals = {attacked_original(attack): attack for attack in experiment.attacks} | {UNTOUCHED: None}
    embeddings: dict[str, dict[Shown, Tensor]] = {name: {} for name in experiment.seers}

    def original(shown: Shown) -> Pixels:
        return _attacked(rgb, originals[shown], picture)

    _see(embeddings, list(originals), original, {"picture": picture, "device": experiment.model.device}, experiment)
    lost, bpp = {}, {}
    for quality in experiment.qualities:
        file = _File(rgb, experiment, quality, picture)
        bpp[quality], of_versions = file.cost()
        lost.update({(quality, version): value for version, value in of_versions.items()})
        wanted: dict[Shown, Attack | None] = {
            attacked_protected(attack, quality): attack for attack in experiment.attacks if attack.name != NONE
        }
        wanted |= {Shown(version.value, quality): None for version in VERSIONS}
        wanted |= dict.fromkeys(keyless(quality))

        def version(shown: Shown, file: _File = file, wanted: dict[Shown, Attack | None] = wanted) -> Pixels:
            return _attacked(file.decoded(shown.version, shown.asked), wanted[shown], picture)

        _see(embeddings, list(wanted), version, file.key, experiment)
    return View(embeddings, lost, bpp)


class _File:
    """One picture in one quality: encoded and decoded when somebody looks, and then once."""

    def __init__(self, rgb: Pixels, experiment: Experiment, quality: int, picture: str) -> None:
        self._rgb, self._quality, self._cache = rgb, quality, experiment.cache
        self._model, self._making = experiment.model, experiment.making
        self.key = {"picture": picture, "quality": quality, **coding.coding_key(self._model, self._making)}
        self._data: bytes | None = None
        self._decoded: dict[tuple[str, codec.Asked | None], Pixels] = {}

    def decoded(self, version: str, asked: codec.Asked | None = None) -> Pixels:
        """[H, W, 3] uint8. asked: see `Shown`."""
        if self._data is None:
            self._data = coding.encode(self._rgb, self._model, self._quality, self._making)
        if (version, asked) not in self._decoded:
            self._decoded[version, asked] = coding.decode(self._data, self._model, Version(version), asked)
        return self._decoded[version, asked]

    def cost(self) -> tuple[float, dict[str, float]]:
        """Bits per pixel, and PSNR by version."""
        key = {"what": "cost", **self.key}
        entry = self._cache.read(key)
        if entry is None:
            lost = {version.value: psnr(self._rgb, self.decoded(version.value)) for version in VERSIONS}
            assert self._data is not None
            entry = Entry({"bpp": coding.bits_per_pixel(self._data, self._rgb), "psnr": lost})
            self._cache.write(key, entry)
        return entry.figures["bpp"], entry.figures["psnr"]


def _attacked(rgb: Pixels, attack: Attack | None, picture: str) -> Pixels:
    return rgb if attack is None else apply(attack, rgb, bytes.fromhex(picture))


def _see(
    embeddings: dict[str, dict[Shown, Tensor]],
    wanted: Sequence[Shown],
    pixels: Callable[[Shown], Pixels],
    key: Mapping[str, object],
    experiment: Experiment,
) -> None:
    """Add what every model sees of everything wanted: from the cache, or by looking."""
    entries: dict[str, Entry] = {}
    for name in experiment.seers:
        found = experiment.cache.read(_seen_key(key, name, experiment)) if experiment.fingerprints[name] else None
        entries[name] = found or Entry()
    missing = {name: [s for s in wanted if _label(s) not in entries[name].tensors] for name in experiment.seers}
    unseen = [shown for shown in wanted if any(shown in shows for shows in missing.values())]
    experiment.cache.missed += bool(unseen)
    for batch in _batches(unseen, pixels):
        stacked = torch.from_numpy(np.stack(list(batch.values()))).permute(0, 3, 1, 2)
        stacked = stacked.to(experiment.model.device).float() / 255
        for name, seer in experiment.seers.items():
            rows = [row for row, shown in enumerate(batch) if shown in missing[name]]
            if rows:
                seen = seer.encode_image(stacked[rows]).float().cpu()
                labels = [_label(shown) for shown in batch if shown in missing[name]]
                entries[name].tensors.update(zip(labels, seen.clone().unbind(), strict=True))
    for name, entry in entries.items():
        if missing[name] and experiment.fingerprints[name]:
            experiment.cache.write(_seen_key(key, name, experiment), entry)
        embeddings[name].update({shown: entry.tensors[_label(shown)] for shown in wanted})


def _batches(wanted: Sequence[Shown], pixels: Callable[[Shown], Pixels]) -> Iterator[dict[Shown, Pixels]]:
    """Pictures of one size together, a few megapixels at a time."""
    batch: dict[Shown, Pixels] = {}
    for shown in wanted:
        rgb = pixels(shown)
        first = next(iter(batch.values()), rgb)
        if batch and (rgb.shape != first.shape or (len(batch) + 1) * rgb.size > 3 * _BATCH_PIXELS):
            yield batch
            batch = {}
        batch[shown] = rgb
    if batch:
        yield batch


def _seen_key(key: Mapping[str, object], name: str, experiment: Experiment) -> dict[str, object]:
    return {"what": "seen", "seer": name, "seer_weights": experiment.fingerprints[name], **key}


def _label(shown: Shown) -> str:
    return f"{shown.version} {shown.attack}" + (f" {shown.asked}" if shown.asked else "")


def compare(
    views: Views,
    model: str,
    qualities: Sequence[int],
    judge: Callable[[Tensor], Judged],
    summarise: Callable[[str, int | None, Judged, Judged, Judged | None], Row],
    readable: Callable[[Row], float],
) -> list[Row]:
    """A row for the original, then one for each version in each quality, and one for the worst keyless decode.

    judge: embeddings [pictures, D] -> what a model makes of them. summarise: version, quality, what is made of it, of
    the original, and of the full version, which is None where the version is no attack on anything. readable: how much
    a model reads, by a row.
    """
    original = judge(views.embeddings(model, UNTOUCHED))
    rows = [summarise(ORIGINAL, None, original, original, None)]
    for quality in qualities:
        judged = {version.value: judge(views.embeddings(model, Shown(version.value, quality))) for version in VERSIONS}
        full = judged[Version.FULL.value]
        rows += [
            summarise(version, quality, given, original, None if version == Version.FULL.value else full)
            for version, given in judged.items()
        ]
        rows.append(
            max(
                (
                    summarise(KEYLESS, quality, judge(views.embeddings(model, shown)), original, full)
                    for shown in keyless(quality)
                ),
                key=readable,
            )
        )
    return rows


def named(seers: Iterable[AnySeer]) -> dict[str, AnySeer]:
    """Models by name. UsageError if two have the same."""
    everyone = list(seers)
    by_name = {seer.name: seer for seer in everyone}
    if len(by_name) < len(everyone):
        raise UsageError("two of the models have the same name", "name each once")
    return by_name
