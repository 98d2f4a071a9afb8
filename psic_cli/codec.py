"""The whole story on one page: a picture becomes a .psic file, and a .psic file one of several pictures.

    encode: Picture -> y, z -> search: y of a picture that models misread -> integers -> range coder
                    -> [public: z, y in four steps | sealed: moves to the full picture's y, EXIF, XMP] -> bytes
    decode: bytes -> integers, with the key also moves -> y_hat -> synthesis under a condition -> Picture

Without the key there is the *protected* version and nothing else: whatever condition a decoder asks for, what is public
is the latents of a picture that models misread. With the key, or from an open file, come the *full* version and the
*machine* version, which is tuned for analysis. Start with `encode` and `decode`.
"""

from __future__ import annotations

from psic_cli.torch_first import coding  # isort: skip
import hashlib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from psic_cli import keys, runtime, zoo
from psic_cli.alpha import alpha_from_png, alpha_to_png, without_hidden
from psic_cli.bitstream.container import (
    Container,
    Section,
    associated_data,
    pack,
    pack_sections,
    unpack,
    unpack_sections,
)
from psic_cli.bitstream.header import Header
from psic_cli.errors import ConditionError, InputError
from psic_cli.icc import icc_from_payload, icc_to_payload
from psic_cli.latents import (
    Latents,
    condition_of,
    integers,
    level_of,
    read_latents,
    read_moves,
    write_latents,
    write_moves,
)
from psic_cli.networks.backbone import Integers, clamp_z
from psic_cli.networks.padded import Padded, as_levels
from psic_cli.picture import Picture
from psic_cli.search import overshoot
from psic_cli.search.effort import DEFAULT_EFFORT
from psic_cli.search.find import find_latents
from psic_cli.search.shield import moves_back
from psic_cli.vlp.interface import Surrogate

MAX_PIXELS = 200_000_000
Asked = tuple[float, float]  # of the network: shield strength and preference for machines, 0..1 each


class Version(str, Enum):
    """What a decode gives: `protected` misleads vision-language models, `full` restores, `machine` serves analysis."""

    PROTECTED = "protected"
    FULL = "full"
    MACHINE = "machine"


@coding(gradients=True)  # the search asks for them
def encode(
    picture: Picture,
    secret: bytes | None,
    *,
    model: zoo.Model,
    quality: int = 50,
    strength: int = 100,
    effort: int = DEFAULT_EFFORT,
    surrogates: Sequence[Surrogate] | None = None,
    keep_hidden: bool = False,
    advance: Callable[[int, int], None] | None = None,
) -> bytes:
    """A picture as the bytes of a .psic file.

    secret: 32 bytes that seal the way to the full picture and the EXIF and XMP metadata; None makes an open file.
    quality: 1..100. strength: of the shield, in percent: about the share of the decibels that a whole one costs.
    effort: 0..9, how much is searched. surrogates: the models to mislead; None: those that come with psic.
    keep_hidden: code the colours under alpha 0 too, which somebody may have meant to erase (alpha.without_hidden).
    advance: told how many steps of how many are done. Equal input gives equal bytes on one machine with one number of
    threads (torch adds in another order with another), but for the salt of the seal.
    """
    model = zoo.at_quality(model, quality, min(picture.width, picture.height))
    size, made_with = (picture.width, picture.height), (model.card.name, model.card.weights_hash)
    header = Header(*size, quality, strength, *made_with, sealed=secret is not None, grey=picture.grey)
    rgb = picture.rgb if picture.alpha is None or keep_hidden else without_hidden(picture.rgb, picture.alpha)
    writable = np.require(rgb, requirements=["C", "W"])  # torch warns of others
    levels = torch.from_numpy(writable).to(model.device).permute(2, 0, 1)[None]
    latents, moves = _latents_and_moves(levels, header, model, effort, surrogates, advance)

    sealed = {Section.MOVES: write_moves(moves, latents)}
    sealed.update({s: d for s, d in ((Section.EXIF, picture.exif), (Section.XMP, picture.xmp)) if d})
    sections = write_latents(latents, model)
    if picture.alpha is not None:
        sections[Section.ALPHA] = alpha_to_png(picture.alpha)
    if picture.icc:
        sections[Section.ICC] = icc_to_payload(picture.icc)
    if secret is None:
        return pack(Container(header, {**sections, **sealed}))
    bound = associated_data(Container(header, sections))
    return pack(Container(header, {**sections, Section.SEALED: keys.seal(secret, pack_sections(sealed), bound)}))


def _latents_and_moves(levels: Tensor, header: Header, model: zoo.Model, *search: Any) -> tuple[Latents, Integers]:
    """What is public of a picture [1, 3, H, W], and what leads to the full one. search: the rest for `find_latents`."""
    network, level = model.network, level_of(header, model)
    runtime.give_freed_memory_back(levels.numel())  # reading a large picture takes several times its size
    with model.arithmetic():
        moved, y, z_real = overshoot.analyse(network, Padded(levels), level)
    z, latents = clamp_z(z_real).to(model.choose_integers()), network.scale(moved.float(), level)
    analysed = latents if moved is y else network.scale(y.float(), level)
    del moved, y  # of a large picture each takes hundreds of megabytes
    full, public = find_latents(levels, latents, analysed, z, header, model, *search)
    del latents, analysed
    symbols, prediction = network.code(public, z, level)
    del public
    moves = integers(moves_back(full, symbols, prediction.mean))
    return Latents.of(integers(z), integers(symbols), prediction, level, model), moves


@coding()
def decode(
    data: bytes,
    secret: bytes | None = None,
    *,
    version: Version = Version.PROTECTED,
    device: str = "cpu",
    precision: str = "auto",
    max_pixels: int = MAX_PIXELS,
    metadata: bool | None = None,
    condition: Asked | None = None,
) -> Picture:
    """The picture in a .psic file, in the version asked for.

    secret: opens the seal. metadata: whether EXIF and XMP come back, which takes the secret of a sealed file; None:
    unless the version is protected. condition: what the network is asked for in place of what the version asks: to
    measure what others could ask, so no command offers it. Raises FormatError (not .psic, damaged), ConditionError (no
    key, wrong key), ModelError (weights missing or different), InputError (too many pixels).
    """
    container = unpack(data)
    header, is_protected = container.header, version is Version.PROTECTED
    if (pixels := header.width * header.height) > max_pixels:
        raise InputError(f"the picture has {pixels} pixels, more than {max_pixels}", "--max-pixels sets another limit")
    metadata = not is_protected if metadata is None else metadata
    sealed = {} if is_protected and not metadata else _sealed_sections(data, container, secret)
    model = zoo.load(header.model, header.weights_hash, device=device, precision=precision)
    latents = read_latents(header, container.sections, model)
    symbols = latents.y if is_protected else latents.y + read_moves(sealed[Section.MOVES], latents)
    y_hat = model.network.restore(torch.from_numpy(symbols)[None].to(device), latents, latents.level)
    asked = condition or (header.strength / 100 if is_protected else 0.0, float(version is Version.MACHINE))
    with model.arithmetic():
        levels = model.network.synthesise(y_hat, condition_of(*asked, header, model), as_levels)
    rgb = levels[0, :, : header.height, : header.width].permute(1, 2, 0).cpu().numpy()
    alpha, icc = container.sections.get(Section.ALPHA), container.sections.get(Section.ICC)
    return Picture(
        rgb=np.ascontiguousarray(rgb),
        alpha=None if alpha is None else alpha_from_png(alpha, header.width, header.height),
        grey=header.grey,
        icc=None if icc is None else icc_from_payload(icc),
        exif=sealed.get(Section.EXIF) if metadata else None,
        xmp=sealed.get(Section.XMP) if metadata else None,
    )


@coding()
def symbols_hash(
    data: bytes, secret: bytes | None = None, *, device: str = "cpu", integers: str = "auto"
) -> dict[str, str]:
    """SHA-256 of the decoded integers (little-endian int32, [C, H, W] order) of "z", "y" and, where they can be read,
    "moves".

    Equal on every machine; `integers`: auto, or the type that carries the entropy network's (float32 | float64).
    """
    header = (container := unpack(data)).header
    readable = secret is not None or not header.sealed
    sealed = _sealed_sections(data, container, secret) if readable else {}
    model = zoo.load(header.model, header.weights_hash, device=device, integers=integers)
    latents = read_latents(header, container.sections, model)
    parts = {"z": latents.z, "y": latents.y}
    if readable:
        parts["moves"] = read_moves(sealed[Section.MOVES], latents)
    return {name: hashlib.sha256(part.astype("<i4").tobytes()).hexdigest() for name, part in parts.items()}


def _sealed_sections(data: bytes, container: Container, secret: bytes | None) -> Mapping[Section, bytes]:
    """What only the owner of the key may read; ConditionError without the key."""
    if not container.header.sealed:
        return container.sections
    if secret is None:
        raise ConditionError(
            "all but the protected version, and metadata, need the key", hint="name it with --condition FILE"
        )
    return unpack_sections(keys.open_sealed(secret, container.sections[Section.SEALED], associated_data(data)))
