"""Makes the frozen files of this folder: what every later psic must still read, and what it must refuse.

    python -m tests.vectors.make_vectors

    files/NAME.psic  and NAME.VERSION.png, the pictures that come out of it (lossless; RGBA where there is alpha)
    broken/NAME.psic files with one thing wrong each
    owner-key.bin    the key of all sealed files; stranger-key.bin is another one
    manifest.json    what each file must give: hashes of its integers, pictures, metadata, or an error

Run it only when the format or the tiny model changes, and never to make a failing test pass: files that psic once
wrote stay readable. Salts are fixed here, so that two runs on one machine give equal bytes. (Another machine may round
a latent the other way when it encodes; decoding may not differ anywhere.)
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from psic_cli import codec, keys, zoo
from psic_cli.bitstream.container import Container, Section, pack
from psic_cli.bitstream.header import Header
from psic_cli.bitstream.moves import MAX_MOVE
from psic_cli.codec import Version
from psic_cli.icc import standard_srgb
from psic_cli.latents import Latents, level_of, write_latents, write_moves
from psic_cli.networks.context_model import STEPS
from psic_cli.networks.network import PsicNetwork
from psic_cli.picture import Picture
from tests.vectors.damage import broken_files, with_checksum, with_section
from tests.vectors.sources import HERE, OWNER, SOURCES, STRANGER, Source


def moved(_x: Tensor, latents: Tensor, _z: Tensor, header: Header, *_: object) -> Tensor:
    """In place of the search, whose floats differ between machines: one latent in 25 moves by a step or two."""
    generator = np.random.default_rng(header.width)
    steps = generator.choice([-2, -1, 1, 2], latents.shape, p=[0.05, 0.45, 0.45, 0.05])
    steps = steps * (generator.random(latents.shape) < 0.0004 * header.strength)
    return latents + torch.from_numpy(steps)


def encode(name: str, source: Source, model: zoo.Model) -> bytes:
    seal = functools.partial(keys.seal, salt=hashlib.sha256(name.encode()).digest()[: keys.SALT_BYTES])
    with mock.patch.object(keys, "seal", seal), mock.patch.object(codec, "shielded", moved):
        secret = OWNER if source.sealed else None
        return codec.encode(source.picture, secret, model=model, quality=source.quality, strength=source.strength)


def any_integers(model: zoo.Model) -> Container:
    """An open file of arbitrary integers: z over its whole range, y far outside its tables, moves as far as they go. No
    encoder makes it, and its picture means nothing, but every reader must find these integers.
    """
    generator = random.Random(1)
    assert isinstance(model.network, PsicNetwork)
    config, header = model.network.config, Header(190, 120, 80, 100, "tiny", model.card.weights_hash, sealed=False)
    level = level_of(header, model)
    z = [generator.choice((-127, 127, generator.randint(-127, 127))) for _ in range(config.hyper_latents * 2 * 3)]
    shape = (config.latents, 8, 12)
    count = config.latents * 8 * 12
    kinds = ((0, 1, generator.randint(-40, 40), generator.randint(-(2**15), 2**15)) for _ in range(count))
    y = np.array([generator.choice(kind) for kind in kinds], np.int32).reshape(shape)
    far = ((0, 0, 0, 1, -1, 2, generator.randint(-MAX_MOVE, MAX_MOVE), -MAX_MOVE, MAX_MOVE) for _ in range(count))
    moves = np.array([generator.choice(kind) for kind in far], np.int32).reshape(shape)
    planes = np.array(z, np.int32).reshape(config.hyper_latents, 2, 3)
    prediction = model.network.predict(torch.from_numpy(planes)[None].to(model.network.integer_type), level)
    for step in range(1, STEPS):
        prediction = model.network.refine(prediction, torch.from_numpy(y)[None], step)
    latents = Latents.of(planes, y, prediction, level, model)
    return Container(header, {**write_latents(latents, model), Section.MOVES: write_moves(moves, latents)})


def save_picture(picture: Picture, path: Path) -> None:
    planes = picture.rgb if picture.alpha is None else np.dstack([picture.rgb, picture.alpha])
    Image.fromarray(planes).save(path, optimize=True)


def record(name: str, data: bytes, about: str) -> dict[str, Any]:
    """Write a good file with its pictures; the entry for the manifest."""
    (HERE / "files" / f"{name}.psic").write_bytes(data)
    entry: dict[str, Any] = {"about": about, "symbols": codec.symbols_hash(data, OWNER)}
    if name == "any-integers":
        return entry
    for version in Version:
        picture = codec.decode(data, OWNER, version=version, precision="float32")
        save_picture(picture, HERE / "files" / f"{name}.{version.value}.png")
        entry[version.value] = {"grey": picture.grey} | {
            key: "sRGB" if value == standard_srgb() else value.hex()
            for key in ("icc", "exif", "xmp")
            if (value := getattr(picture, key)) is not None
        }
    return entry


def make_vectors() -> None:
    os.environ["PSIC_MODELS"] = str(HERE / "models")
    model = zoo.load("tiny", precision="float32")
    for folder in (HERE / "files", HERE / "broken"):
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
    for name, secret in (("owner", OWNER), ("stranger", STRANGER)):
        (HERE / f"{name}-key.bin").write_bytes(with_checksum(b"psic key 1\n" + secret))
    good = {name: encode(name, source, model) for name, source in SOURCES.items()}
    about = {name: source.about for name, source in SOURCES.items()}
    good["optional-section"] = with_section(good["open"], 0x90, b"of a later psic")
    about["optional-section"] = "an unknown optional section, which is skipped"
    good["any-integers"] = pack(any_integers(model))
    about["any-integers"] = "arbitrary integers over their whole ranges; no picture"
    files = {name: record(name, data, about[name]) for name, data in good.items()}
    broken = {}
    for name, case in broken_files(good, model).items():
        (HERE / "broken" / f"{name}.psic").write_bytes(case.data)
        broken[name] = {
            "about": case.about,
            "version": case.version.value,
            "key": case.key,
            "error": case.error,
            "says": case.says,
        }
    manifest = {"model": "tiny", "weights": model.card.sha256, "files": files, "broken": broken}
    (HERE / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make_vectors()
