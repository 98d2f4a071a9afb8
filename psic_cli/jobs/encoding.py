"""Encode one picture: the bytes of a picture file to those of a .psic file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psic_cli import zoo
from psic_cli.jobs import Secret
from psic_cli.search.effort import DEFAULT_EFFORT
from psic_cli.shell import metadata, pictures
from psic_cli.shell.opening import DEFAULT_MAX_PIXELS
from psic_cli.shell.outcome import Outcome, naming
from psic_cli.turns import Turn

if TYPE_CHECKING:
    from psic_cli.vlp.interface import Surrogate


@dataclass(frozen=True)
class Encoding:
    """What `psic encode` was asked for; the options have the meaning of those of `codec.encode`.

    against: models to mislead; none: those that come with psic. strip: leave EXIF and XMP out. device: auto, cpu, cuda.
    """

    model: str
    weights_hash: bytes
    quality: int = 50
    strength: int = 100
    effort: int = DEFAULT_EFFORT
    against: tuple[str, ...] = ()
    keep_hidden: bool = False
    strip: bool = False
    max_pixels: int = DEFAULT_MAX_PIXELS
    device: str = "auto"

    def load(self) -> None:
        """The network and the models to mislead, which are kept. Raises what is wrong with them."""
        self._model()
        self._misled()

    def work(
        self,
        source: bytes,
        outcome: Outcome,
        secret: Secret,
        turn: Turn,
        advance: Callable[[int, int], None] | None = None,
    ) -> None:
        """Fill in the outcome, as `Job` says. Without a secret the file is open."""
        name = outcome.task.source_name
        with naming(name):
            picture = pictures.read_picture(source, max_pixels=self.max_pixels, strip=self.strip, warn=outcome.warn)
            outcome.width, outcome.height = picture.width, picture.height
        outcome.lap("read")
        key = None if secret is None else secret()
        with turn(outcome.width * outcome.height), naming(name):
            from psic_cli import codec

            outcome.data = codec.encode(
                picture,
                key,
                model=self._model(),
                quality=self.quality,
                strength=self.strength,
                effort=self.effort,
                surrogates=self._misled(),
                keep_hidden=self.keep_hidden,
                advance=advance,
            )
        outcome.lap("encode")
        outcome.coded_bytes = len(outcome.data)
        if key is None:
            outcome.made_public = metadata.kinds(picture.exif, picture.xmp)
        outcome.words = f"{outcome.rate_bpp:.2f} bpp"
        outcome.facts = {
            "model": self.model,
            "quality": self.quality,
            "sealed": key is not None,
            "effort": self.effort,
        }

    def _model(self) -> zoo.Model:
        return zoo.load(self.model, self.weights_hash, device=zoo.choose_device(self.device))

    def _misled(self) -> tuple[Surrogate, ...] | None:
        if not self.against:
            return None
        from psic_cli.search.surrogates import surrogates_of

        return surrogates_of(self.against, zoo.choose_device(self.device))
