"""What a .psic file says about itself, as bytes (FORMAT.md section 3). Nothing here imports torch or numpy.

Start with `Header`. Wrong bytes give `FormatError`, wrong values from a caller give `ValueError`.
"""

from dataclasses import dataclass

from psic_cli.bitstream.reader import Reader, damaged, pack_varint

MAX_SIDE = 2**18  # pixels
MAX_PIXELS = 2**30  # width * height; what a decoder can afford is its own, lower limit

MIN_QUALITY, MAX_QUALITY = 1, 100
SMALLEST_SIDE = 224  # pixels: below, the shorter side of a picture no longer changes what a quality means
MAX_STRENGTH = 100  # percent
MAX_MODEL_NAME = 32  # characters
WEIGHTS_HASH_BYTES = 8

_FLAG_SEALED = 0x01
_FLAG_GREY = 0x02
_NAME_CHARACTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")


@dataclass(frozen=True)
class Header:
    """What a .psic file says about itself; `ValueError` for anything outside its range.

    width, height: pixels, 1..MAX_SIDE, at most MAX_PIXELS together.
    quality: 1..100. strength: shield strength in percent, 0..100.
    model: 1..32 characters of a-z, 0-9 and "-". weights_hash: first 8 bytes of SHA-256 of the model's weights file.
    sealed: the way to the full picture is inside SEALED. grey: the source had one colour channel.
    """

    width: int
    height: int
    quality: int
    strength: int
    model: str
    weights_hash: bytes
    sealed: bool
    grey: bool = False

    def __post_init__(self) -> None:
        check_range("width", self.width, 1, MAX_SIDE)
        check_range("height", self.height, 1, MAX_SIDE)
        if self.width * self.height > MAX_PIXELS:
            raise ValueError(f"{self.width} x {self.height} is more than {MAX_PIXELS} pixels")
        check_range("quality", self.quality, MIN_QUALITY, MAX_QUALITY)
        check_range("strength", self.strength, 0, MAX_STRENGTH)
        if not is_model_name(self.model):
            raise ValueError(f"model name {self.model[:40]!a} is not 1..{MAX_MODEL_NAME} characters of a-z, 0-9 and -")
        if not isinstance(self.weights_hash, bytes) or len(self.weights_hash) != WEIGHTS_HASH_BYTES:
            raise ValueError(f"weights hash is not {WEIGHTS_HASH_BYTES} bytes")

    @property
    def short_side(self) -> int:
        """Pixels."""
        return min(self.width, self.height)


def is_model_name(name: str) -> bool:
    """Whether a header can name a model so."""
    characters = name.encode("ascii", errors="replace")  # "?" is not a character of names
    return 1 <= len(characters) <= MAX_MODEL_NAME and _NAME_CHARACTERS.issuperset(characters)


def quality_level(quality: int, levels: int, short_side: int, even_from: int) -> int:
    """The gain level 0..levels-1 that a quality 1..100 asks for, in integers so that every machine agrees.

    Levels rise evenly where the shorter side of the picture has `even_from` pixels. The fewer pixels a picture has, the
    more each of them tells: the share of the levels below, against that above, grows as the square of the side falls.
    """
    check_range("quality", quality, MIN_QUALITY, MAX_QUALITY)
    if levels < 1:
        raise ValueError(f"levels {levels} is not positive")
    most = max(SMALLEST_SIDE, even_from)
    side = min(max(SMALLEST_SIDE, short_side), most)
    below, above = (quality - MIN_QUALITY) * most**2, (MAX_QUALITY - quality) * side**2
    return (2 * below * (levels - 1) + below + above) // (2 * (below + above))


def pack_header(header: Header) -> bytes:
    """Its fields, without the length that stands before them."""
    name = header.model.encode("ascii")
    flags = (_FLAG_SEALED if header.sealed else 0) | (_FLAG_GREY if header.grey else 0)
    return (
        bytes((flags,))
        + pack_varint(header.width)
        + pack_varint(header.height)
        + bytes((header.quality, header.strength))
        + bytes((len(name),))
        + name
        + header.weights_hash
    )


def read_header(data: bytes) -> Header:
    """The inverse of `pack_header`. `FormatError` for fields that are out of range, undefined, missing or left over."""
    fields = Reader(data)
    flags = fields.byte()
    if flags & ~(_FLAG_SEALED | _FLAG_GREY):
        raise damaged(f"flags 0x{flags:02x} are not defined")
    width, height = fields.varint(), fields.varint()
    quality, strength = fields.byte(), fields.byte()
    name = fields.take(fields.byte()).decode("latin-1")  # any bytes decode; Header refuses what is not a name
    weights_hash = fields.take(WEIGHTS_HASH_BYTES)
    if fields.left:
        raise damaged(f"bytes left over in the header: {fields.left}")
    sealed, grey = bool(flags & _FLAG_SEALED), bool(flags & _FLAG_GREY)
    try:
        return Header(width, height, quality, strength, name, weights_hash, sealed, grey)
    except ValueError as error:
        raise damaged(str(error)) from None


def check_range(name: str, value: int, low: int, high: int) -> None:
    """`ValueError` for a number out of its range, or of another type."""
    # bool and numpy integers would pass the comparison and fail, or wrap, later on.
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} {value!r} is not a whole number from {low} to {high}")
