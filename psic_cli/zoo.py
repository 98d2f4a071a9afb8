"""Model name in a header -> card -> verified weights -> network.

`list_models`, `find_card` and `verify` import no torch; `load` builds the network once and keeps it. A model is a
folder with card.json and weights.safetensors. Folders are searched in the user's own folder first ($PSIC_MODELS), then
in the package's models/. What identifies a model is the name in its card and the hash of its weights, never the
folder's name or place.

A card's kind says what the weights are: a codec, or a witness, which is a vision-language model to measure with
(vlp/witness.py builds it). Only codecs code pictures, so every function means codecs unless asked otherwise.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_data_path

from psic_cli import runtime
from psic_cli.bitstream.header import quality_level
from psic_cli.errors import ModelError, UsageError
from psic_cli.kept import kept

if TYPE_CHECKING:
    import torch

    from psic_cli.bitstream.tables import TableSet
    from psic_cli.networks.backbone import Backbone

DEFAULT_MODEL = "psic-base"
CODEC, WITNESS = "codec", "witness"  # kinds of models
CARD_FILE, WEIGHTS_FILE = "card.json", "weights.safetensors"
WEIGHTS_VERSION = 14  # of the tensors' names and meaning, bitstream/FORMAT.md section 7; rises with any change of bits


@dataclass(frozen=True)
class Card:
    """What is known of a model without loading it. `data` is card.json as read; the rest tells cards apart."""

    name: str
    path: Path
    sha256: str
    data: dict[str, Any] = field(compare=False)

    @property
    def kind(self) -> str:
        """CODEC or WITNESS; cards that do not say are codecs."""
        return str(self.data.get("kind", CODEC))

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS_FILE

    @property
    def weights_hash(self) -> bytes:
        """The 8 bytes that headers carry."""
        return bytes.fromhex(self.sha256)[:8]


@dataclass(frozen=True)
class Model:
    """A network ready to code, with its integer tables. Use it for as many pictures as you like."""

    card: Card
    network: Backbone[Any]
    z_tables: TableSet
    y_tables: TableSet
    device: str
    precision: torch.dtype  # of the synthesis
    integers: torch.dtype | None = None  # what carries the entropy network's integers; None: whatever is exact
    asked: tuple[str, str] = ("auto", "auto")  # precision and integers, in the words of `load`

    def choose_integers(self) -> torch.dtype:
        """Settle the type that carries the entropy network's integers, and return it. For each picture anew: what
        is exact depends on switches that a host may turn.
        """
        from psic_cli.networks.integer_layers import exact_type

        wanted = self.integers or exact_type(self.device)
        if wanted != self.network.integer_type:
            self.network.use_integers(wanted)
        return wanted

    def arithmetic(self) -> torch.autocast:
        """The transforms' arithmetic, to be entered; the integers of the entropy network are out of its reach."""
        return arithmetic(self.device, self.precision)


def shipped_folder() -> Path:
    """The models that come with psic."""
    package = Path(__file__).parent
    return package / "models" if (package / "models").is_dir() else package.parent / "models"


def users_folder() -> Path:
    """Where a user's own models lie: the folder that $PSIC_MODELS names, else models/ in psic's data folder."""
    chosen = os.environ.get("PSIC_MODELS")
    return Path(chosen) if chosen else user_data_path("psic", appauthor=False) / "models"


def search_path() -> list[Path]:
    """Folders that hold models, the first one wins."""
    own, shipped = users_folder(), shipped_folder()
    return [shipped] if own.resolve() == shipped.resolve() else [own, shipped]


def list_models(kind: str = CODEC) -> list[Card]:
    """Cards of all models of one kind, sorted by name within each folder. ModelError if a card cannot be read."""
    folders = [path.parent for folder in search_path() for path in sorted(folder.glob(f"*/{CARD_FILE}"))]
    return [card for card in map(read_card, folders) if card.kind == kind]


def read_card(folder: Path) -> Card:
    """The card in one folder. ModelError if it is not a card of a psic model."""
    path = folder / CARD_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        card = Card(name=str(data["name"]), path=folder, sha256=str(data["sha256"]), data=data)
        if len(card.weights_hash) != 8:
            raise ValueError("sha256 is too short")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not a model card: {error}") from error
    return card


def find_card(name: str, weights_hash: bytes | None = None, *, kind: str = CODEC) -> Card:
    """The first model of that name, and with those weights if a hash is given. ModelError if there is none."""
    cards = list_models(kind)
    named = [card for card in cards if card.name == name]
    if not named:
        known = ", ".join(sorted({card.name for card in cards})) or "none"
        what, all_of_them = ("model", "models") if kind == CODEC else (f"{kind} model", f"{kind} models")
        raise ModelError(
            f"no {what} named {name}", hint=f"installed {all_of_them}: {known}; others are looked for in $PSIC_MODELS"
        )
    for card in named:
        if weights_hash in (None, card.weights_hash):
            return card
    assert weights_hash is not None
    have = ", ".join(card.weights_hash.hex() for card in named)
    raise ModelError(
        f"the file needs {name} with weights {weights_hash.hex()}, installed: {have}",
        hint="put that version's folder into the folder that $PSIC_MODELS names",
    )


def family_of(card: Card) -> list[str]:
    """The weights hashes of the models that were added together with one, by rising quality; none of a model that has
    all qualities itself.
    """
    return list(card.data.get("family", []))


def at_quality(model: Model, quality: int, short_side: int) -> Model:
    """The one of a model's family that a quality 1..100 asks for; the model itself where it has all qualities."""
    family = family_of(model.card)
    if len(family) < 2:
        return model
    wanted = bytes.fromhex(family[quality_level(quality, len(family), short_side, 0)])
    if wanted == model.card.weights_hash:
        return model
    return _load(find_card(model.card.name, wanted), model.device, *model.asked)


def verify(card: Card) -> None:
    """Compare the weights file with the card. ModelError if it is missing or differs."""
    _verified_bytes(card)


def _verified_bytes(card: Card) -> bytes:
    try:
        data = card.weights.read_bytes()
    except OSError as error:
        raise ModelError(f"{card.weights}: cannot read the weights: {error.strerror}") from error
    actual = hashlib.sha256(data).hexdigest()
    if actual != card.sha256:
        raise ModelError(
            f"{card.weights}: the weights differ from their card (sha256 {actual[:16]}..., not {card.sha256[:16]}...)"
        )
    return data


def choose_device(name: str) -> str:
    """ "auto" becomes "cuda" where there is one, else "cpu". UsageError if cuda is asked for and absent."""
    runtime.load_torch()
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device here", hint="use --device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def choose_precision(name: str, device: str) -> torch.dtype:
    """ "auto" is bfloat16 where the hardware multiplies it faster than float32 (CUDA, AMX, AVX512-BF16)."""
    import torch

    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if device.startswith("cuda"):
        return torch.bfloat16
    probes = (getattr(torch.cpu, f"_is_{feature}_supported", None) for feature in ("amx_tile", "avx512_bf16"))
    return torch.bfloat16 if any(probe is not None and probe() for probe in probes) else torch.float32


def arithmetic(device: str, precision: torch.dtype) -> torch.autocast:
    """What multiplies in a precision, to be entered."""
    import torch

    return torch.autocast(torch.device(device).type, precision, enabled=precision != torch.float32)


def load(
    name: str,
    weights_hash: bytes | None = None,
    *,
    device: str = "cpu",
    precision: str = "auto",
    integers: str = "auto",
) -> Model:
    """Find, verify and build a model; the last few are kept.

    precision: of the synthesis, auto | float32 | bfloat16. integers: the float type that carries the entropy network's
    integers, auto | float32 | float64; the result is the same, which `psic info --symbols` lets anybody check. "auto"
    is float32 where its products are exact. ModelError as in `find_card`, `verify`.
    """
    return load_card(find_card(name, weights_hash), device=device, precision=precision, integers=integers)


def load_card(card: Card, *, device: str = "cpu", precision: str = "auto", integers: str = "auto") -> Model:
    """`load` for a card that is at hand already."""
    runtime.load_torch()
    runtime.keep_freed_memory()
    runtime.forget_threads_of_parent()
    return _load(card, device, precision, integers)


@kept(4)
def _load(card: Card, device: str, precision: str, integers: str) -> Model:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    from psic_cli.bitstream.tables import TableSet

    folder, data = card.path, _verified_bytes(card)
    try:
        with torch.device("cpu"), torch.inference_mode(False):  # a host may have set others
            tensors = load_tensors(data)
            arrays = {key: tensors.pop(key).numpy() for key in list(tensors) if key.startswith("tables.")}
            network = _network(card, tensors)
            network.to(device).to(memory_format=torch.channels_last)
        z_tables, y_tables = TableSet.from_arrays(arrays, "tables.z"), TableSet.from_arrays(arrays, "tables.y")
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder}: the weights do not fit their card: {error}") from error
    carrier = None if integers == "auto" else getattr(torch, integers)
    asked = (precision, integers)
    model = Model(card, network, z_tables, y_tables, device, choose_precision(precision, device), carrier, asked)
    model.choose_integers()
    return model


def _network(card: Card, tensors: dict[str, torch.Tensor]) -> Any:
    """What a card describes, of its tensors. ModelError for another version of them; whatever is raised where they do
    not fit.
    """
    from psic_cli.backbones import architectures
    from psic_cli.networks.config import NetworkConfig
    from psic_cli.networks.network import PsicNetwork

    of_others = card.data.get("architecture", "psic-base") != "psic-base"
    version, readable = card.data["weights_version"], architectures.WEIGHTS_VERSION if of_others else WEIGHTS_VERSION
    if version != readable:
        raise ModelError(f"{card.path}: weights of version {version}, this psic reads {readable}")
    if of_others:
        return architectures.read(card.data["architecture"], card.data["network"], tensors)
    return PsicNetwork.from_tensors(NetworkConfig(**card.data["network"]), tensors)
