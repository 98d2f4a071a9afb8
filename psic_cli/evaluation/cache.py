"""Results of single pictures on disk, so that a run that was stopped goes on where it was and a second one is quick.

An entry holds figures and embeddings, never pixels. It is found by a hash over everything that it depends on: the
picture's pixels, the weights, psic's own code, the libraries, the options. An entry that is damaged, or that was made
from anything else, counts as missing and is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from psic_cli import __version__
from psic_cli.picture import Pixels
from psic_cli.shell import streams

Key = Mapping[str, object]

_SUFFIX = ".psic-result"
_DIGEST_BYTES = 32
_PACKAGES = ("torch", "numpy", "pillow", "pillow-jxl-plugin", "timm", "open_clip_torch")
# What figures come from. Reports and commands may change without making a cache worthless.
_CODE = (
    *("codec.py", "latents.py", "alpha.py"),
    *("backbones/*.py", "bitstream/*.py", "networks/*.py", "search/*.py", "vlp/*.py"),
)
_EVALUATION_CODE = (
    *("attacks", "best_settings", "cache", "coding", "metrics", "ms_ssim", "peers", "rate_distortion", "seeing"),
    "unseen",
)


@dataclass
class Entry:
    """What is known of one picture under one key. figures: as JSON keeps them. tensors: by name, on the CPU."""

    figures: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


class Cache(threading.local):
    """Entries in a folder, which is made with the first of them; without a folder nothing is kept.

    missed: how often something had to be made since it was not there, in each thread.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.missed = 0

    def read(self, key: Key) -> Entry | None:
        """The entry of a key; None if there is none that can be trusted."""
        entry = None if self.folder is None else self._read(_canonical(key))
        self.missed += entry is None
        return entry

    def _read(self, text: str) -> Entry | None:
        try:
            data = self._path(text).read_bytes()
            digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
            if hashlib.sha256(content).digest() != digest:
                return None
            head, _, tensors = content.partition(b"\n")
            found = json.loads(head)
            if found["key"] != text:
                return None
            return Entry(found["figures"], safetensors.torch.load(tensors))
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
            return None

    def write(self, key: Key, entry: Entry) -> None:
        """Keep an entry, in place of any other under this key. OutputError if the folder cannot be written."""
        if self.folder is None:
            return
        text = _canonical(key)
        head = json.dumps({"key": text, "figures": entry.figures}, allow_nan=False).encode()
        content = head + b"\n" + safetensors.torch.save({name: t.contiguous() for name, t in entry.tensors.items()})
        path = self._path(text)
        streams.make_folder(path.parent)
        streams.write_file(path, hashlib.sha256(content).digest() + content, overwrite=True)

    def remove(self) -> None:
        """Remove all entries, and the folder unless something else is in it."""
        if self.folder is None:
            return
        for path in self.folder.glob(f"??/*{_SUFFIX}"):
            path.unlink(missing_ok=True)
        for folder in (*self.folder.glob("??"), self.folder):
            with contextlib.suppress(OSError):  # not empty, or never made
                folder.rmdir()

    def _path(self, text: str) -> Path:
        assert self.folder is not None
        name = hashlib.sha256(text.encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}{_SUFFIX}"


def picture_hash(rgb: Pixels) -> str:
    """What identifies a picture: SHA-256 of its size and pixels, hex."""
    return hashlib.sha256(str(rgb.shape).encode() + rgb.tobytes()).hexdigest()


@lru_cache(maxsize=1)
def software() -> dict[str, str]:
    """Versions of psic and of the libraries that figures come from, and a hash over psic's own part."""
    versions = {"psic": __version__}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sources() if path.is_file()))
    return {**versions, "code": code.hexdigest()}


def sources() -> list[Path]:
    """The files of psic itself that figures come from."""
    package = Path(__file__).parent.parent
    of_psic = [path for pattern in _CODE for path in sorted(package.glob(pattern))]
    return of_psic + [package / "evaluation" / f"{name}.py" for name in _EVALUATION_CODE]


def weights_hash(network: object) -> str | None:
    """SHA-256 over a module's weights, names and shapes included, hex; None for what is no module."""
    if not isinstance(network, nn.Module):
        return None
    digest = hashlib.sha256(type(network).__qualname__.encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _canonical(key: Key) -> str:
    return json.dumps({**key, "software": software()}, sort_keys=True)
