"""What the shell offers when somebody presses Tab; file names it knows itself, and they are left to it.

No torch here: a person waits for each of these.
"""

from psic_cli import zoo
from psic_cli.errors import PsicError


def codecs(incomplete: str) -> list[str]:
    """Names of installed models that encode."""
    return _models(zoo.CODEC, incomplete)


def models(incomplete: str) -> list[str]:
    """Names of all installed models."""
    return _models(zoo.CODEC, incomplete) + _models(zoo.WITNESS, incomplete)


def formats(incomplete: str) -> list[str]:
    """What `psic decode --format` takes."""
    from psic_cli.shell.pictures import PictureFormat

    return [kind.value for kind in PictureFormat if kind.value.startswith(incomplete)]


def _models(kind: str, start: str) -> list[str]:
    try:
        return [card.name for card in zoo.list_models(kind) if card.name.startswith(start)]
    except PsicError:  # a damaged card is no reason to write over what somebody types
        return []
