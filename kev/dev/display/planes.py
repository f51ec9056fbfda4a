"""The four planes of a VGA's memory, as a guest finds them that has not chained them (IBM VGA technical reference, "Graphics
controller").

Each access to an address is one to a byte of every plane. The four bytes lie one behind the other here, plane 0's lowest: so
chained planes are plain memory.
"""

import ctypes
from typing import Final

from kev.addressing import KIB

PLANE_SIZE: Final = 64 * KIB
"""Bytes."""
SIZE: Final = 4 * PLANE_SIZE

_SET_RESET, _ENABLE_SET_RESET, _COMPARE, _ROTATE, _READ_MAP, _MODE, _, _CARE, _BIT_MASK = range(9)
_MAP_MASK: Final = 2
_WRITE_MODE: Final = 3
_COMPARES: Final = 1 << 3
_ODD_EVEN: Final = 1 << 4
_PLANES: Final = 0xF
_BYTES: Final = 0x0101_0101
_ALL: Final = 0xFFFF_FFFF
_SPREAD: Final = tuple(sum(0xFF << 8 * plane for plane in range(4) if number >> plane & 1) for number in range(16))
"""By a bit for each plane: all bits of their bytes."""

# Offsets in struct planes of `native/planes.c`.
_MEMORY: Final = 0
_LATCHES: Final = 8
_SEQUENCER: Final = 12
_GRAPHICS: Final = 17
_SHOWN: Final = 26
STRUCTURE_SIZE: Final = 32


class Planes:
    """What an access does is said by the registers that `follow` was told last."""

    __slots__ = (
        "_and_set",
        "_bits",
        "_buffer",
        "_function",
        "_graphics",
        "_keeps",
        "_latches",
        "_rotates",
        "_set",
        "_structure",
        "_words",
        "_written",
        "address",
        "contents",
    )

    def __init__(self) -> None:
        self._buffer: Final = ctypes.create_string_buffer(STRUCTURE_SIZE + SIZE)
        self.address: Final = ctypes.addressof(self._buffer)
        """Of struct planes, in this process."""
        view = memoryview(self._buffer).cast("B")
        self._structure: Final = view[:STRUCTURE_SIZE]
        self.contents: Final = view[STRUCTURE_SIZE:]
        self._words: Final = self.contents.cast("I")
        self._structure[_MEMORY : _MEMORY + 8] = (self.address + STRUCTURE_SIZE).to_bytes(8, "little")
        self._latches: Final = self._structure[_LATCHES : _LATCHES + 4].cast("I")

    def show(self, shown: bool) -> None:
        """Whether these planes are what a guest finds, or something else is in front of them."""
        self._structure[_SHOWN] = shown

    @property
    def latches(self) -> int:
        """What the last read has found in the four planes."""
        return self._latches[0]

    @latches.setter
    def latches(self, value: int) -> None:
        self._latches[0] = value

    def follow(self, sequencer: bytes | bytearray, graphics: bytes | bytearray) -> None:
        """The registers of the sequencer and the graphics controller are these."""
        self._structure[_SEQUENCER : _SEQUENCER + 5] = sequencer
        self._structure[_GRAPHICS : _GRAPHICS + 9] = graphics
        self._graphics = bytes(graphics)
        enabled = _SPREAD[graphics[_ENABLE_SET_RESET] & _PLANES]
        self._set = _SPREAD[graphics[_SET_RESET] & _PLANES]
        self._and_set = self._set & enabled
        self._keeps = _ALL ^ enabled
        self._rotates = graphics[_ROTATE] & 7
        self._function = graphics[_ROTATE] >> 3 & 3
        self._bits = graphics[_BIT_MASK] * _BYTES
        self._written = _SPREAD[sequencer[_MAP_MASK] & _PLANES]

    def read(self, offset: int) -> int:
        """The byte that a guest reads at an address, counted from the first."""
        graphics = self._graphics
        mode = graphics[_MODE]
        if mode & _ODD_EVEN:
            return self.contents[(offset & ~1) << 1 | graphics[_READ_MAP] & 2 | offset & 1]
        found = self._latches[0] = self._words[offset]
        if not mode & _COMPARES:
            return found >> 8 * (graphics[_READ_MAP] & 3) & 0xFF
        different = (found ^ _SPREAD[graphics[_COMPARE] & _PLANES]) & _SPREAD[graphics[_CARE] & _PLANES]
        different |= different >> 16
        return ~(different | different >> 8) & 0xFF

    def write(self, offset: int, value: int) -> None:
        """A guest writes a byte."""
        mode = self._graphics[_MODE]
        if mode & _ODD_EVEN:
            plane = self._graphics[_READ_MAP] & 2 | offset & 1
            if self._written >> 8 * plane & 1:
                self.contents[(offset & ~1) << 1 | plane] = value
            return
        latches, bits, mode = self._latches[0], self._bits, mode & _WRITE_MODE
        if mode == 1:
            data = latches
        else:
            if mode == 2:
                data = _SPREAD[value & _PLANES]
            else:
                value = (value >> self._rotates | value << 8 - self._rotates) & 0xFF
                if mode == 3:
                    bits &= value * _BYTES
                    data = self._set
                else:
                    data = value * _BYTES & self._keeps | self._and_set
            if self._function == 1:
                data &= latches
            elif self._function == 2:
                data |= latches
            elif self._function == 3:
                data ^= latches
            data = data & bits | latches & ~bits
        self._words[offset] = self._words[offset] & ~self._written | data & self._written
