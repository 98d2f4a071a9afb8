"""psic models: what is installed, whether it is intact, and what its card says."""

import json
from typing import Annotated

import typer

from psic_cli import zoo
from psic_cli.commands import options
from psic_cli.shell import streams
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.terminal import size_text

app = typer.Typer(invoke_without_command=True)

Json = Annotated[bool, typer.Option("--json", metavar="", help="One JSON line per model.")]
Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="As listed by: psic models")]
OptionalName = Annotated[str | None, typer.Argument(metavar="NAME", show_default=False, help="Default: all models.")]


@app.callback()
def models(
    context: typer.Context,
    as_json: Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode | None:
    """List, check and describe installed models.

    They are looked for in the folder that $PSIC_MODELS names, then among those that come with psic.
    """
    return None if context.invoked_subcommand else list_models(as_json)


@app.command("list")
def list_models(
    as_json: Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """List the installed models (what psic models alone does)."""
    rows = []
    for card in zoo.list_models():
        size = card.weights.stat().st_size if card.weights.is_file() else 0
        default = card.name == zoo.DEFAULT_MODEL
        facts = {"name": card.name, "weights_hash": card.weights_hash.hex(), "size_bytes": size, "default": default}
        words = (card.name, card.weights_hash.hex(), size_text(size), str(card.path), "(default)" if default else "")
        rows.append((json.dumps(facts | {"path": str(card.path)}), words))
    widths = [max(len(words[column]) for _, words in rows) for column in range(3)] if rows else []
    with streams.claim_streams() as standard:
        for line, words in rows:
            columns = [*(word.ljust(width) for word, width in zip(words, widths, strict=False)), *words[3:]]
            standard.write_text((line if as_json else "  ".join(columns).rstrip()) + "\n")
    return ExitCode.OK


@app.command()
def check(
    name: OptionalName = None,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Compare weights with the hashes in their cards."""
    cards = zoo.list_models() if name is None else [zoo.find_card(name)]
    with streams.claim_streams() as standard:
        for card in cards:
            zoo.verify(card)
            standard.write_text(f"{card.name}  {card.weights_hash.hex()}  intact\n")
    return ExitCode.OK


@app.command()
def show(
    name: Name,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Print a model's card, as JSON."""
    card = zoo.find_card(name)
    with streams.claim_streams() as standard:
        standard.write_text(json.dumps(card.data, indent=2, ensure_ascii=False) + "\n")
    return ExitCode.OK
