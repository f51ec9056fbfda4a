"""Reads the numbers that DWARF consists of."""

from typing import Final

from kev.postmortem.errors import DamagedDebugInformation

_SIZE_64: Final = 0xFFFF_FFFF
_LONGEST_LEB128: Final = 10  # bytes of a number of 64 bits


class Cursor:
    """A place in a section that moves on with every read. DamagedDebugInformation if a read goes past the end."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self.data: Final = data
        self.position = position
        self.end = len(data) if end is None else end

    def unsigned(self, size: int) -> int:
        """A little-endian number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def signed(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little", signed=True)

    def uleb128(self) -> int:
        value = shift = 0
        for _ in range(_LONGEST_LEB128):
            byte = self.unsigned(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value
        raise DamagedDebugInformation(f"the LEB128 number before {self.position:#x} has no end")

    def sleb128(self) -> int:
        begin = self.position
        value = self.uleb128()
        bits = 7 * (self.position - begin)
        return value - (1 << bits) if value >> bits - 1 else value

    def string(self) -> str:
        """Up to a byte 0, which is passed."""
        end = self.data.find(0, self.position, self.end)
        if end < 0:
            raise DamagedDebugInformation(f"the string at {self.position:#x} has no end")
        begin, self.position = self.position, end + 1
        return self.data[begin:end].decode("utf-8", "replace")

    def take(self, size: int) -> bytes:
        begin, end = self.position, self.position + size
        if size < 0 or end > self.end:
            raise DamagedDebugInformation(f"{size} bytes at {begin:#x} go past {self.end:#x}")
        self.position = end
        return self.data[begin:end]

    def unit(self) -> tuple["Cursor", int]:
        """Passes a length and as many bytes; a cursor for these, and the size of offsets in them (4 or 8)."""
        length, offset_size = self.unsigned(4), 4
        if length == _SIZE_64:
            length, offset_size = self.unsigned(8), 8
        begin = self.position
        self.take(length)
        return Cursor(self.data, begin, self.position), offset_size


def string_at(section: bytes | None, offset: int) -> str:
    """The string at an offset of a section of strings."""
    if section is None or not 0 <= offset < len(section):
        raise DamagedDebugInformation(f"there is no string at {offset:#x}")
    return Cursor(section, offset).string()
