"""psic train: a model from a configuration file."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from psic_cli import zoo
from psic_cli.bitstream.header import Header
from psic_cli.commands import adding, options
from psic_cli.errors import InputError, OutputError, UsageError
from psic_cli.shell import streams
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.terminal import name_of, terminal

if TYPE_CHECKING:
    from psic_cli.training.config import TrainingConfig
    from psic_cli.training.run import Run

CONFIG_FILE, CHECKPOINT_FILE = "config.toml", "checkpoint.pt"
CHANGES_FILE = "changes.toml"  # what options changed in the configuration
# Written by the export itself: a card that said otherwise would not fit its weights.
_OWN_KEYS = frozenset(
    {"name", "architecture", "weights_version", "sha256", "parameters", "network", "family", "made_of"}
)


def train(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", show_default=False, help="TOML file that describes the run.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder of a new run.")] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Go on with the run in this folder.")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            metavar="MODEL",
            help="Train conditions for this model of another codec's, or the one in this folder; the rest stays.",
        ),
    ] = None,
    vlp: Annotated[
        list[str] | None,
        typer.Option(
            "--vlp", metavar="SPEC", help="Vision-language model to protect against; instead of the configuration's."
        ),
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FOLDER", help="Write the trained model into this folder.")
    ] = None,
    as_is: Annotated[
        bool, typer.Option("--as-is", metavar="", help="With --resume and --export: train no further.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Of the exported model. Default: the configuration's.")
    ] = None,
    card: Annotated[
        Path | None, typer.Option("--card", metavar="FILE", help="JSON object that is merged into the model's card.")
    ] = None,
    force: options.Force = False,
    device: options.DeviceOption = options.Device.AUTO,
    threads: options.Threads = None,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Train a model from a configuration file.

    psic train CONFIG -o DIR starts a run, psic train --resume DIR goes on with it; DIR holds the configuration, the
    checkpoint and the log. Ctrl-C saves a checkpoint and ends with exit code 130. torchrun -m psic_cli train ... trains
    on several GPUs.

    --backbone takes a model that psic models add has made, and trains the conditions alone: its protected and its
    machine version; files and full versions stay what they are.

    With --export the model folder (card.json and weights.safetensors) is written once training is finished, or at once
    with --as-is. Put it into the folder that $PSIC_MODELS names to use it.
    """
    if (config is None) == (resume is None):
        raise UsageError("name either a configuration or --resume DIR", "psic train CONFIG -o DIR starts a run")
    if (config is None) != (output is None):
        raise UsageError("-o DIR belongs to a new run, and a new run needs it", "psic train CONFIG -o DIR")
    if as_is and (resume is None or export is None):
        raise UsageError("--as-is needs --resume DIR and --export FOLDER")
    if backbone is not None and config is None:
        raise UsageError("--backbone belongs to a new run", "psic train CONFIG --backbone MODEL -o DIR")
    if export is None and (name is not None or card is not None):
        raise UsageError("--name and --card need --export FOLDER")
    extra = {} if card is None else _read_card(card)
    if export is not None and (export / zoo.CARD_FILE).exists() and not force:
        raise OutputError(f"{name_of(export)} holds a model", "use --force to replace it, or name another folder")
    if export is not None:
        for file in (zoo.CARD_FILE, zoo.WEIGHTS_FILE):
            streams.refuse_key(export / file)  # now rather than after training

    with streams.claim_streams():
        from psic_cli.training import distributed
        from psic_cli.training.config import load_config

        folder = output if resume is None else resume
        assert folder is not None
        source = config if config is not None else folder / CONFIG_FILE
        changes = folder / CHANGES_FILE
        settings = load_config(source, changes) if resume is not None and changes.exists() else load_config(source)
        if vlp:
            settings = replace(settings, conditions=replace(settings.conditions, vlps=vlp))
        if backbone is not None:
            settings = replace(settings, start_from=str(_backbone(backbone).path.resolve()))
        _check_start(settings)
        if export is not None:
            _check_name(name or settings.name)
        place = zoo.choose_device(device.value)
        if resume is None:
            _begin(source, folder, settings)
        elif as_is and not (folder / CHECKPOINT_FILE).exists():
            raise InputError(f"{name_of(folder)} has no checkpoint to export")
        if (vlp or backbone) and distributed.is_first():  # a resumed run must not fall back on other models
            streams.write_file(changes, _changes(settings).encode(), overwrite=True)
        run = _as_it_is(settings, folder, place) if as_is else _train(settings, folder, place)
        if export is not None and distributed.is_first():
            _export(run, export, name or settings.name, extra)
    return ExitCode.OK


def _backbone(name: str) -> zoo.Card:
    """A model that was added, by its name or folder. ModelError or UsageError if it is none."""
    card = zoo.read_card(Path(name)) if (Path(name) / zoo.CARD_FILE).exists() else zoo.find_card(name)
    if not _is_added(card):
        raise UsageError(
            f"{name} is no model of another codec's", "start_from in the configuration goes on with psic's own"
        )
    if card.path != Path(name) and len(zoo.family_of(card)) > 1:
        raise UsageError(f"{name} is a family of models", "name the folder of one: psic models says where they are")
    return card


def _is_added(card: zoo.Card) -> bool:
    return str(card.data.get("architecture", "")).startswith(adding.SOURCE)


def _check_start(settings: TrainingConfig) -> None:
    """ModelError if there is no model to start from, InputError if nothing of it would be trained."""
    if settings.start_from and _is_added(zoo.read_card(Path(settings.start_from))) and not settings.conditions.steps:
        raise InputError(
            "nothing would be trained: of another codec's network the conditions alone are", "[conditions] steps"
        )


def _changes(settings: TrainingConfig) -> str:
    """What options may change, as TOML."""
    vlps = json.dumps(settings.conditions.vlps)
    return f"start_from = {json.dumps(settings.start_from)}\n[conditions]\nvlps = {vlps}\n"


def _check_name(name: str) -> None:
    """UsageError for a name that no header can carry: now rather than after training."""
    try:
        Header(1, 1, quality=50, strength=100, model=name, weights_hash=bytes(8), sealed=True, grey=False)
    except ValueError as error:
        raise UsageError(str(error), "name it with --name") from error


def _begin(source: Path, folder: Path, settings: TrainingConfig) -> None:
    """Make the folder of a new run, with its configuration. OutputError if there is a run in it."""
    from psic_cli.training import distributed

    if not distributed.is_first():
        return
    if (folder / CHECKPOINT_FILE).exists():
        raise OutputError(f"{name_of(folder)} holds a run", f"go on with it: psic train --resume {name_of(folder)}")
    _check_data(settings)
    streams.make_folder(folder)
    if not _same_file(source, folder / CONFIG_FILE):
        streams.write_file(folder / CONFIG_FILE, streams.read_file(source), overwrite=True)


def _train(settings: TrainingConfig, folder: Path, device: str) -> Run:
    """Train to the end, with the progress as lines on standard error."""
    from psic_cli.training import distributed
    from psic_cli.training.recipe import train

    _check_data(settings)
    logger = logging.getLogger("psic.training")
    words = _Words()
    if distributed.is_first():
        logger.addHandler(words)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # open_clip sets up logging of its own, which would say everything once more
    try:
        return train(settings, folder, device)
    finally:
        logger.removeHandler(words)
        logger.propagate = True


def _as_it_is(settings: TrainingConfig, folder: Path, device: str) -> Run:
    from psic_cli.training.recipe import as_it_is

    _check_data(settings)
    return as_it_is(settings, folder, device)


def _export(run: Run, folder: Path, name: str, extra: dict[str, Any]) -> None:
    from psic_cli.backbones.adapted import Adapted
    from psic_cli.training.export import export, export_steered

    if "conditions" not in run.finished:
        terminal.warn(
            "the conditions are not trained to their end: the machine version may be no better than the full one"
        )
    if isinstance(run.network, Adapted):  # whose licence is not the configuration's
        assert run.start is not None
        export_steered(run.network.eval(), run.start, folder, name, {"finished_stages": run.finished, **extra})
    else:
        facts = {"licence": run.config.licence, "finished_stages": run.finished}
        export(run.network.eval(), run.rate, folder, name, {**facts, **extra})
    terminal.say(f"{name_of(folder / zoo.CARD_FILE)}  {zoo.read_card(folder).weights_hash.hex()}")


class _Words(logging.Handler):
    """What training has to say, as lines for people."""

    def emit(self, record: logging.LogRecord) -> None:
        terminal.say(record.getMessage())


def _check_data(settings: TrainingConfig) -> None:
    """InputError or ModelError for a missing file, before the stage that needs it begins, hours later."""
    from psic_cli.vlp.interface import load_vlp

    data = settings.data
    for place in (*data.photos, *data.large, *([data.pairs] if data.pairs else [])):
        if not Path(place).exists():
            raise InputError(
                f"the configuration names {name_of(place)}, which does not exist",
                "paths are relative to the current folder",
            )
    if settings.conditions.steps:
        for spec in settings.conditions.vlps:
            load_vlp(spec)


def _read_card(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(streams.read_file(path))
    except ValueError as error:
        raise InputError(f"{name_of(path)} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{name_of(path)} is not a JSON object")
    taken = sorted(_OWN_KEYS & data.keys())
    if taken:
        raise InputError(f"{name_of(path)} sets {', '.join(taken)}, which the export writes", "leave it out")
    return data


def _same_file(a: Path, b: Path) -> bool:
    return b.exists() and a.samefile(b)
