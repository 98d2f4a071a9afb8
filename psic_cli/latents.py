"""The integers of a file: symbols to sections, and sections to symbols, with the same predictions on both sides.

    z symbols -> mean, table index of y -> step 0 of y -> better mean, index -> step 1 ...

Start with `Latents`, `write_latents` and `read_latents`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from psic_cli.bitstream import entropy, moves
from psic_cli.bitstream.container import Section
from psic_cli.bitstream.header import Header
from psic_cli.errors import FormatError
from psic_cli.networks.backbone import PICTURE_MULTIPLE, Z_MAX, Backbone, Integers, Prediction
from psic_cli.zoo import Model


@dataclass(frozen=True)
class Latents:
    """The public integers of one file, and what they were predicted to be."""

    z: Integers  # [N, h / 4, w / 4]
    y: Integers  # [M, h, w], symbols
    mean: Tensor  # [1, M, h, w], sixteenths
    index: Tensor  # [1, M, h, w], of tables
    spread: Integers  # [M, h, w], of their standard deviations in bitstream.tables.SCALES
    level: Tensor  # [1], of quality

    @classmethod
    def of(cls, z: Integers, y: Integers, prediction: Prediction, level: Tensor, model: Model) -> Latents:
        """With what was predicted of y in the end."""
        spread = indexes(model.network.spread(prediction.index))
        return cls(z, y, prediction.mean, prediction.index, spread, level)


def level_of(header: Header, model: Model) -> Tensor:
    """The quality level of a file: [1]."""
    return torch.tensor([model.network.level(header.quality, header.short_side)], device=model.device)


def condition_of(strength: float, machine: float, header: Header, model: Model) -> Tensor:
    """What the synthesis of a file is asked for, [1, 4]: a shield strength and a preference for machines, 0..1 each."""
    return model.network.condition(strength, machine, header.short_side, level_of(header, model))


def integers(x: Tensor) -> Integers:
    """[1, C, h, w] whole numbers in a tensor of any type -> int32 [C, h, w]."""
    return x[0].to(torch.int32).cpu().numpy()


def indexes(x: Tensor) -> Integers:
    """The same of indexes of tables -> int16."""
    return x[0].to(torch.int16).cpu().numpy()


def write_latents(latents: Latents, model: Model) -> dict[Section, bytes]:
    """Sections Z and Y."""
    network, index = model.network, indexes(latents.index)
    encoder = entropy.Encoder()
    for step in range(network.steps):
        encoder.encode(network.of_step(latents.y, step), network.of_step(index, step), model.y_tables)
    z_indexes = _z_tables(latents.z.shape, latents.level, network)
    return {
        Section.Z: entropy.encode_symbols(latents.z.ravel(), z_indexes, model.z_tables),
        Section.Y: encoder.compressed(),
    }


def read_latents(header: Header, sections: Mapping[Section, bytes], model: Model) -> Latents:
    """The inverse. FormatError for payloads that `write_latents` cannot have given."""
    network = model.network
    rows, columns = (-(-side // PICTURE_MULTIPLE) for side in (header.height, header.width))
    shape = (network.hyper_latents, rows, columns)
    level = level_of(header, model)
    z_indexes = _z_tables(shape, level, network)
    z = entropy.decode_symbols(sections[Section.Z], z_indexes, model.z_tables).reshape(shape)
    if np.abs(z).max(initial=0) > Z_MAX:  # beyond it the entropy network would leave the range in which it is exact
        raise FormatError(f"the file is damaged: a symbol of z is outside -{Z_MAX}..{Z_MAX}")
    prediction = network.predict(torch.from_numpy(z)[None].to(model.device, model.choose_integers()), level)
    decoder = entropy.Decoder(sections[Section.Y])
    y = np.zeros(prediction.mean.shape[1:], np.int32)
    for step in range(network.steps):
        if step:
            prediction = network.refine(prediction, torch.from_numpy(y)[None].to(model.device), step)
        index = network.of_step(indexes(prediction.index), step)
        network.put_step(y, step, decoder.decode(index, model.y_tables))
    decoder.close()
    return Latents.of(z, y, prediction, level, model)


def write_moves(found: Integers, latents: Latents) -> bytes:
    """Section MOVES: what leads from the public symbols to those of the full picture, [M, h, w]."""
    return moves.encode_moves(found, latents.y, latents.spread)


def read_moves(data: bytes, latents: Latents) -> Integers:
    """The inverse. FormatError for a payload that `write_moves` cannot have given."""
    return moves.decode_moves(data, latents.y, latents.spread)


def _z_tables(shape: tuple[int, ...] | torch.Size, level: Tensor, network: Backbone[Any]) -> npt.NDArray[np.int64]:
    """The table index of every symbol of z [N, h, w], flattened: a channel has one table at a level [1]."""
    return np.repeat(network.z_tables(level)[0].cpu().numpy(), shape[1] * shape[2])
