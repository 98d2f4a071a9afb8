"""The whole story on one page: a picture becomes a .psic file, and a .psic file one of several pictures.

    encode: Picture -> y, z -> integers -> range coder -> [z | public y, in four steps | sealed: private y, EXIF, XMP]
        -> bytes
    encode hardened: Picture -> y; Picture + shield -> y, z -> as above, but sealed is what leads to the first y
    decode: bytes -> integers -> y_hat (private part or its predicted means) -> synthesis under a condition -> Picture

Which version comes out is decided by the decoder: *protected* (the default, needs no key), *full* and *machine* (need
the key, unless the file is open). The bits do not depend on it. Whoever has no key may still ask a network for the full
version of what is public. A *hardened* file has an answer to that: there the protected picture itself is public, and
what is sealed leads from its latents to those of the full one. Start with `encode` and `decode`.
"""

from __future__ import annotations

from psic_cli.torch_first import coding  # isort: skip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from psic_cli import keys, zoo
from psic_cli.alpha import alpha_from_png, alpha_to_png, without_hidden
from psic_cli.bitstream import entropy, refinement
from psic_cli.bitstream.container import (
    Container,
    Section,
    associated_data,
    pack,
    pack_sections,
    unpack,
    unpack_sections,
)
from psic_cli.bitstream.header import Header, quality_level
from psic_cli.bitstream.reader import Reader, pack_varint
from psic_cli.errors import ConditionError, FormatError, InputError
from psic_cli.icc import icc_from_payload, icc_to_payload
from psic_cli.networks import overshoot
from psic_cli.networks.cltg import Condition, of_full
from psic_cli.networks.context_model import PATTERNS, STEPS, turns
from psic_cli.networks.entropy_model import Z_MAX, clamp_z
from psic_cli.networks.layers import pad_to_multiple
from psic_cli.networks.network import PICTURE_MULTIPLE, Prediction, PsicNetwork
from psic_cli.picture import Picture

MAX_PIXELS = 200_000_000
PUBLIC_BELOW = 15  # how far the public quality of a hardened file lies below the other
# How many times as strong as elsewhere its shield is drawn, itself or on a thumbnail: rounding takes part of it away
DRAWN, DRAWN_ON_THUMBNAIL = 1.9, 1.6
Integers = npt.NDArray[np.int32]


class Version(str, Enum):
    """What a decode gives: `protected` misleads vision-language models, `full` restores, `machine` serves analysis.

    `forced` is an attack, here so that it can be measured: the full version's condition on what a file tells without
    its key. No command offers it.
    """

    PROTECTED = "protected"
    FULL = "full"
    MACHINE = "machine"
    FORCED = "forced"

    @property
    def is_keyless(self) -> bool:
        """Whether it is made without the sealed latents, of open files too."""
        return self in (Version.PROTECTED, Version.FORCED)


@dataclass(frozen=True)
class Latents:
    """The integers of one file."""

    z: Integers  # [N, h / 4, w / 4]
    y: Integers  # [M, h, w]; the last `private` channels are 0 where they are sealed and no key was given
    mean: Tensor  # [1, M, h, w], sixteenths
    index: Tensor  # [1, M, h, w], of tables
    level: Tensor  # [1], of quality: of what is public


@coding()
def encode(
    picture: Picture,
    secret: bytes | None,
    *,
    model: zoo.Model,
    quality: int = 50,
    strength: int = 100,
    hardened: bool = False,
    keep_hidden: bool = False,
) -> bytes:
    """A picture as the bytes of a .psic file.

    secret: 32 bytes that seal the private latents and the EXIF and XMP metadata; None makes an open file. quality:
    1..100. strength: of the shield, in percent, see cltg.Condition. hardened: what is public is the protected picture
    itself, so that no decoder is given more without the key; such a file is larger, and cannot be open (ValueError).
    keep_hidden: code colours under alpha 0 too (see alpha.without_hidden). Two runs give equal bytes, but for the salt.
    """
    header = Header(
        picture.width,
        picture.height,
        quality,
        strength,
        model.card.name,
        model.card.weights_hash,
        sealed=secret is not None,
        grey=picture.grey,
        public_quality=max(1, quality - PUBLIC_BELOW) if hardened else None,
    )
    network, device = model.network, model.device
    level = _level(quality, header.short_side, model)
    rgb = picture.rgb if picture.alpha is None or keep_hidden else without_hidden(picture.rgb, picture.alpha)
    rgb = np.require(rgb, requirements=["C", "W"])  # torch warns of arrays that cannot be written to
    x = torch.from_numpy(rgb).to(device).permute(2, 0, 1)[None].float() / 255
    full, z, coded, prediction = _analyse(x, level, model)
    if hardened:
        x = _draw(x, coded, prediction, strength, model)
        _, z, coded, prediction = _analyse(x, _level(header.coded_quality, header.short_side, model), model)
    symbols, index, first_private = _integers(coded), _integers(prediction.index), network.config.public
    public = [
        entropy.encode_symbols(_of_step(symbols, turn), _of_step(index, turn), model.y_tables)
        for turn in (turns(step, first_private) for step in range(STEPS))
    ]
    if hardened:
        distance = network.beyond(full, _keyless(coded, prediction, model), level)[0].cpu().numpy()
        symbols[first_private:] = 0
        sealed = {Section.REFINEMENT: refinement.encode_refinement(distance, symbols, index, model.y_tables)}
    else:
        private = entropy.encode_symbols(symbols[first_private:].ravel(), index[first_private:].ravel(), model.y_tables)
        sealed = {Section.Y_PRIVATE: private}
    sealed.update({s: d for s, d in ((Section.EXIF, picture.exif), (Section.XMP, picture.xmp)) if d})

    sections = {
        Section.Z: entropy.encode_symbols(
            _integers(z).ravel(), _z_tables(z.shape[1:], prediction.level, network), model.z_tables
        ),
        Section.Y_PUBLIC: b"".join(pack_varint(len(step)) + step for step in public[:-1]) + public[-1],
    }
    if picture.alpha is not None:
        sections[Section.ALPHA] = alpha_to_png(picture.alpha)
    if picture.icc:
        sections[Section.ICC] = icc_to_payload(picture.icc)
    if secret is None:
        return pack(Container(header, {**sections, **sealed}))
    bound = associated_data(Container(header, sections))
    sections[Section.SEALED] = keys.seal(secret, pack_sections(sealed, hardened), bound)
    return pack(Container(header, sections))


def _analyse(x: Tensor, level: Tensor, model: zoo.Model) -> tuple[Tensor, Tensor, Tensor, Prediction]:
    """A picture [1, 3, H, W] -> real y, integer z, the symbols of y, and what they are coded with."""
    with _precision(model):
        y, z_real = overshoot.analyse(model.network, pad_to_multiple(x, PICTURE_MULTIPLE), level)
    z = clamp_z(z_real)
    return y, z, *model.network.code(y, z.to(model.choose_integers()), level)


def _draw(x: Tensor, coded: Tensor, prediction: Prediction, strength: int, model: zoo.Model) -> Tensor:
    """A picture [1, 3, H, W] with its shield drawn into it."""
    network, (height, width) = model.network, x.shape[2:]
    quality = network.config.quality(prediction.level).item()
    asked = Condition(strength / 100, 0.0, min(height, width), quality).tensor(network.config.largest_side, x.device)
    y_hat = _keyless(coded, prediction, model)
    with _precision(model):
        plain = network.picture(y_hat, of_full(asked), height, width).float()
        shield, small = network.shield(y_hat, plain, asked)
    return (x + (DRAWN if small is None else DRAWN_ON_THUMBNAIL) * shield).clamp_(0, 1)


def _keyless(coded: Tensor, prediction: Prediction, model: zoo.Model) -> Tensor:
    """What symbols [1, M, h, w] tell without the key: y_hat."""
    known = coded.clone().float()
    known[:, model.network.config.public :] = 0
    return model.network.restore(known, prediction.mean.float(), prediction.level)


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
    strength: float | None = None,
) -> Picture:
    """The picture in a .psic file, in the version asked for.

    secret: opens the seal. metadata: whether EXIF and XMP come back, which takes the secret of a sealed file; None:
    unless the version is keyless. strength: 0..1 in place of what the header says, for the protected version; to
    measure what others could ask the network for, so no command offers it. Raises FormatError (not .psic, damaged),
    ConditionError (no key, wrong key), ModelError (weights missing or different), InputError (too many pixels).
    """
    container = unpack(data)
    header = container.header
    if (pixels := header.width * header.height) > max_pixels:
        raise InputError(f"the picture has {pixels} pixels, more than {max_pixels}", "--max-pixels sets another limit")
    metadata = not version.is_keyless if metadata is None else metadata
    sealed = {} if version.is_keyless and not metadata else _private_sections(data, container, secret)
    model = zoo.load(header.model, header.weights_hash, device=device, precision=precision)
    latents = _read_latents(container, {} if version.is_keyless else sealed, model)

    network, level = model.network, latents.level
    symbols = torch.from_numpy(latents.y)[None].float().to(device)
    y_hat = network.restore(symbols, latents.mean.float(), level)
    if header.is_hardened and not version.is_keyless:
        level = _level(header.quality, header.short_side, model)
        moves, distance = _read_refinement(latents, sealed, model)
        known = torch.from_numpy(moves[network.config.public :])[None].float().to(device)
        y_hat = network.refined(y_hat, torch.from_numpy(distance)[None].to(device), known, level)

    drawn_later = 0.0 if header.is_hardened else header.strength / 100
    shield = drawn_later if strength is None else strength
    condition = Condition(
        strength=shield if version is Version.PROTECTED else 0.0,
        machine=1.0 if version is Version.MACHINE and level.item() < network.config.machine_below else 0.0,
        short_side=header.short_side,
        quality=network.config.quality(level).item(),
    )
    asked = condition.tensor(network.config.largest_side, device)
    with _precision(model):
        x_hat = network.picture(y_hat, asked, header.height, header.width)
    levels = x_hat[0].float().clamp_(0, 1).mul_(255).round_().to(torch.uint8)

    alpha, icc = container.sections.get(Section.ALPHA), container.sections.get(Section.ICC)
    return Picture(
        rgb=np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy()),
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
    """SHA-256 of the decoded integers (little-endian int32, [C, H, W] order) of "z", "y_public" and, where they can be
    read, "y_private", or "refinement" in a hardened file.

    Equal on every machine; `integers` names the float type that carries the entropy network's integers (auto | float32
    | float64).
    """
    container = unpack(data)
    header = container.header
    readable = secret is not None or not header.sealed
    sealed = _private_sections(data, container, secret) if readable else {}
    model = zoo.load(header.model, header.weights_hash, device=device, integers=integers)
    latents = _read_latents(container, sealed, model)
    public = model.network.config.public
    parts = {"z": latents.z, "y_public": latents.y[:public]}
    if Section.Y_PRIVATE in sealed:
        parts["y_private"] = latents.y[public:]
    if Section.REFINEMENT in sealed:
        parts["refinement"], _ = _read_refinement(latents, sealed, model)
    return {name: hashlib.sha256(part.astype("<i4").tobytes()).hexdigest() for name, part in parts.items()}


def _precision(model: zoo.Model) -> torch.autocast:
    """The transforms' arithmetic; the integers of the entropy network are out of its reach."""
    return torch.autocast(torch.device(model.device).type, model.precision, enabled=model.precision != torch.float32)


def _private_sections(data: bytes, container: Container, secret: bytes | None) -> Mapping[Section, bytes]:
    """What only the owner of the key may read; ConditionError without the key."""
    if not container.header.sealed:
        return container.sections
    if secret is None:
        raise ConditionError(
            "all but the protected version, and metadata, need the key", hint="name it with --condition FILE"
        )
    inside = keys.open_sealed(secret, container.sections[Section.SEALED], associated_data(data))
    return unpack_sections(inside, container.header.is_hardened)


def _read_latents(container: Container, sealed: Mapping[Section, bytes], model: zoo.Model) -> Latents:
    """Sections -> integers. Private latents are read only if `sealed` holds them."""
    header, config = container.header, model.network.config
    rows, columns = (-(-side // PICTURE_MULTIPLE) for side in (header.height, header.width))
    shape = (config.hyper_latents, rows, columns)
    level = _level(header.coded_quality, header.short_side, model)
    z_indexes = _z_tables(shape, level, model.network)
    z = entropy.decode_symbols(container.sections[Section.Z], z_indexes, model.z_tables).reshape(shape)
    if np.abs(z).max() > Z_MAX:  # beyond it the entropy network would leave the range in which it is exact
        raise FormatError(f"the file is damaged: a symbol of z is outside -{Z_MAX}..{Z_MAX}")
    z_tensor = torch.from_numpy(z)[None].to(model.device, model.choose_integers())
    prediction = model.network.predict(z_tensor, level)
    coded = Reader(container.sections[Section.Y_PUBLIC])
    y = np.zeros(prediction.mean.shape[1:], np.int32)
    for step in range(STEPS):
        if step:
            prediction = model.network.refine(prediction, torch.from_numpy(y)[None].to(model.device), step)
        data = coded.take(coded.varint() if step < STEPS - 1 else coded.left)
        turn, index = turns(step, config.public), _integers(prediction.index)
        symbols = entropy.decode_symbols(data, _of_step(index, turn), model.y_tables)
        for first, where in enumerate(turn):
            y[where] = symbols.reshape(config.public, *y[where].shape[1:])[first::PATTERNS]
    if Section.Y_PRIVATE in sealed:
        y_private, index = y[config.public :], index[config.public :]
        symbols = entropy.decode_symbols(sealed[Section.Y_PRIVATE], index.ravel(), model.y_tables)
        y_private[:] = symbols.reshape(y_private.shape)
    return Latents(z, y, prediction.mean, prediction.index, level)


def _read_refinement(
    latents: Latents, sealed: Mapping[Section, bytes], model: zoo.Model
) -> tuple[Integers, npt.NDArray[np.float32]]:
    """Of a hardened file: moves from its public latents to the full picture's, and the distance that they stand for,
    [M, h, w] both.
    """
    index = _integers(latents.index)
    return refinement.decode_refinement(sealed[Section.REFINEMENT], latents.y, index, model.y_tables)


def _of_step(planes: Integers, turn: Sequence[Any]) -> Integers:
    """The public latents of a coding step (see context_model.turns) as they stand in the stream: channel by channel,
    row by row. planes: [M, h, w].
    """
    parts = [planes[where] for where in turn]
    joined = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), np.int32)
    for first, part in enumerate(parts):
        joined[first::PATTERNS] = part
    return joined.ravel()


def _level(quality: int, short_side: int, model: zoo.Model) -> Tensor:
    """Of the quality that is asked for, for a picture whose shorter side has so many pixels: [1]."""
    config = model.network.config
    return torch.tensor([quality_level(quality, config.levels, short_side, config.even_from)], device=model.device)


def _integers(x: Tensor) -> Integers:
    """[1, C, h, w] whole numbers in a float tensor -> int32 [C, h, w]."""
    return x[0].to(torch.int32).cpu().numpy()


def _z_tables(shape: tuple[int, ...] | torch.Size, level: Tensor, network: PsicNetwork) -> npt.NDArray[np.int64]:
    """The table index of every symbol of z [N, h, w], flattened: a channel has one table at a level [1]."""
    return np.repeat(network.config.z_tables(level)[0].cpu().numpy(), shape[1] * shape[2])
