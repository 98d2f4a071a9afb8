"""One picture through one contender in a process of its own, as a command of that codec would do it.

    python -m psic_cli.benchmark.once encode|decode NAME SETTING THREADS INPUT OUTPUT HEIGHT WIDTH BITS

SETTING: a quality for Pillow's codecs, a precision for networks. HEIGHT WIDTH BITS: what a network prepares for. No
command of psic: psic itself is measured through its real ones.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from psic_cli.benchmark.contenders import PILLOW, Contender, PillowCodec


def run(step: str, contender: Contender, source: Path, destination: Path) -> None:
    """Picture file to coded file, or the other way."""
    if step == "encode":
        with Image.open(source) as picture:
            rgb = np.asarray(picture.convert("RGB"))
        destination.write_bytes(contender.encode(rgb))
    else:
        Image.fromarray(contender.decode(source.read_bytes())).save(destination, "PNG")


def _contender(name: str, setting: str, threads: int, height: int, width: int, bits: int) -> Contender:
    if name in PILLOW:
        return PillowCodec(name, int(setting), threads)
    import torch

    from psic_cli.benchmark.networks import NetworkCodec

    torch.set_num_threads(threads)
    codec = NetworkCodec(name, [getattr(torch, setting)])
    codec.prepare(height, width, bits)
    return codec


if __name__ == "__main__":
    step, name, setting, threads, source, destination, *numbers = sys.argv[1:]
    run(step, _contender(name, setting, int(threads), *map(int, numbers)), Path(source), Path(destination))
