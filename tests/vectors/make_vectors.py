"""Makes the frozen files of this folder: what every later psic must still read, and what it must refuse.

    python tests/vectors/make_vectors.py

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
import io
import json
import os
import random
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from psic_cli import codec, keys, zoo
from psic_cli.bitstream import entropy
from psic_cli.bitstream.container import Container, Section, associated_data, pack, unpack
from psic_cli.bitstream.entropy import encode_symbols
from psic_cli.bitstream.header import Header
from psic_cli.bitstream.reader import pack_varint
from psic_cli.codec import Version
from psic_cli.networks.context_model import STEPS, turns
from psic_cli.picture import Picture

HERE = Path(__file__).parent
SAMPLES = HERE.parent.parent / "sample_images"
OWNER, STRANGER = bytes(range(32)), bytes(range(1, 33))
EXIF = b"II*\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00"  # a TIFF structure with an empty directory
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
ICC = b"not a real profile: a reader hands it on as it is"


def sample(name: str, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """A sample picture, or a part of it (left, top, right, bottom): uint8 [H, W, 3]."""
    with Image.open(SAMPLES / name) as image:
        return np.array(image.convert("RGB").crop(box) if box else image.convert("RGB"))


def ramp(height: int, width: int) -> np.ndarray:
    """An alpha plane with every kind of value: uint8 [H, W]."""
    return (np.add.outer(np.arange(height) * 7, np.arange(width) * 3) % 256).astype(np.uint8)


def squares(side: int, cells: int) -> np.ndarray:
    """Full-contrast coloured squares, drawn by a fixed rule: uint8 [cells * side, cells * side, 3]."""
    generator = random.Random(0)
    small = [[[generator.choice((0, 255)) for _ in range(3)] for _ in range(cells)] for _ in range(cells)]
    return np.array(small, dtype=np.uint8).repeat(side, axis=0).repeat(side, axis=1)


@dataclass(frozen=True)
class Source:
    """One good file: what is encoded and how. `sealed` with the owner's key."""

    about: str
    picture: Picture
    quality: int = 50
    strength: int = 100
    sealed: bool = True


FACE = sample("cat.png", (110, 80, 206, 152))
SOURCES = {
    "sealed": Source("the ordinary case", Picture(FACE)),
    "open": Source("nothing is sealed", Picture(FACE[:48, :64]), sealed=False),
    "lowest-quality": Source("the first gain level", Picture(FACE[:64, :64]), quality=1),
    "highest-quality": Source("the last gain level", Picture(FACE[:64, :64]), quality=100),
    "no-shield": Source("strength 0", Picture(FACE[:48, :64]), strength=0),
    "half-shield": Source("strength 50", Picture(FACE[:48, :64]), strength=50),
    "one-pixel": Source("one cell of z, padded from 1 x 1", Picture(sample("one_pixel.png"))),
    "odd-size": Source("37 x 53, sides that no power of two divides", Picture(sample("odd_size.png"))),
    "several-cells": Source("3 x 2 cells of z", Picture(sample("coffee.png", (200, 120, 350, 220))), quality=70),
    "one-row": Source("130 x 1", Picture(sample("cat.png", (40, 150, 170, 151))), quality=30),
    "grey": Source("one colour channel", Picture(np.repeat(FACE[:40, :48, 1:2], 3, axis=2), grey=True)),
    "alpha": Source("transparency, lossless", Picture(FACE[:41, :50], alpha=ramp(41, 50))),
    "metadata-sealed": Source("EXIF and XMP inside the seal", Picture(FACE[:16, :16], None, False, ICC, EXIF, XMP)),
    "metadata-open": Source(
        "all sections of an open file",
        Picture(np.repeat(FACE[:16, :20, :1], 3, axis=2), ramp(16, 20), True, ICC, EXIF, XMP),
        sealed=False,
    ),
    "large": Source("a shield drawn on a thumbnail", Picture(squares(65, 5)[:323])),
    "escapes": Source("dozens of latents outside their tables", Picture(squares(8, 8)), quality=100),
}


def encode(name: str, source: Source, model: zoo.Model) -> bytes:
    seal = functools.partial(keys.seal, salt=hashlib.sha256(name.encode()).digest()[: keys.SALT_BYTES])
    with mock.patch.object(keys, "seal", seal):
        secret = OWNER if source.sealed else None
        return codec.encode(source.picture, secret, model=model, quality=source.quality, strength=source.strength)


def any_integers(model: zoo.Model) -> Container:
    """An open file of arbitrary integers: z over its whole range, y far outside its tables. No encoder makes it, and
    its picture means nothing, but every reader must find these integers.
    """
    generator = random.Random(1)
    config, header = model.network.config, Header(190, 120, 80, 100, "tiny", model.card.weights_hash, sealed=False)
    z = [generator.choice((-127, 127, generator.randint(-127, 127))) for _ in range(config.hyper_latents * 2 * 3)]
    level = codec._level(header.quality, header.short_side, model)
    z_data = encode_symbols(z, codec._z_tables((config.hyper_latents, 2, 3), level, model.network), model.z_tables)
    shape = (config.latents, 8, 12)
    count = config.latents * 8 * 12
    kinds = ((0, 1, generator.randint(-40, 40), generator.randint(-(2**15), 2**15)) for _ in range(count))
    y = np.array([generator.choice(kind) for kind in kinds])
    y = y.reshape(shape).astype(np.int32)
    z_tensor = torch.tensor(z, dtype=model.network.integer_type).reshape(1, config.hyper_latents, 2, 3)
    prediction = model.network.predict(z_tensor, level)
    for step in range(1, STEPS):
        prediction = model.network.refine(prediction, torch.from_numpy(y)[None], step)
    index, shared = codec._integers(prediction.index), config.public
    *steps, final = (
        encode_symbols(codec._of_step(y, turn), codec._of_step(index, turn), model.y_tables)
        for turn in (turns(step, shared) for step in range(STEPS))
    )
    private = encode_symbols(y[shared:].ravel(), index[shared:].ravel(), model.y_tables)
    public = b"".join(pack_varint(len(step)) + step for step in steps) + final
    return Container(header, {Section.Z: z_data, Section.Y_PUBLIC: public, Section.Y_PRIVATE: private})


def with_checksum(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def with_section(data: bytes, number: int, payload: bytes) -> bytes:
    """An open file with one more section behind its last one."""
    start = 6 + data[5]  # of the section list, whose count is one byte
    last = bytes((number,)) + pack_varint(len(payload)) + payload
    return with_checksum(data[:start] + bytes((data[start] + 1,)) + data[start + 1 : -4] + last)


def with_payload(data: bytes, section: Section, payload: bytes) -> bytes:
    """The file with another payload in one of its sections; nothing is sealed anew."""
    container = unpack(data)
    return pack(Container(container.header, {**container.sections, section: payload}))


def with_bit_flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes((data[position] ^ 0x10,)) + data[position + 1 :]


@dataclass(frozen=True)
class Broken:
    """One bad file: what a decode of it must raise. key: owner | stranger | none."""

    about: str
    data: bytes
    error: str
    says: str
    version: Version = Version.PROTECTED
    key: str = "none"


def broken_files(good: dict[str, bytes], model: zoo.Model) -> dict[str, Broken]:
    sealed, plain, full = good["sealed"], good["open"], Version.FULL
    parts, here = unpack(sealed), model.card.weights_hash
    seal, noise = parts.sections[Section.SEALED], random.Random(2).randbytes
    z_tables = codec._z_tables(
        (6, 1, 1), codec._level(parts.header.quality, parts.header.short_side, model), model.network
    )
    far_z = encode_symbols([0] * 5 + [128], z_tables, model.z_tables)
    start = sealed.index(here)
    other_weights = with_checksum(sealed[:start] + b"otherone" + sealed[start + 8 : -4])
    other_model = with_checksum(plain.replace(b"\x04tiny", b"\x04gone", 1)[:-4])
    height = plain.index(b"\x40\x30", 6) + 1
    taller = with_checksum(plain[:height] + b"\x7f" + plain[height + 1 : -4])
    bad_list = Container(parts.header, {s: p for s, p in parts.sections.items() if s != Section.SEALED})
    resealed = keys.seal(OWNER, b"\x01\x03", associated_data(bad_list), bytes(16))
    words = parts.sections[Section.Y_PUBLIC]
    far_y = pack_varint(len(words_beyond_symbols(model))) + words_beyond_symbols(model)
    png = Image.fromarray(ramp(49, 64))
    return {
        "empty": Broken("no bytes at all", b"", "FormatError", "is empty"),
        "png": Broken("another kind of file", (SAMPLES / "one_pixel.png").read_bytes(), "FormatError", "not a .psic"),
        "truncated": Broken("its last third is missing", sealed[: len(sealed) * 2 // 3], "FormatError", "checksum"),
        "cut-in-header": Broken("eight bytes", sealed[:8], "FormatError", "damaged"),
        "trailing-byte": Broken("one byte too many", sealed + b"\0", "FormatError", "checksum"),
        "flipped-bit": Broken("one bit differs", with_bit_flipped(sealed, 200), "FormatError", "checksum"),
        "newer-version": Broken("format version 2", sealed[:4] + b"\x02" + sealed[5:], "FormatError", "version 2"),
        "required-section": Broken("an unknown one", with_section(plain, 0x10, b"?"), "FormatError", "section 0x10"),
        "other-weights": Broken("of a model not here", other_weights, "ModelError", b"otherone".hex()),
        "other-model": Broken("of a model not here", other_model, "ModelError", "gone"),
        "wrong-key": Broken("a sound file", sealed, "ConditionError", "does not fit", full, "stranger"),
        "no-key": Broken("a sound file", sealed, "ConditionError", "need the key", Version.MACHINE),
        "z-too-large": Broken("a z of 128", with_payload(plain, Section.Z, far_z), "FormatError", "outside -127..127"),
        "z-garbage": Broken("random z", with_payload(sealed, Section.Z, noise(24)), "FormatError", "damaged"),
        "z-empty": Broken("no z", with_payload(sealed, Section.Z, b""), "FormatError", "damaged"),
        "y-garbage": Broken(
            "random y", with_payload(sealed, Section.Y_PUBLIC, b"\x64" + noise(200)), "FormatError", "damaged"
        ),
        "y-steps": Broken(
            "a first step longer than all",
            with_payload(sealed, Section.Y_PUBLIC, b"\x64abcd"),
            "FormatError",
            "announced",
        ),
        "y-empty": Broken("no y", with_payload(sealed, Section.Y_PUBLIC, b""), "FormatError", "damaged"),
        "y-cut": Broken("y ends early", with_payload(sealed, Section.Y_PUBLIC, words[:-4]), "FormatError", "damaged"),
        "y-odd-bytes": Broken("y of 3 bytes", with_payload(sealed, Section.Y_PUBLIC, b"\3abc"), "FormatError", "words"),
        "y-too-large": Broken(
            "a y beyond 2^20", with_payload(plain, Section.Y_PUBLIC, far_y), "FormatError", "damaged"
        ),
        "taller": Broken("the header says 127 rows", taller, "FormatError", "damaged"),
        "alpha-size": Broken("49 rows", with_payload(plain, Section.ALPHA, png_bytes(png)), "FormatError", "alpha"),
        "alpha-mode": Broken(
            "alpha in colour",
            with_payload(plain, Section.ALPHA, png_bytes(Image.fromarray(FACE[:48, :64]))),
            "FormatError",
            "alpha",
        ),
        "alpha-garbage": Broken(
            "alpha is no PNG", with_payload(plain, Section.ALPHA, noise(99)), "FormatError", "alpha"
        ),
        "seal-flipped": Broken(
            "a bit of the ciphertext differs",
            with_payload(sealed, Section.SEALED, with_bit_flipped(seal, 40)),
            "FormatError",
            "sealed section is damaged",
            full,
            "owner",
        ),
        "seal-short": Broken(
            "a seal of 35 bytes", with_payload(sealed, Section.SEALED, seal[:35]), "FormatError", "short", full, "owner"
        ),
        "seal-malformed": Broken(
            "sealed soundly, but the list inside is cut",
            with_payload(sealed, Section.SEALED, resealed),
            "FormatError",
            "damaged",
            full,
            "owner",
        ),
        "public-changed": Broken(
            "the public part was changed after sealing",
            with_payload(sealed, Section.ICC, ICC),
            "FormatError",
            "changed after sealing",
            full,
            "owner",
        ),
    }


def words_beyond_symbols(model: zoo.Model) -> bytes:
    """A payload whose first symbol decodes to more than 2^20; nothing in the package would write it."""
    with mock.patch.object(entropy, "MAX_SYMBOL", 2**20 + 1):
        return encode_symbols([2**20 + 1] + [0] * (14 * 16 - 1), [30] * (14 * 16), model.y_tables)


def png_bytes(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


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
            key: value.hex() for key in ("icc", "exif", "xmp") if (value := getattr(picture, key)) is not None
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
