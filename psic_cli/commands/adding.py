"""psic models add and remove: checkpoints of other codecs become models of psic's, in the user's own folder."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from psic_cli import runtime, zoo
from psic_cli.bitstream.header import MAX_MODEL_NAME, is_model_name
from psic_cli.commands import completion, options
from psic_cli.errors import ModelError, OutputError, UsageError
from psic_cli.shell import streams
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.terminal import name_of, terminal

if TYPE_CHECKING:
    from torch import Tensor

SOURCE = "compressai:"
MOST_PICTURES = 24  # that a network is fitted to; of more, evenly spaced ones
MOST_SIDE = 512  # pixels: of larger pictures the middle is taken


def add(
    kind: Annotated[
        str, typer.Argument(metavar="compressai:NETWORK", show_default=False, help="What the checkpoint is of.")
    ],
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", show_default=False, help="Checkpoints: a state dict of PyTorch each."),
    ],
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", show_default=False, help="What psic encode -m shall call it.")
    ],
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(
            "--calibrate",
            metavar="PATH",
            show_default="a photo that comes with psic",
            help="Pictures, or folders of them, of the kind that will be coded. May be repeated.",
        ),
    ] = None,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Make a model of a checkpoint of CompressAI's.

    NETWORK is bmshj2018-factorized, bmshj2018-hyperprior, mbt2018-mean, cheng2020-anchor-checkerboard,
    elic2022-official, elic2022-chandelier, bmshj2018-hyperprior-vbr or mbt2018-mean-vbr, as CompressAI 1.2.8 calls
    them; CompressAI itself is not needed. What decides a table becomes integers, fitted to the pictures of --calibrate,
    so that files decode on every machine. No code in a checkpoint is run.

    A checkpoint of the last two has all qualities, any other has one. Several of these together are a family, of which
    -q chooses one: the one with the smallest files for the lowest qualities, and so on.

    The model is written into the folder that $PSIC_MODELS names, else into psic's own data folder; psic models show
    NAME says where. Its files need it wherever they are decoded: copy its folder along.
    """
    if not kind.startswith(SOURCE):
        raise UsageError(f"unknown kind of network {kind!r}", "compressai:mbt2018-mean, say")
    runtime.load_torch()
    from psic_cli.backbones import checkpoint
    from psic_cli.backbones.architectures import VARIABLE

    architecture = kind.removeprefix(SOURCE)
    checkpoint.check_name(architecture)
    is_variable = architecture in VARIABLE
    if is_variable and len(files) > 1:
        raise UsageError(
            f"one checkpoint of {architecture} has all qualities", "add the others under names of their own"
        )
    folder = zoo.users_folder()
    targets = [folder / (name if len(files) == 1 else f"{name}-{number + 1}") for number in range(len(files))]
    _check_free(name, targets)
    states = [checkpoint.read_checkpoint(path, architecture) for path in files]
    pictures = _pictures(calibrate or [])
    streams.make_folder(folder)
    with tempfile.TemporaryDirectory(prefix=".adding-", dir=folder) as place:
        made = []
        for number, (path, state) in enumerate(zip(files, states, strict=True)):
            terminal.say(f"{name_of(path)}: integers in place of floats")
            made.append(_made(Path(place) / str(number), architecture, name, path, state, pictures))
        made.sort()
        family = [zoo.read_card(where).weights_hash.hex() for _, where in made]
        if len(set(family)) < len(family):
            raise ModelError("two of the checkpoints are the same")
        for (_, where), target, weights_hash in zip(made, targets, family, strict=True):
            if not is_variable:
                _edit_card(where, family=family)
            where.rename(target)
            terminal.say(f"{name_of(target)}  {weights_hash}")
    return ExitCode.OK


def remove(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", autocompletion=completion.models, show_default=False, help="As listed by: psic models"
        ),
    ],
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Remove a model of your own.

    Files that were encoded with it can no longer be decoded, until the same checkpoint is added again with the same
    pictures, or its folder is put back. The models that come with psic stay.
    """
    folder = zoo.users_folder().resolve()
    named = [card for card in zoo.list_models() + zoo.list_models(zoo.WITNESS) if card.name == name]
    own = [card for card in named if card.path.resolve().parent == folder and folder != zoo.shipped_folder().resolve()]
    if not own:
        if named:
            raise UsageError(f"{name} is no model of your own", f"yours are in {name_of(folder)}")
        raise ModelError(f"no model named {name}", "psic models lists those that there are")
    for card in own:
        try:
            for file in (card.weights, card.path / zoo.CARD_FILE):
                file.unlink(missing_ok=True)
            if not any(card.path.iterdir()):
                card.path.rmdir()
        except OSError as error:
            raise OutputError(f"cannot remove {name_of(card.path)}: {streams.reason(error)}") from error
        terminal.say(f"removed {name_of(card.path)}")
    return ExitCode.OK


def _check_free(name: str, targets: Sequence[Path]) -> None:
    """UsageError for what is no name; OutputError if there is such a model, or something else in its place."""
    if not is_model_name(name):
        raise UsageError(f"{name!r} is no name for a model", f"1 to {MAX_MODEL_NAME} characters of a-z, 0-9 and -")
    taken = [card for card in zoo.list_models() + zoo.list_models(zoo.WITNESS) if card.name == name]
    if taken:
        raise OutputError(f"there is a model named {name}", f"psic models remove {name}, or choose another name")
    for target in targets:
        if target.exists():
            raise OutputError(f"{name_of(target)} exists", "choose another name")


def _pictures(paths: Sequence[Path]) -> list[Tensor]:
    """What a network is fitted to: [1, 3, H, W] in 0..1, sides multiples of 64."""
    import torch

    from psic_cli.benchmark.pictures import sample_photo
    from psic_cli.evaluation.sources import find_pictures, read_rgb
    from psic_cli.networks.backbone import PICTURE_MULTIPLE
    from psic_cli.networks.layers import pad_to_multiple

    found = [path for given in paths or [sample_photo()] for path in find_pictures(given)]
    step = max(1, -(-len(found) // MOST_PICTURES))
    pictures = []
    for path in found[::step]:
        rgb = read_rgb(path)
        top, left = (max(0, side - MOST_SIDE) // 2 for side in rgb.shape[:2])
        middle = rgb[top : top + MOST_SIDE, left : left + MOST_SIDE]
        x = torch.from_numpy(middle.copy()).permute(2, 0, 1)[None].float() / 255
        pictures.append(pad_to_multiple(x, PICTURE_MULTIPLE))
    return pictures


def _made(
    folder: Path, architecture: str, name: str, path: Path, state: dict[str, Tensor], pictures: Sequence[Tensor]
) -> tuple[int, Path]:
    """Bytes that the pictures take with it, and the folder of a model, loaded once as it will be."""
    from safetensors.torch import save

    from psic_cli.backbones import architectures
    from psic_cli.backbones.convert import convert

    try:
        converted = convert(architecture, state, pictures)
    except (KeyError, RuntimeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ModelError(f"{path} cannot become a model: {reason}") from error
    data = save(converted.tensors)
    card = {
        "name": name,
        "architecture": SOURCE + architecture,
        "weights_version": architectures.WEIGHTS_VERSION,
        "sha256": hashlib.sha256(data).hexdigest(),
        "network": converted.network,
        "made_of": {"file": path.name, "sha256": hashlib.sha256(streams.read_file(path)).hexdigest()},
    }
    folder.mkdir()
    streams.write_file(folder / zoo.WEIGHTS_FILE, data, overwrite=False)
    streams.write_file(folder / zoo.CARD_FILE, (json.dumps(card, indent=2) + "\n").encode(), overwrite=False)
    return _coded_bytes(zoo.load_card(zoo.read_card(folder), precision="float32"), pictures), folder


def _coded_bytes(model: zoo.Model, pictures: Sequence[Tensor]) -> int:
    import torch

    from psic_cli.latents import Latents, integers, write_latents
    from psic_cli.networks.backbone import clamp_z

    level, total = torch.zeros(1, dtype=torch.long), 0
    with torch.inference_mode():
        for x in pictures:
            y, z_real = model.network.analyse(x, model.network.quality(level))
            z = clamp_z(z_real).to(model.choose_integers())
            symbols, told = model.network.code(y, z, level)
            sections = write_latents(Latents.of(integers(z), integers(symbols), told, level, model), model)
            total += sum(map(len, sections.values()))
    return total


def _edit_card(folder: Path, **entries: object) -> None:
    path = folder / zoo.CARD_FILE
    data = json.loads(path.read_text(encoding="utf-8")) | entries
    streams.write_file(path, (json.dumps(data, indent=2) + "\n").encode(), overwrite=True)
