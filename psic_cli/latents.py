"""The integers of a file: symbols to sections, and sections to symbols, with the same predictions on both sides.

    z symbols -> mean, table index of y -> step 0 of y -> better mean, index -> step 1 ... step 3

Start with `Latents`, `write_latents` and `read_latents`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from psic_cli.bitstream import entropy, moves
from psic_cli.bitstream.container import Section
from psic_cli.bitstream.header import Header, quality_level
from psic_cli.errors import FormatError
from psic_cli.networks.cltg import Condition
from psic_cli.networks.context_model import PATTERNS, STEPS, turns
from psic_cli.networks.entropy_model import Z_MAX
from psic_cli.networks.network import PICTURE_MULTIPLE, PsicNetwork
from psic_cli.zoo import Model

Integers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Latents:
    """The public integers of one file, and what they were predicted to be."""

    z: Integers  # [N, h / 4, w / 4]
    y: Integers  # [M, h, w], symbols
    mean: Tensor  # [1, M, h, w], sixteenths
    index: Tensor  # [1, M, h, w], of tables
    level: Tensor  # [1], of quality


def level_of(header: Header, model: Model) -> Tensor:
    """The quality level of a file: [1]."""
    config = model.network.config
    level = quality_level(header.quality, config.levels, header.short_side, config.even_from)
    return torch.tensor([level], device=model.device)


def condition_of(strength: float, machine: float, header: Header, model: Model) -> Tensor:
    """What the synthesis of a file is asked for, [1, 4]: a shield strength and a preference for machines, 0..1 each."""
    config = model.network.config
    quality = config.quality(level_of(header, model)).item()
    return Condition(strength, machine, header.short_side, quality).tensor(config.largest_side, model.device)


def integers(x: Tensor) -> Integers:
    """[1, C, h, w] whole numbers in a float tensor -> int32 [C, h, w]."""
    return x[0].to(torch.int32).cpu().numpy()


def write_latents(latents: Latents, model: Model) -> dict[Section, bytes]:
    """Sections Z and Y."""
    index = integers(latents.index)
    encoder = entropy.Encoder()
    for turn in map(turns, range(STEPS)):
        encoder.encode(_of_step(latents.y, turn), _of_step(index, turn), model.y_tables)
    z_indexes = _z_tables(latents.z.shape, latents.level, model.network)
    return {
        Section.Z: entropy.encode_symbols(latents.z.ravel(), z_indexes, model.z_tables),
        Section.Y: encoder.compressed(),
    }


def read_latents(header: Header, sections: Mapping[Section, bytes], model: Model) -> Latents:
    """The inverse. FormatError for payloads that `write_latents` cannot have given."""
    config = model.network.config
    rows, columns = (-(-side // PICTURE_MULTIPLE) for side in (header.height, header.width))
    shape = (config.hyper_latents, rows, columns)
    level = level_of(header, model)
    z_indexes = _z_tables(shape, level, model.network)
    z = entropy.decode_symbols(sections[Section.Z], z_indexes, model.z_tables).reshape(shape)
    if np.abs(z).max() > Z_MAX:  # beyond it the entropy network would leave the range in which it is exact
        raise FormatError(f"the file is damaged: a symbol of z is outside -{Z_MAX}..{Z_MAX}")
    prediction = model.network.predict(torch.from_numpy(z)[None].to(model.device, model.choose_integers()), level)
    decoder = entropy.Decoder(sections[Section.Y])
    y = np.zeros(prediction.mean.shape[1:], np.int32)
    for step in range(STEPS):
        if step:
            prediction = model.network.refine(prediction, torch.from_numpy(y)[None].to(model.device), step)
        turn, index = turns(step), integers(prediction.index)
        symbols = decoder.decode(_of_step(index, turn), model.y_tables)
        for first, where in enumerate(turn):
            y[where] = symbols.reshape(config.latents, *y[where].shape[1:])[first::PATTERNS]
    decoder.close()
    return Latents(z, y, prediction.mean, prediction.index, level)


def write_moves(found: Integers, latents: Latents) -> bytes:
    """Section MOVES: what leads from the public symbols to those of the full picture, [M, h, w]."""
    return moves.encode_moves(found, latents.y, integers(latents.index))


def read_moves(data: bytes, latents: Latents) -> Integers:
    """The inverse. FormatError for a payload that `write_moves` cannot have given."""
    return moves.decode_moves(data, latents.y, integers(latents.index))


def _of_step(planes: Integers, turn: Sequence[Any]) -> Integers:
    """The latents of a coding step (see context_model.turns) as they stand in the stream: channel by channel, row by
    row. planes: [M, h, w].
    """
    parts = [planes[where] for where in turn]
    joined = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), np.int32)
    for first, part in enumerate(parts):
        joined[first::PATTERNS] = part
    return joined.ravel()


def _z_tables(shape: tuple[int, ...] | torch.Size, level: Tensor, network: PsicNetwork) -> npt.NDArray[np.int64]:
    """The table index of every symbol of z [N, h, w], flattened: a channel has one table at a level [1]."""
    return np.repeat(network.config.z_tables(level)[0].cpu().numpy(), shape[1] * shape[2])
