"""How many pictures decode differently in other settings of a processor: of a model that was added, and of CompressAI.

    python -m psic_cli.benchmark.symbols mbt2018-mean mine pictures/ checkpoint.pth

codes every picture once with both and decodes the files in one process for each setting that this processor has: other
numbers of threads, other instruction sets, without oneDNN. Prints JSON: for psic how many files have other symbols
(integers carried in float32 and in float64), for CompressAI how many pictures differ by more than one level of 255.
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psic_cli import zoo
from psic_cli.benchmark.exactness import as_tensor, check_network, original
from psic_cli.benchmark.processes import environment
from psic_cli.evaluation.sources import find_pictures, read_rgb
from psic_cli.picture import Picture
from psic_cli.shell import streams

CARRIERS = ("float32", "float64")  # of psic's integers
DECODED = "decoded.pt"
_CAPABILITIES = ("DEFAULT", "AVX2", "AVX512")  # of torch on x86, each holds those before it


@dataclass(frozen=True)
class Setting:
    """What a process computes with. None: what the processor has."""

    threads: int
    capability: str | None = None  # ATEN_CPU_CAPABILITY
    mkl: str | None = None  # MKL_ENABLE_INSTRUCTIONS
    onednn: str | None = None  # ONEDNN_MAX_CPU_ISA
    mkldnn: bool = True

    def is_here(self) -> bool:
        """Whether this processor has the instructions."""
        return self.capability is None or self.capability.upper() in capabilities()

    def variables(self) -> dict[str, str]:
        """Of the process's environment, beside all others."""
        found = {
            "OMP_NUM_THREADS": str(self.threads),
            "MKL_NUM_THREADS": str(self.threads),
            "ATEN_CPU_CAPABILITY": self.capability,
            "MKL_ENABLE_INSTRUCTIONS": self.mkl,
            "ONEDNN_MAX_CPU_ISA": self.onednn,
        }
        return {name: value for name, value in found.items() if value}

    def arguments(self) -> list[str]:
        """Of the process: what no variable tells."""
        return [] if self.mkldnn else ["--without-mkldnn"]


SETTINGS = {
    "as-it-comes": Setting(1),
    "two-threads-avx512": Setting(2, "avx512", "AVX512", "AVX512_CORE"),
    "two-threads-avx2-without-mkldnn": Setting(2, "avx2", "AVX2", "AVX2", mkldnn=False),
    "plain-instructions": Setting(1, "default", "SSE4_2", "SSE41"),
}


def capabilities() -> list[str]:
    """What torch may be told to compute with on this processor."""
    import torch

    here = torch.backends.cpu.get_cpu_capability()
    return [*_CAPABILITIES[: _CAPABILITIES.index(here) + 1]] if here in _CAPABILITIES else [here]


def count(network: str, name: str, folder: Path, checkpoint: Path) -> dict[str, Any]:
    """For each setting, how many pictures decode otherwise than where they were coded, by what decodes them."""
    with tempfile.TemporaryDirectory() as temporary:
        files = Path(temporary)
        theirs = original(network, checkpoint)
        pictures = _code(theirs, name, folder, files)
        expected = _decode(theirs, files)
        found: dict[str, Any] = {"pictures": pictures}
        for key, setting in SETTINGS.items():
            if setting.is_here():
                there = _decode_in_a_process(setting, network, checkpoint, files)
                found[key] = {who: differing(expected[who], there[who]) for who in expected}
        return found


def _code(theirs: Any, name: str, folder: Path, files: Path) -> int:
    """Every picture as N.psic and, by CompressAI, N.pickle; how many there are."""
    import torch

    from psic_cli import codec

    model = zoo.load(name, precision="float32")
    paths = find_pictures(folder)
    for number, path in enumerate(paths):
        rgb = read_rgb(path)
        files.joinpath(f"{number}.psic").write_bytes(
            codec.encode(Picture(rgb), None, model=model, strength=0, effort=0)
        )
        with torch.inference_mode():
            coded = theirs.compress(as_tensor(rgb))
        files.joinpath(f"{number}.pickle").write_bytes(pickle.dumps([coded["strings"], coded["shape"]]))
    return len(paths)


def _decode(theirs: Any, files: Path) -> dict[str, list[Any]]:
    """Of each file hashes of the symbols, once for each of CARRIERS, or the picture in 8 bits."""
    import torch

    from psic_cli import codec

    found: dict[str, list[Any]] = {f"psic {integers}": [] for integers in CARRIERS} | {"compressai": []}
    for path in sorted(files.glob("*.psic")):
        for integers in CARRIERS:
            found[f"psic {integers}"].append(codec.symbols_hash(path.read_bytes(), integers=integers))
        coded = pickle.loads(path.with_suffix(".pickle").read_bytes())  # whose parts differ from network to network
        with torch.inference_mode():
            decoded = theirs.decompress(*coded)
        found["compressai"].append(decoded["x_hat"].clamp(0, 1).mul(255).round().byte())
    return found


def _decode_in_a_process(setting: Setting, network: str, checkpoint: Path, files: Path) -> dict[str, list[Any]]:
    import torch

    command = [sys.executable, "-m", "psic_cli.benchmark.symbols", network, "-", str(files), str(checkpoint)]
    variables = environment(setting.threads) | setting.variables()
    subprocess.run([*command, "--decode", *setting.arguments()], env=variables, check=True)
    found: dict[str, list[Any]] = torch.load(files / DECODED, weights_only=True)
    return found


def differing(expected: list[Any], there: list[Any]) -> int:
    """How many are others, or as pictures differ by more than one level somewhere."""

    def differ(one: Any, other: Any) -> bool:
        return bool((one.int() - other.int()).abs().max() > 1) if hasattr(one, "int") else one != other

    return sum(differ(*both) for both in zip(expected, there, strict=True))


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring; with --decode one of its processes."""
    import torch

    parser = argparse.ArgumentParser(prog="python -m psic_cli.benchmark.symbols", description=__doc__)
    for name, kind in (("network", str), ("model", str), ("folder", Path), ("checkpoint", Path)):
        parser.add_argument(name, type=kind)
    for name in ("--decode", "--without-mkldnn"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    check_network(parser, asked.network)
    if asked.decode:
        torch.backends.mkldnn.set_flags(_enabled=not asked.without_mkldnn)
        torch.save(_decode(original(asked.network, asked.checkpoint), asked.folder), asked.folder / DECODED)
        return
    with streams.claim_streams() as standard:
        counts = count(asked.network, asked.model, asked.folder, asked.checkpoint)
        standard.write_text(json.dumps(counts, indent=2) + "\n")


if __name__ == "__main__":
    main()
