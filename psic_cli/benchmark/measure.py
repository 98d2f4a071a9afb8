"""Time, memory and start-up of psic and its peers on the same pictures, in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from PIL import Image

from psic_cli import keys
from psic_cli.benchmark.contenders import (
    LESS_EFFORT,
    NETWORKS,
    PILLOW,
    PSIC,
    Contender,
    PillowCodec,
    PsicCodec,
    quality_near,
)
from psic_cli.benchmark.cost import PROBE_SIDE, Cost, count_cost
from psic_cli.benchmark.pictures import central_part, made_picture
from psic_cli.benchmark.processes import CommandFailed, Spent, TookTooLong, measure
from psic_cli.benchmark.results import Lap, OneSize, Row, Skipped, StartUp, spread, timing
from psic_cli.picture import Pixels

if TYPE_CHECKING:
    from psic_cli.benchmark.networks import NetworkCodec
    from psic_cli.zoo import Model

SEARCH_PIXELS = 4e5  # of the part of a picture on which the qualities of Pillow's codecs are chosen
PROBE_BITS = PROBE_SIDE**2 // 2
KEY = "key.bin"
TINY = 0.006  # megapixels: what is decoded to see how long starting takes
T = TypeVar("T")


@dataclass(frozen=True)
class Setup:
    """What to compare, and how. limit_seconds: of one fresh process that encodes or decodes."""

    model: Model
    quality: int
    peers: Sequence[str]
    threads: int
    repeat: int
    limit_seconds: float


@dataclass
class Bench:
    """One run: the contenders are built once and meet on every picture.

    advance: called `steps_per_size` times for each size and `steps_of_start_up` times for the start-up. on_skip: called
    for each codec that is left out.
    """

    setup: Setup
    advance: Callable[[], object] = lambda: None
    on_skip: Callable[[Skipped], object] = lambda skipped: None
    too_slow: set[str] = field(default_factory=set)  # larger pictures need not be tried

    def __post_init__(self) -> None:
        model, quality = self.setup.model, self.setup.quality
        self.psic, self.protected = PsicCodec(model, quality), PsicCodec(model, quality, protected=True)
        others = (PsicCodec(model, quality, effort=effort) for effort in LESS_EFFORT)
        self.own = {codec.name: codec for codec in (self.psic, self.protected, *others)}
        self.networks = {name: _network(name, self.setup.model) for name in self.setup.peers if name in NETWORKS}

    @property
    def steps_per_size(self) -> int:
        return (len(self.own) + len(self.setup.peers)) * (1 + self.setup.repeat)

    @property
    def steps_of_start_up(self) -> int:
        return self.setup.repeat

    def costs(self) -> dict[str, Cost]:
        """What every network computes; counting it warms them up."""
        for network in self.networks.values():
            network.prepare(PROBE_SIDE, PROBE_SIDE, PROBE_BITS)
        own = {codec.name: count_cost(codec, codec.model.network) for codec in self.own.values()}
        return own | {name: count_cost(codec, codec.network) for name, codec in self.networks.items()}

    def one_size(self, rgb: Pixels) -> OneSize:
        """All codecs on one picture [H, W, 3]: first each in fresh processes, for its memory, then in turns, for time.

        A codec whose process fails or takes too long is left out; CommandFailed if that is psic itself.
        """
        height, width = rgb.shape[:2]
        bits = 8 * len(self.psic.encode(rgb))
        peaks: dict[str, tuple[Spent | None, Spent]] = {}
        contenders: dict[str, Contender] = {}
        with tempfile.TemporaryDirectory(prefix="psic-bench-") as name_of_folder:
            folder = Path(name_of_folder)
            keys.create_key_file(folder / KEY)
            Image.fromarray(rgb).save(folder / "picture.png", compress_level=1)
            for name in (*self.own, *self.setup.peers):
                try:
                    contenders[name] = self._contender(name, rgb, bits)
                    peaks[name] = self._in_processes(contenders[name], folder, (height, width, bits))
                except CommandFailed as error:
                    if name in self.own:
                        raise
                    if isinstance(error, TookTooLong):
                        self.too_slow.add(name)
                    self.on_skip(Skipped(name, width, height, str(error)))
                    for _ in range(self.setup.repeat):
                        self.advance()
                self.advance()
        return OneSize(width, height, self._in_turns({name: contenders[name] for name in peaks}, peaks, rgb))

    def start_up(self) -> list[StartUp]:
        """Fresh processes that hardly do more than start, in turns."""
        with tempfile.TemporaryDirectory(prefix="psic-bench-") as name_of_folder:
            folder = Path(name_of_folder)
            own = PsicCodec(self.setup.model, self.setup.quality, keys.create_key_file(folder / KEY))
            (folder / "coded").write_bytes(own.encode(made_picture(TINY)))
            commands = {
                "python, doing nothing": ["-c", "pass"],
                "psic --help": ["-m", "psic_cli", "--help"],
                "psic decode, 95 x 63 pixels": self._command(self.protected, "decode", folder, (0, 0, 0)),
                "import torch": ["-c", "import torch"],
                "import psic_cli.codec": ["-c", "import psic_cli.codec"],
            }
            if self.networks:
                commands["import compressai"] = ["-c", "import compressai"]
            spent: dict[str, list[Spent]] = {what: [] for what in commands}
            for _ in range(self.setup.repeat):
                for what, command in commands.items():
                    spent[what].append(measure(command, self.setup.threads))
                self.advance()
        return [_start_up(what, each) for what, each in spent.items()]

    def _contender(self, name: str, rgb: Pixels, bits: int) -> Contender:
        """Ready for one picture. A codec of Pillow gets the quality at which its files are about as large as psic's."""
        if name in self.own:
            return self.own[name]
        if name in self.too_slow:
            raise CommandFailed("took too long on a smaller picture")
        if name in PILLOW:
            part, threads = central_part(rgb, SEARCH_PIXELS), self.setup.threads
            return PillowCodec(name, quality_near(name, part, len(self.psic.encode(part)), threads), threads)
        height, width = rgb.shape[:2]
        self.networks[name].prepare(height, width, bits)
        return self.networks[name]

    def _in_processes(
        self, contender: Contender, folder: Path, shape: tuple[int, int, int]
    ) -> tuple[Spent | None, Spent]:
        """What encoding and decoding take from file to file. Protected is decoded what psic has encoded before."""
        limit = 0.0 if contender.name in self.own else self.setup.limit_seconds
        steps = ("decode",) if contender is self.protected else ("encode", "decode")
        spent = [measure(self._command(contender, step, folder, shape), self.setup.threads, limit) for step in steps]
        return (None if contender is self.protected else spent[0]), spent[-1]

    def _command(self, contender: Contender, step: str, folder: Path, shape: tuple[int, int, int]) -> list[str]:
        """What Python is to run: psic's own command, or `once` for the others. shape: height, width, bits."""
        coded = folder / "coded"
        source, destination = (folder / "picture.png", coded) if step == "encode" else (coded, folder / "decoded.png")
        own = self.own.get(contender.name)
        if own is None:
            words = [step, contender.name, contender.setting, self.setup.threads, source, destination, *shape]
            return ["-m", f"{__package__}.once", *map(str, words)]
        options = ["--force", "--quiet", "--device", self.setup.model.device]
        if not own.protected:
            options += ["--condition", str(folder / KEY)]
        if step == "encode":
            options += ["-q", str(own.quality), "--effort", str(own.effort), "-m", own.model.card.name]
        return ["-m", "psic_cli", step, *options, str(source), "-o", str(destination)]

    def _in_turns(
        self, contenders: dict[str, Contender], peaks: dict[str, tuple[Spent | None, Spent]], rgb: Pixels
    ) -> list[Row]:
        """Repetitions of (psic, peer 1, peer 2, ...): what else the machine does falls on all of them."""
        encodes: dict[str, list[Lap]] = {name: [] for name in contenders}
        decodes: dict[str, list[Lap]] = {name: [] for name in contenders}
        sizes: dict[str, int] = {}
        for _ in range(self.setup.repeat):
            data = b""
            for name, contender in contenders.items():
                if contender is not self.protected:  # which comes after psic, and takes its file
                    data, lap = _timed(lambda codec=contender: codec.encode(rgb))  # type: ignore[misc]
                    encodes[name].append(lap)
                _, lap = _timed(lambda codec=contender, data=data: codec.decode(data))  # type: ignore[misc]
                decodes[name].append(lap)
                sizes[name] = len(data)
                self.advance()
        return [
            Row(
                name=name,
                setting=contender.setting,
                bpp=8 * sizes[name] / (rgb.shape[0] * rgb.shape[1]),
                encode=timing(encodes[name], encodes[PSIC]) if encodes[name] else None,
                decode=timing(decodes[name], decodes[PSIC]),
                encode_peak_bytes=None if encoded is None else encoded.peak_bytes,
                decode_peak_bytes=decoded.peak_bytes,
            )
            for (name, contender), (encoded, decoded) in zip(contenders.items(), peaks.values(), strict=True)
        ]


def _network(name: str, model: Model) -> NetworkCodec:
    """A network that may compute in float32, and in the precision that psic has chosen on this machine."""
    import torch

    from psic_cli.benchmark.networks import NetworkCodec

    return NetworkCodec(name, list(dict.fromkeys([torch.float32, model.precision])))


def _start_up(what: str, spent: Sequence[Spent]) -> StartUp:
    cpu = [one.cpu_seconds for one in spent if one.cpu_seconds is not None]
    peaks = [one.peak_bytes for one in spent if one.peak_bytes is not None]
    return StartUp(what, spread([one.seconds for one in spent]), spread(cpu) if cpu else None, max(peaks, default=None))


def _timed(action: Callable[[], T]) -> tuple[T, Lap]:
    started, cpu_started = time.perf_counter(), time.process_time()
    result = action()
    return result, Lap(time.perf_counter() - started, time.process_time() - cpu_started)
