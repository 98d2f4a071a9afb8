"""Numbers and byte strings taken from untrusted bytes: nothing is taken or allocated before it is known to be there.

Start with `Reader`; `pack_varint` is the other direction. Where the file is wrong, `damaged` words the error.
"""

from psic_cli.errors import FormatError

MAX_VARINT = 2**32 - 1
_MOST_GROUPS = 5  # of seven bits, enough for MAX_VARINT


class Reader:
    """A cursor over `data[position:end]`. Every method raises `FormatError` if the bytes are not there."""

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end

    @property
    def left(self) -> int:
        """Bytes not taken yet."""
        return self.end - self.position

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise damaged(f"bytes announced: {count}, bytes left: {self.left}")
        start = self.position
        self.position += count
        return self.data[start : self.position]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        """A number 0..MAX_VARINT in its shortest form, the only one allowed."""
        value = 0
        for place in range(_MOST_GROUPS):
            group = self.byte()
            value |= (group & 0x7F) << 7 * place
            if group < 0x80:
                if group == 0 and place > 0:
                    raise damaged("a number is not in its shortest form")
                if value > MAX_VARINT:
                    break
                return value
        raise damaged(f"a number is above {MAX_VARINT}")


def pack_varint(value: int) -> bytes:
    """Groups of seven bits, the lowest first, bit 7 set on all but the last. `ValueError` outside 0..MAX_VARINT."""
    if not 0 <= value <= MAX_VARINT:
        raise ValueError(f"{value} is not in 0..{MAX_VARINT}")
    groups = bytearray()
    while value > 0x7F:
        groups.append(0x80 | (value & 0x7F))
        value >>= 7
    groups.append(value)
    return bytes(groups)


def damaged(what: str) -> FormatError:
    """The error for a .psic file whose bytes contradict FORMAT.md."""
    return FormatError(f"the file is damaged or incomplete: {what}", hint="fetch it again from where it came from")
