"""Decode one picture: the bytes of a .psic file to those of a picture file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from psic_cli import zoo
from psic_cli.bitstream import container
from psic_cli.bitstream.header import Header
from psic_cli.errors import ConditionError
from psic_cli.jobs import Secret
from psic_cli.shell import opening, pictures
from psic_cli.shell.opening import DEFAULT_MAX_PIXELS
from psic_cli.shell.outcome import Outcome, naming
from psic_cli.shell.pictures import PictureFormat
from psic_cli.turns import Turn


@dataclass(frozen=True)
class Decoding:
    """What `psic decode` was asked for. for_machine: the version tuned for analysis. metadata: EXIF and XMP of an open
    file with the protected version too. strip: none with any version. device, precision: as in `zoo.load`.
    """

    format: PictureFormat = PictureFormat.PNG
    for_machine: bool = False
    metadata: bool = False
    strip: bool = False
    max_pixels: int = DEFAULT_MAX_PIXELS
    device: str = "auto"
    precision: str = "auto"

    def load(self) -> None:
        """Nothing: each file names its model."""

    def work(
        self,
        source: bytes,
        outcome: Outcome,
        secret: Secret,
        turn: Turn,
        advance: Callable[[int, int], None] | None = None,
    ) -> None:
        """Fill in the outcome, as `Job` says. Without a secret it is the protected version."""
        name = outcome.task.source_name
        outcome.coded_bytes = len(source)
        with naming(name):
            # Everything that needs no network is refused before the seconds that loading one takes.
            header = container.unpack(source).header
            outcome.width, outcome.height = header.width, header.height
            opening.check_pixels(header.width, header.height, self.max_pixels)
            self._check_key(header, secret)
        outcome.lap("read")
        key = secret() if secret is not None and header.sealed else None
        with turn(outcome.width * outcome.height), naming(name):
            from psic_cli import codec

            version = codec.Version.PROTECTED if secret is None else codec.Version.FULL
            if self.for_machine:
                version = codec.Version.MACHINE
            picture = codec.decode(
                source,
                key,
                version=version,
                device=zoo.choose_device(self.device),
                precision=self.precision,
                max_pixels=self.max_pixels,
                metadata=False if self.strip else True if self.metadata else None,
            )
        outcome.lap("decode")
        with naming(name):
            outcome.data = pictures.write_picture(picture, self.format, warn=outcome.warn)
        outcome.words = version.value
        outcome.facts = {"model": header.model, "quality": header.quality, "version": version.value}

    def _check_key(self, header: Header, secret: Secret) -> None:
        if secret is not None or not header.sealed:
            return
        if self.for_machine:
            message = "the machine version of a sealed file needs the key"
            raise ConditionError(message, "name it with --condition FILE, or use --full for your own key")
        if self.metadata:
            message = "the metadata of a sealed file need the key"
            raise ConditionError(message, "name it with --condition FILE, or leave --metadata out")
