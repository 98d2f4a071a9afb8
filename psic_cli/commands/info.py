"""psic info: what a .psic file says about itself, read without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from psic_cli.commands import options
from psic_cli.errors import PsicError, UsageError
from psic_cli.shell import conditions, outcome, streams, worklist
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.terminal import name_of, size_text, terminal

if TYPE_CHECKING:
    pass

Facts = dict[str, Any]


def info(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE", show_default=False, help=".psic files, or -")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="One JSON line per file.")] = False,
    symbols: Annotated[
        bool,
        typer.Option("--symbols", metavar="", help="Hashes of the decoded integers, which are equal on every machine."),
    ] = False,
    condition: Annotated[
        str | None, typer.Option("--condition", metavar="FILE", help="Key file: look into the sealed part too.")
    ] = None,
    device: options.DeviceOption = options.Device.AUTO,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Show what a .psic file says about itself.

    Header, sections with their shares, rate, and whether the full picture is sealed. No key is needed, and no model
    but for --symbols.
    """
    with streams.claim_streams() as standard:
        names = [worklist.stream_name(name) for name in files or []]
        if not names and standard.input_is_terminal:
            raise UsageError("no file to look into", "psic info photo.psic, or psic info --help")
        names = names or ["-"]
        worklist.check_one_stream(names, condition)
        if names.count("-") > 1:
            raise UsageError("standard input (-) is named twice")
        key = None if condition is None else conditions.read_key(condition, standard)
        failed = 0
        for number, name in enumerate(names):
            try:
                facts = _look(name, key, standard, device.value if symbols else None)
            except PsicError as error:
                if len(names) == 1:
                    raise
                terminal.error(error)
                failed += 1
                continue
            text = json.dumps(facts) if as_json else ("\n" if number else "") + _describe(facts)
            standard.write_text(text + "\n")
    if failed:
        terminal.announce(f"{failed} of {len(names)} files failed")
    return ExitCode.PARTIAL if failed else ExitCode.OK


def _look(name: str, key: bytes | None, standard: streams.Streams, symbols_on: str | None) -> Facts:
    """Everything that is known about one file, in the fields that --json prints."""
    from psic_cli import keys
    from psic_cli.bitstream import container

    data = standard.read() if name == "-" else streams.read_file(Path(name))
    with outcome.naming("standard input" if name == "-" else name_of(name)):
        file = container.unpack(data)
        header = file.header
        pixels = header.width * header.height
        facts: Facts = {
            "file": name,
            "format_version": data[len(container.MAGIC)],
            "width": header.width,
            "height": header.height,
            "grey": header.grey,
            "alpha": container.Section.ALPHA in file.sections,
            "quality": header.quality,
            "strength_percent": header.strength,
            "model": header.model,
            "weights_hash": header.weights_hash.hex(),
            "sealed": header.sealed,
            "size_bytes": len(data),
            "bpp": round(8 * len(data) / pixels, 6),
            "sections": _sections(file.sections, len(data)),
            "overhead_bytes": len(data) - sum(len(payload) for payload in file.sections.values()),
        }
        if key is not None and header.sealed:
            sealed = file.sections[container.Section.SEALED]
            plaintext = keys.open_sealed(key, sealed, container.associated_data(data))
            inside = container.unpack_sections(plaintext)
            facts["sealed_sections"] = _sections(inside, len(data))
        if symbols_on is not None:
            from psic_cli import codec, zoo

            facts["symbols"] = codec.symbols_hash(data, key, device=zoo.choose_device(symbols_on))
    return facts


def _sections(sections: Any, total: int) -> list[Facts]:
    """Name, size and share of the whole file, in the order of the file."""
    return [
        {"name": section.name.lower(), "bytes": len(payload), "share": round(len(payload) / total, 4)}
        for section, payload in sections.items()
    ]


def _describe(facts: Facts) -> str:
    """The same for people."""
    kind = ("grey" if facts["grey"] else "colour") + (" with transparency" if facts["alpha"] else "")
    sealed = "the full picture needs the key" if facts["sealed"] else "no, anybody can decode the full picture"
    rows = [
        ("size", f"{size_text(facts['size_bytes'])} ({facts['size_bytes']} bytes), {facts['bpp']:.3f} bpp"),
        ("picture", f"{facts['width']} x {facts['height']}, {kind}"),
        ("quality", f"{facts['quality']} of 100"),
        ("shield", f"strength {facts['strength_percent']} %"),
        ("sealed", sealed),
        ("model", f"{facts['model']}, weights {facts['weights_hash']}"),
        ("format", f"version {facts['format_version']}"),
    ]
    lines = ["standard input" if facts["file"] == "-" else name_of(facts["file"])]
    lines += [f"  {name:<10}{text}" for name, text in rows]
    lines += ["  sections", *map(_section_line, facts["sections"])]
    overhead = {"name": "(container)", "bytes": facts["overhead_bytes"]}
    lines.append(_section_line(overhead | {"share": facts["overhead_bytes"] / facts["size_bytes"]}))
    if "sealed_sections" in facts:
        lines += ["  inside the seal (the key fits)", *map(_section_line, facts["sealed_sections"])]
    if "symbols" in facts:
        lines += ["  symbols (sha256)", *(f"    {name:<12}{value}" for name, value in facts["symbols"].items())]
    return "\n".join(lines)


def _section_line(section: Facts) -> str:
    return f"    {section['name']:<12}{section['bytes']:>12} bytes{section['share']:>8.1%}"
