"""A VGA's colours (IBM VGA technical reference): the registers of its digital-to-analog converter, and what a BIOS loads there."""

from collections.abc import Iterator
from typing import Final

from kev.dev.display.screen_device import ScreenDevice
from kev.state import FLAG, Fields, bits, integers, octets

MASK, READ_INDEX, WRITE_INDEX, DATA = 0x3C6, 0x3C7, 0x3C8, 0x3C9
SIZE: Final = 3 * 256
"""Bytes: red, green and blue of each colour, from 0 to 63."""

_MOST: Final = 0x3F
_IS_READ: Final = 0b11
_BROWN: Final = bytes((0x2A, 0x15, 0x00))
_GREYS: Final = bytes.fromhex("0005080b0e1114181c2024282d32383f")
_HUES: Final = (
    (0x00, 0x10, 0x1F, 0x2F, 0x3F), (0x1F, 0x27, 0x2F, 0x37, 0x3F), (0x2D, 0x31, 0x36, 0x3A, 0x3F),
    (0x00, 0x07, 0x0E, 0x15, 0x1C), (0x0E, 0x11, 0x15, 0x18, 0x1C), (0x14, 0x16, 0x18, 0x1A, 0x1C),
    (0x00, 0x04, 0x08, 0x0C, 0x10), (0x08, 0x0A, 0x0C, 0x0E, 0x10), (0x0B, 0x0C, 0x0D, 0x0F, 0x10),
)  # fmt: skip
"""The five levels of each circle of 24 colours."""


def _six_bits(number: int) -> bytes:
    """One of an EGA's 64 colours: blue, green and red are its bits 0 to 2, with two thirds of the light, and 3 to 5 with one."""
    return bytes(0x2A * (number >> bit & 1) + 0x15 * (number >> bit + 3 & 1) for bit in (2, 1, 0))


def _circle(levels: tuple[int, ...]) -> Iterator[bytes]:
    """From blue over magenta, red, yellow, green and cyan."""
    lowest, highest = levels[0], levels[-1]
    rising, falling = levels[:-1], levels[:0:-1]
    for level in rising:
        yield bytes((level, lowest, highest))
    for level in falling:
        yield bytes((highest, lowest, level))
    for level in rising:
        yield bytes((highest, level, lowest))
    for level in falling:
        yield bytes((level, highest, lowest))
    for level in rising:
        yield bytes((lowest, highest, level))
    for level in falling:
        yield bytes((lowest, level, highest))


def _sixteen() -> Iterator[bytes]:
    for number in range(16):
        yield _BROWN if number == 6 else _six_bits(number & 7 | (0x38 if number & 8 else 0))


TEXT_COLOURS: Final = b"".join(map(_six_bits, range(64))).ljust(SIZE, b"\0")
"""Of text modes, whose 16 colours are chosen among the first 64."""


def cga_colours() -> bytes:
    """Of modes with 200 lines and 16 colours, as a CGA has them: each twice, the bright ones behind the others."""
    sixteen = list(_sixteen())
    return b"".join((sixteen[:8] * 2 + sixteen[8:] * 2) * 2).ljust(SIZE, b"\0")


def colours_256() -> bytes:
    """Of mode 13h."""
    greys = (bytes((level,) * 3) for level in _GREYS)
    circles = (colour for levels in _HUES for colour in _circle(levels))
    return b"".join((*_sixteen(), *greys, *circles)).ljust(SIZE, b"\0")


class Palette(ScreenDevice):
    """The mask, which reads back, an index for reading and one for writing, and the colours, three accesses each."""

    name: Final = "palette"
    ports: Final = (range(MASK, DATA + 1),)

    FIELDS = Fields({"_mask": bits(8), "_index": integers(0, SIZE - 1), "_reads": FLAG, "_colours": octets(SIZE)})

    __slots__ = ("_colours", "_index", "_mask", "_reads")

    def reset(self) -> None:
        self._mask = 0xFF
        self._index = 0
        """In bytes."""
        self._reads = False
        self._colours = bytearray(TEXT_COLOURS)
        self._look()

    def _look(self) -> None:
        self._screen.palette = self._colours

    def read_port(self, port: int, size: int) -> int:
        if port == MASK:
            return self._mask
        if port == READ_INDEX:
            return _IS_READ if self._reads else 0
        if port == WRITE_INDEX:
            return self._index // 3
        level = self._colours[self._index]
        self._index = (self._index + 1) % SIZE
        return level

    def write_port(self, port: int, size: int, value: int) -> None:
        if port == MASK:
            self._mask = value
        elif port == DATA:
            self._colours[self._index] = value & _MOST
            self._index = (self._index + 1) % SIZE
        else:
            self._index = 3 * value
            self._reads = port == READ_INDEX
