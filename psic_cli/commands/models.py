"""psic models: what is installed, whether it is intact, and what its card says."""

import json
from typing import Annotated

import typer

from psic_cli import zoo
from psic_cli.commands import adding, completion, options
from psic_cli.commands.help import Command, Group
from psic_cli.shell import streams
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.terminal import name_of, size_text, terminal

app = typer.Typer(cls=Group, invoke_without_command=True)

Json = Annotated[bool, typer.Option("--json", metavar="", help="One JSON line per model.")]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", autocompletion=completion.models, show_default=False, help="As listed by: psic models"
    ),
]
OptionalName = Annotated[
    str | None,
    typer.Argument(metavar="NAME", autocompletion=completion.models, show_default=False, help="Default: all models."),
]


@app.callback()
def models(
    context: typer.Context,
    as_json: Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode | None:
    """List, check and describe installed models.

    They are looked for in the folder that $PSIC_MODELS names, or else in psic's data folder, then among those that come
    with psic. Codecs make and read .psic files; witnesses are vision-language models to measure with.
    """
    return None if context.invoked_subcommand else list_models(as_json)


@app.command("list", cls=Command)
def list_models(
    as_json: Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """List the installed models (what psic models alone does)."""
    codecs, witnesses = zoo.list_models(), zoo.list_models(zoo.WITNESS)
    with streams.claim_streams() as standard:
        if as_json:
            standard.write_text("".join(json.dumps(_facts(card)) + "\n" for card in codecs + witnesses))
        else:
            standard.write_text(_columns(codecs))
            if witnesses:
                standard.write_text("\nwitnesses, to measure with:\n" + _columns(witnesses))
    return ExitCode.OK


def _facts(card: zoo.Card) -> dict[str, object]:
    facts: dict[str, object] = {
        "name": card.name,
        "kind": card.kind,
        "weights_hash": card.weights_hash.hex(),
        "size_bytes": _size(card),
    }
    if card.kind == zoo.WITNESS:
        facts |= {"spec": card.data.get("spec"), "use": card.data.get("use")}
    else:
        facts |= {"default": card.name == zoo.DEFAULT_MODEL, "family": zoo.family_of(card)}
    return facts | {"path": str(card.path)}


def _columns(cards: list[zoo.Card]) -> str:
    rows = []
    for card in cards:
        rows.append((card.name, card.weights_hash.hex(), size_text(_size(card)), str(card.path), _remark(card)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    lines = ([*(word.ljust(width) for word, width in zip(row, widths, strict=False)), *row[3:]] for row in rows)
    return "".join("  ".join(line).rstrip() + "\n" for line in lines)


def _remark(card: zoo.Card) -> str:
    family = zoo.family_of(card)
    if len(family) > 1:
        return f"(quality {family.index(card.weights_hash.hex()) + 1} of {len(family)})"
    if family:
        return "(one quality)"
    return "(default)" if card.name == zoo.DEFAULT_MODEL else f"({card.data['use']})" if "use" in card.data else ""


def _size(card: zoo.Card) -> int:
    return card.weights.stat().st_size if card.weights.is_file() else 0


def _find(name: str) -> zoo.Card:
    """A model of either kind. ModelError if there is none."""
    witnesses = [card for card in zoo.list_models(zoo.WITNESS) if card.name == name]
    return witnesses[0] if witnesses else zoo.find_card(name)


@app.command(cls=Command)
def check(
    name: OptionalName = None,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Compare weights with the hashes in their cards."""
    cards = zoo.list_models() + zoo.list_models(zoo.WITNESS) if name is None else [_find(name)]
    with streams.claim_streams() as standard:
        for card in cards:
            zoo.verify(card)
            standard.write_text(f"{card.name}  {card.weights_hash.hex()}  intact\n")
    return ExitCode.OK


@app.command(cls=Command)
def show(
    name: Name,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Print a model's card, as JSON."""
    card = _find(name)
    with streams.claim_streams() as standard:
        standard.write_text(json.dumps(card.data, indent=2, ensure_ascii=False) + "\n")
    terminal.say(f"in {name_of(card.path)}")
    return ExitCode.OK


app.command(cls=Command)(adding.add)
app.command(cls=Command)(adding.remove)
