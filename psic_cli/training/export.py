"""Training ends here: a trained network becomes a model folder with integer tables, and nothing that decides a bit
stays a float.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from psic_cli import zoo
from psic_cli.backbones.adapted import Adapted
from psic_cli.bitstream.tables import symbol_tables, tables_from_probabilities, without_tails
from psic_cli.networks.backbone import Z_MAX
from psic_cli.networks.network import PsicNetwork
from psic_cli.shell import streams
from psic_cli.training.rate import RateModel
from psic_cli.zoo import CARD_FILE, WEIGHTS_FILE, WEIGHTS_VERSION, Card


@torch.no_grad()
def z_probabilities(rate: RateModel) -> list[tuple[int, np.ndarray]]:
    """For each table of z its first symbol and the probabilities of all symbols in it."""
    prior = copy.deepcopy(rate.prior).double().cpu().eval()  # training may go on with its own
    bands, channels, _ = prior.weight.shape
    symbols = torch.arange(-Z_MAX, Z_MAX + 1, dtype=torch.float64).expand(bands, channels, 1, -1)
    rows = prior(symbols, torch.arange(bands)).flatten(0, 2).numpy()
    return [without_tails(row, -Z_MAX) for row in rows]


def export(network: PsicNetwork, rate: RateModel, folder: Path, name: str, card: dict[str, Any] | None = None) -> Path:
    """Write card.json and weights.safetensors into `folder`, each whole or not at all.

    card: what else the card tells (training data, command, licence, figures). Raises ValueError if the network cannot
    be made exact, OutputError if a file cannot be written.
    """
    tensors = network.to_tensors()
    z_tables = tables_from_probabilities(z_probabilities(rate))
    y_tables = symbol_tables(rate.counts.cpu().numpy())
    arrays = {**z_tables.to_arrays("tables.z"), **y_tables.to_arrays("tables.y")}
    tensors.update({key: torch.from_numpy(array.copy()) for key, array in arrays.items()})
    own = {"architecture": "psic-base", "weights_version": WEIGHTS_VERSION}
    return _write(network, tensors, folder, {"name": name, **own}, card or {})


@torch.no_grad()
def export_steered(network: Adapted, start: Card, folder: Path, name: str, card: dict[str, Any] | None = None) -> Path:
    """The same for a network of others: the weights that it had in the model `start`, and a CLTG with them."""
    assert network.cltg is not None
    zoo.verify(start)
    tensors = {key: value for key, value in load_tensors(start.weights).items() if not key.startswith("cltg.")}
    tensors |= {f"cltg.{key}": value.cpu().half() for key, value in network.cltg.state_dict().items()}
    kept: dict[str, Any] = {
        key: start.data[key] for key in ("architecture", "weights_version", "made_of") if key in start.data
    }
    return _write(network, tensors, folder, {"name": name, **kept}, card or {}, is_family=network.levels == 1)


def _write(
    network: PsicNetwork | Adapted,
    tensors: dict[str, Tensor],
    folder: Path,
    own: dict[str, Any],
    card: dict[str, Any],
    is_family: bool = False,
) -> Path:
    """own, card: entries of the card. is_family: it has one quality, and no others of its kind."""
    data = save_tensors(tensors)
    digest = hashlib.sha256(data).hexdigest()
    contents = {
        **own,
        "sha256": digest,
        **({"family": [digest[:16]]} if is_family else {}),
        "parameters": sum(p.numel() for p in network.parameters()),
        "network": network.card_entry(),
        **card,
    }
    streams.make_folder(folder)
    for file, content in ((WEIGHTS_FILE, data), (CARD_FILE, (json.dumps(contents, indent=2) + "\n").encode())):
        streams.write_file(folder / file, content, overwrite=True)
    return folder
